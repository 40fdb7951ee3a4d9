"""Arrow tables as bytes, the form in which they travel between Beam's steps."""

from collections.abc import Iterable

import pyarrow as pa


def to_bytes(table: pa.Table) -> bytes:
    """Returns the table in Arrow's stream format."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def from_bytes(data: bytes) -> pa.Table:
    """Returns the table that `to_bytes` was given."""
    return pa.ipc.open_stream(data).read_all()


def add_counts(parts: Iterable[bytes]) -> bytes:
    """Adds up tables of item_id (text) and events (int64), given and returned as bytes."""
    empty = pa.table({"item_id": pa.array([], pa.string()), "events": pa.array([], pa.int64())})
    total = pa.concat_tables([empty, *map(from_bytes, parts)]).group_by("item_id").aggregate([("events", "sum")])
    return to_bytes(pa.table({"item_id": total["item_id"], "events": total["events_sum"]}))
