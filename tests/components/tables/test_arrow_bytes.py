"""Tables on their way between Beam's steps."""

import pyarrow as pa

from components.tables.arrow_bytes import add_counts, from_bytes, to_bytes


def test_a_table_comes_back_as_it_was():
    table = pa.table({"id": ["é", None], "lists": [["a", "b"], []], "n": pa.array([1, 2], pa.int64())})
    assert from_bytes(to_bytes(table)).equals(table)
    empty = table.slice(0, 0)
    assert from_bytes(to_bytes(empty)).schema == table.schema


def test_counts_are_added_up_by_item():
    parts = [
        to_bytes(pa.table({"item_id": items, "events": pa.array(events, pa.int64())}))
        for items, events in ((["a", "b"], [1, 2]), (["b", "c"], [30, 4]))
    ]
    total = from_bytes(add_counts(parts))
    assert dict(zip(*total.to_pydict().values())) == {"a": 1, "b": 32, "c": 4}
    assert from_bytes(add_counts([])).num_rows == 0
