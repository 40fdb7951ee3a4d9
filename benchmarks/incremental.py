"""Nights that read and learn what is new alone, against runs in full: processor time, and quality from day to day.

    python -m benchmarks.incremental --rows 3_000_000 --days 100 --nights 1
    python -m benchmarks.incremental --rows 300_000 --days 100 --nights 30 --quality

The log is that of synthetic.py in so many files of equally many rows, a day each, of which all but the last `nights`
are read by the first run, which is in full. Each night one more is there. With `--quality` each night has a run in full
too, or by `--compare-every` some have one, in a folder of its own, and both models are asked for the events of the day
after, point in time; the difference of their hit rates has an interval by a bootstrap over users, of all these nights
together. No figure from here says anything of real quality: whether the two differ is what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import synthetic
from benchmarks.scale import Node, measure
from components import versions

_DEPTH = 10
_HISTORY = 50
_BATCH = 256
_REPLICATES = 2_000


class World:
    """A log by days, of which some are there already, and its config."""

    def __init__(
        self, folder: Path, rows: int, days: int, users: int, items: int, incremental: dict[str, Any], seed: int
    ) -> None:
        self.folder = folder
        log = pa.concat_tables(synthetic.events(rows, users, items, seed)).combine_chunks()
        self.days = [
            log.slice(rows * day // days, rows * (day + 1) // days - rows * day // days) for day in range(days)
        ]
        (folder / "interactions").mkdir(parents=True, exist_ok=True)
        pq.write_table(synthetic.catalogue(items, seed), folder / "catalogue.parquet")
        settings = {**synthetic.config(folder.resolve(), "log", 20_000), "incremental": incremental}
        self.config = folder / "config.yaml"
        self.config.write_text(json.dumps(settings, indent=1))  # JSON is YAML
        self.there = 0

    def come(self, days: int) -> None:
        """Lets more days be there."""
        for day in range(self.there, self.there + days):
            pq.write_table(self.days[day], self.folder / "interactions" / f"day-{day:05}.parquet")
        self.there += days

    def run(self, name: str) -> Node:
        """Runs the config in a folder; returns what all nodes took."""
        nodes = measure(self.config, self.folder / name)
        print(f"  {name}: " + ", ".join(f"{node} {took.cpu_seconds:.0f}" for node, took in nodes.items()) + " s CPU")
        return nodes["all"]

    def version(self, name: str) -> Path:
        """The newest version that was pushed in a folder.

        Raises:
            SystemExit: There is none.
        """
        found = versions.newest(self.folder / name / "models" / "synthetic_log")
        if found is None:
            sys.exit(f"{name}: nothing was pushed")
        return found.path

    def queries(self, count: int, chance: np.random.Generator) -> tuple[list[list[str]], list[str], list[str]]:
        """Histories, newest first, items and users of some events of the day that comes next."""
        log = pa.concat_tables(self.days[: self.there + 1])
        user, item, time = (log[name].to_numpy() for name in ("user_id", "item_id", "timestamp"))
        order = np.lexsort((time, user))
        user, item, time = user[order], item[order], time[order]
        new = np.flatnonzero(order >= sum(map(len, self.days[: self.there])))
        asked = np.sort(chance.choice(new, min(count, len(new)), replace=False))
        first = np.searchsorted(user, user[asked])
        histories = [
            [what for what, when in zip(item[start:place][::-1], time[start:place][::-1]) if when < time[place]]
            for start, place in zip(np.maximum(first, asked - _HISTORY), asked)
        ]
        return histories, item[asked].tolist(), user[asked].tolist()


def hits(version: Path, histories: list[list[str]], items: list[str]) -> np.ndarray:
    """Whether each item [Q] is among the best ten that a version recommends for its history, bool [Q]."""
    import tensorflow as tf

    recommend = tf.saved_model.load(str(version)).signatures["recommend"]
    found = []
    for start in range(0, len(items), _BATCH):
        some = histories[start : start + _BATCH]
        padded = [[*history, *[""] * (_HISTORY - len(history))] for history in some]
        none = tf.fill([len(some), 1], "")
        answer = recommend(user_id=none[:, 0], history=tf.constant(padded), exclude=none, k=tf.constant(_DEPTH))
        wanted = np.array(items[start : start + _BATCH], "S")[:, np.newaxis]
        found.append((answer["item_ids"].numpy().astype("S") == wanted).any(axis=1))
    return np.concatenate(found)


def interval(difference: np.ndarray, users: list[str], seed: int) -> tuple[float, float]:
    """The mean's 95 % interval by a Poisson bootstrap over users, as the Evaluator's is."""
    _, user = np.unique(users, return_inverse=True)
    total, count = np.bincount(user, difference), np.bincount(user)
    weight = np.random.default_rng(seed).poisson(1, (_REPLICATES, len(count)))
    low, high = np.quantile(weight @ total / np.maximum(weight @ count, 1), [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=3_000_000)
    parser.add_argument("--days", type=int, default=100)
    parser.add_argument("--users", type=int, help="by default a thirtieth of the rows")
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--nights", type=int, default=1)
    parser.add_argument("--full-every", type=int, default=1_000, help="of the nights; by default none is in full")
    parser.add_argument("--linear", choices=["keep", "refit"], default="keep", help="as incremental.linear")
    parser.add_argument("--replay", type=float, default=1.0, help="as incremental.replay")
    parser.add_argument("--quality", action="store_true", help="compare with runs in full")
    parser.add_argument("--compare-every", type=int, default=1, help="of the nights; by default all are compared")
    parser.add_argument("--queries", type=int, default=2_000, help="a night")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--folder", type=Path, help="where all is kept")
    parser.add_argument("--json", type=Path, default=Path("output/incremental_benchmark.json"))
    options = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    with tempfile.TemporaryDirectory() as temporary:
        world = World(
            options.folder or Path(temporary),
            options.rows,
            options.days,
            options.users or options.rows // 30,
            options.items,
            {"full_every": options.full_every, "linear": options.linear, "replay": options.replay},
            options.seed,
        )
        last = 1 if options.quality else 0  # a day must come after the last night
        world.come(options.days - options.nights - last)
        whole, nights = world.run("on"), []
        compared: list[tuple[np.ndarray, np.ndarray, list[str]]] = []
        chance = np.random.default_rng(options.seed)
        for night in range(options.nights):
            world.come(1)
            nights.append(world.run("on"))
            if options.quality and (night + 1) % options.compare_every == 0:
                world.run("full")
                histories, items, users = world.queries(options.queries, chance)
                on, full = (hits(world.version(name), histories, items) for name in ("on", "full"))
                shutil.rmtree(world.folder / "full")
                compared.append((on, full, users))
                print(f"night {night + 1}: hit@{_DEPTH} {on.mean():.4f}, in full {full.mean():.4f}", flush=True)
    share = sum(night.cpu_seconds for night in nights) / len(nights) / whole.cpu_seconds
    result = {"full": asdict(whole), "nights": [asdict(night) for night in nights], "share": share}
    print(
        f"{options.rows:,} rows, {100 / options.days:g} % of them new: a night takes {share:.1%} of the processor "
        f"time of a run in full ({whole.cpu_seconds:,.0f} s)"
    )
    if compared:
        on, full = (np.concatenate([night[place] for night in compared]).astype(float) for place in range(2))
        low, high = interval(on - full, [user for _, _, users in compared for user in users], options.seed)
        result |= {"on": on.mean(), "in_full": full.mean(), "interval": [low, high]}
        print(
            f"hit@{_DEPTH} over {len(compared)} nights: {on.mean():.4f}, in full {full.mean():.4f}, difference "
            f"{(on - full).mean():+.4f} ({low:+.4f} to {high:+.4f})"
        )
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
