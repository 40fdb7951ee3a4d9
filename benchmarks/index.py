"""What a request for one user costs at a million items, beside one pass over the table in memory, by precision.

    python -m benchmarks.index [--items 1000000 --dim 64 --requests 20 --scann]

The pass is NumPy's product of the float32 table and one vector, which reads the table once. Requests and passes take
turns in one process, so that what else the machine does meets both. A cell has the median, the least, which is nearer
to what an idle machine gives, and the medians' ratio to the pass. The memory is the process's after the first requests,
without what it had before the model was loaded. Weights and ids are synthetic; a condition of a filter is fulfilled by
a tenth, by half or by nine tenths of the items. With `--scann` there is a column for the approximate index, over a
float32 table; what it finds can only be judged on trained embeddings, as the Indexer does.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import tensorflow as tf

from benchmarks.compact import make_index, write_towers
from components.indexer.attributes import Attributes
from components.indexer.index import Index
from components.indexer.saving import save_servable
from components.indexer.settings import Compact, IndexerSettings, IndexSettings
from serving.custom_ops import import_custom_ops

_USERS, _STORED = 10_000, 20
_EXCLUDED = 100
_SHARES = {"colour=red": 0.1, "size=small": 0.5, "stock=yes": 0.9}


def with_attributes(index: Index) -> Index:
    """The index with a category for each of `_SHARES` and a price from 0 to 1."""
    chance = np.random.default_rng(1)
    count = len(index.item_ids)
    rows = [np.flatnonzero(chance.random(count) < share).astype(np.int32) for share in _SHARES.values()]
    attributes = Attributes(
        tuple(condition.partition("=")[0] for condition in _SHARES),
        ("price",),
        np.array([b"=", *(condition.encode() for condition in _SHARES)], object),
        np.cumsum([0, 0, *map(len, rows)]).astype(np.int64),
        np.concatenate(rows),
        chance.random((1, count)).astype(np.float32),
    )
    return dataclasses.replace(index, attributes=attributes)


def requests(servable: Any) -> dict[str, Callable[[], Any]]:
    """What is asked of the servable, by what the table calls it."""
    none, k = tf.fill([1, 0], ""), tf.constant(10)
    recommend, with_rules = (servable.signatures[name] for name in ("recommend", "recommend_with_rules"))
    who = {"user_id": tf.constant(["7"]), "history": none, "k": k}
    best = recommend(**{**who, "k": tf.constant(_EXCLUDED)}, exclude=none)["item_ids"]

    def ruled(*conditions: str, exclude: tf.Tensor = none) -> Any:
        filters = tf.constant([conditions], tf.string)
        empty = {"allow": none, "boost": none, "boost_by": tf.zeros([1, 0]), "diversity": tf.zeros([1])}
        return with_rules(**who, **empty, context=tf.constant([""]), exclude=exclude, filter=filters)

    return {
        "recommend": lambda: recommend(**who, exclude=none),
        f"{_EXCLUDED} exclusions": lambda: recommend(**who, exclude=best),
        **{f"filter: {share:.0%} of the items": lambda c=c: ruled(c) for c, share in _SHARES.items()},
        "filter: price": lambda: ruled("price<=0.1"),
        "all of these": lambda: ruled(*_SHARES, "price<=0.1", exclude=best),
        "similar_items": lambda: servable.signatures["similar_items"](item_id=best[0, :1], exclude=none, k=k),
    }


def measure(path: str, items: int, dim: int, count: int) -> tuple[dict[str, list[float]], float]:
    """Milliseconds of all requests by name, the pass among them, and the model's memory in MiB; in its own process."""
    import_custom_ops(path)
    before = _resident()
    asked = requests(tf.saved_model.load(path))
    for ask in asked.values():
        ask()
    memory = _resident() - before
    table, query = np.random.default_rng(0).random((items, dim), np.float32), np.ones(dim, np.float32)
    asked = {"one pass": lambda: table @ query, **asked}
    times: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(count):
        for name, ask in asked.items():
            started = time.perf_counter()
            ask()
            times[name].append(1_000 * (time.perf_counter() - started))
    return times, memory


def _resident() -> float:
    """Resident memory of this process in MiB."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 2**10


def main() -> None:
    """Measures each precision and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("items", 1_000_000), ("dim", 64), ("requests", 20)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--scann", action="store_true", help="the approximate index too")
    options = parser.parse_args()
    kinds = {compact: IndexerSettings(compact=compact) for compact in get_args(Compact)}
    if options.scann:
        kinds["scann"] = IndexerSettings(index=IndexSettings(type="scann"))
    index = with_attributes(make_index(options.items, _USERS, options.dim, _STORED))
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        write_towers(Path(folder, "towers"), options.dim)
        for kind, settings in kinds.items():
            path = str(Path(folder, kind))
            save_servable(str(Path(folder, "towers")), index, settings, "index", path)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                found[kind] = pool.apply(measure, (path, options.items, options.dim, options.requests))
    print(f"{options.items:,} items x {options.dim}, k = 10; milliseconds: median, least, and how many passes\n")
    print("| | " + " | ".join(found) + " |\n" + "|---" * (len(found) + 1) + "|")
    for name in next(iter(found.values()))[0]:
        cells = [_cell(times[name], times["one pass"]) for times, _ in found.values()]
        print(f"| {name} | " + " | ".join(cells) + " |")
    print("| memory, MiB | " + " | ".join(f"{memory:,.0f}" for _, memory in found.values()) + " |")


def _cell(times: list[float], passes: list[float]) -> str:
    median = np.median(times)
    return f"{median:.1f}, {min(times):.1f} ({median / np.median(passes):.1f})"


if __name__ == "__main__":
    main()
