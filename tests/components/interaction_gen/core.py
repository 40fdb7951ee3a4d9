"""InteractionGen's rules on arrays, without files and Beam."""

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from components.interaction_gen import partition, split
from components.interaction_gen.events import clean
from components.interaction_gen.settings import InteractionSettings
from components.tables import reading
from components.tables.arrow_bytes import add_counts, from_bytes, to_bytes


def core(rows, cut=None, excluded_types=(), **options):
    """Runs the core on rows of (user, item, time), or with the event's type too where `columns.event` names that;
    returns {split: [example dicts]} and the report."""
    config = InteractionSettings.model_validate(options)
    users, items, times, *types = zip(*rows) if rows else ((), (), ())
    columns = {"user_id": pa.array(users, pa.string()), "item_id": pa.array(items, pa.string())}
    if config.columns.timestamp:
        columns["timestamp"] = pa.array(times, pa.int64())
    if config.columns.event:
        columns[config.columns.event] = pa.array(types[0] if types else (), pa.string())
    block = reading.Block(np.arange(2, len(rows) + 2), columns)
    events, report = clean(block, reading.TableFile("log.csv", "csv", 1, 0), config, "us", False)
    table, more = partition.ordered([events], config)
    report.dropped.update(more.dropped)
    if config.split.method == "time" and cut is None:
        cut = find_cut(table, config.split.eval_fraction)
    if config.max_user_events is not None:
        table, more = partition.newest_of_users(table, config, cut)
        report.dropped.update(more.dropped)
    marked = partition.mark(table, config, cut)
    newest = None
    if config.max_item_events is not None:
        counts = partition.event_counts(marked, "item_id").to_pydict()
        crowded = [i for i, n in zip(*counts.values()) if n > config.max_item_events]
        events = partition.counted_events(marked, pa.array(crowded, pa.string()))
        newest = partition.newest_of_items(events, config.max_item_events)
    common = None
    if config.min_item_events > 1:
        counts = from_bytes(add_counts([to_bytes(partition.event_counts(marked, "item_id"))]))
        common = pa.array([i for i, n in zip(*counts.to_pydict().values()) if n >= config.min_item_events], pa.string())
    last = max(table["timestamp"].to_pylist(), default=None)
    found = partition.examples(marked, config, cut, common, report, newest, last, excluded_types)
    result = {}
    for name, slices in found.items():
        result[name] = []
        for arrays in slices:
            values = {column: array.to_pylist() for column, array in arrays.items()}
            result[name] += [{c: values[c][k] for c in values} for k in range(len(values["item_id"]))]
    return result, report, cut


def find_cut(table, fraction, bits=2):
    time, order = table["timestamp"].to_numpy(), table["#order"].to_numpy()
    place = split.locate(split.histogram(time, bits), fraction)
    if place is None:
        return None
    inside = time >> bits == place[0]
    return split.cut_at(time[inside], order[inside], place[1])


def brief(examples):
    return [(e["user_id"], e["item_id"], e["timestamp"], tuple(e["history"])) for e in examples]


TIES = st.sampled_from(["exclude", "log_order"])
LOG = st.lists(st.tuples(st.sampled_from("uvw"), st.sampled_from("abcd"), st.integers(0, 12)), min_size=1, max_size=40)
