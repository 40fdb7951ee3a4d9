"""A synthetic log of any size with its catalogue and config: Zipf items, sessions, drift.

    python -m benchmarks.synthetic FOLDER --events 10_000_000
    recommender run --config FOLDER/config.yaml

There are a tenth as many users and a tenth as many items as events unless it is said. Nobody clicked any of this: each
user has a taste, a group of items, which a session mostly keeps to; within a group few items get most of the events,
and which ones shifts from day to day. A session goes on near where it is, so that the last items tell the next.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_GROUP_SIZE = 200
_DAYS = 180
_START = 1_735_689_600  # 2025-01-01 UTC, in seconds
_CHUNK = 1_000_000
_MEAN_SESSION = 5
_NEAR = 0.5
"""Share of a session's events that follow the last one closely."""
_OWN_TASTE = 0.7
"""Share of the sessions in the user's own group."""
_ZIPF = 1.0
"""Popularity of groups, and of items within one, falls with the rank to this power."""


def events(count: int, users: int, items: int, seed: int) -> Iterator[pa.Table]:
    """Yields a log in the order of time, in tables of at most a million rows or so.

    The columns are user_id and item_id, texts, and timestamp in Unix seconds.
    """
    chance = np.random.default_rng(seed)
    groups = -(-items // _GROUP_SIZE)
    tastes = _zipf(chance, users, groups)
    activity = np.cumsum(np.minimum(chance.pareto(1.5, users) + 0.2, 50))  # nobody clicks all day
    for start in range(0, count, _CHUNK):
        rows = min(_CHUNK, count - start)
        lengths = chance.geometric(1 / _MEAN_SESSION, rows)
        lengths = lengths[: np.searchsorted(np.cumsum(lengths), rows) + 1]
        sessions = len(lengths)
        user = np.searchsorted(activity, chance.random(sessions) * activity[-1])
        elsewhere = _zipf(chance, sessions, groups)
        group = np.where(chance.random(sessions) < _OWN_TASTE, tastes[user], elsewhere)
        begins = np.sort(start + chance.random(sessions) * rows) / count * _DAYS * 86_400
        session = np.repeat(np.arange(sessions), lengths)[:rows]
        place = (np.arange(len(session)) - np.repeat(np.cumsum(lengths) - lengths, lengths)[:rows]).astype(np.int64)
        when = _START + begins[session] + 60 * place
        item = group[session] * _GROUP_SIZE + _places(chance, place, when)
        order = np.argsort(when, kind="stable")
        yield pa.table(
            {
                "user_id": _ids("u", user[session][order]),
                "item_id": _ids("i", (item % items)[order]),
                "timestamp": pa.array(when[order].astype(np.int64)),
            }
        )


def _places(chance: np.random.Generator, place: np.ndarray, when: np.ndarray) -> np.ndarray:
    """Which item of its group each event [N] is of: a popular one of the month, or one near the session's last."""
    drift = ((when - _START) / 86_400).astype(np.int64)  # the group's order moves on by an item a day
    anywhere = (_zipf(chance, len(place), _GROUP_SIZE) + drift) % _GROUP_SIZE
    near = (chance.random(len(place)) < _NEAR) & (place > 0)
    step = chance.integers(1, 4, len(place))
    # From the last event that was anywhere on, steps add up.
    anchor = np.maximum.accumulate(np.where(near, 0, np.arange(len(place))))
    walked = np.cumsum(np.where(near, step, 0))
    return (anywhere[anchor] + walked - walked[anchor]) % _GROUP_SIZE


def _zipf(chance: np.random.Generator, count: int, ranks: int) -> np.ndarray:
    """Draws from 0 to `ranks` - 1, the first ones most often."""
    share = np.cumsum(1 / np.arange(1, ranks + 1) ** _ZIPF)
    return np.searchsorted(share, chance.random(count) * share[-1])


def catalogue(items: int, seed: int) -> pa.Table:
    """A row for each item: item_id, title, group, price and tags (texts separated by `|`)."""
    chance = np.random.default_rng([seed, 1])
    number = np.arange(items)
    tag = chance.integers(0, 1_000, (items, 2)).astype(str)
    return pa.table(
        {
            "item_id": _ids("i", number),
            "title": pa.array(np.char.add("Item ", number.astype(str))),
            "group": _ids("g", number // _GROUP_SIZE),
            "price": pa.array(np.round(chance.lognormal(3, 1, items), 2)),
            "tags": pa.array(np.char.add(np.char.add(tag[:, 0], "|"), tag[:, 1])),
        }
    )


def config(folder: Path, size: str, evaluated: int) -> dict[str, object]:
    """The config of a run on what `write` wrote."""
    return {
        "name": f"synthetic_{size}",
        "seed": 42,
        "data": {
            "interactions": {"path": str(folder / "interactions" / "*.parquet")},
            "catalogue": {
                "path": str(folder / "catalogue.parquet"),
                "display": "{title}",
                "features": {"group": {"type": "category"}, "price": {"type": "number", "min": 0}},
            },
        },
        "model": {"dim": 32},
        "training": {
            "loss": "mixed",
            "optimizer": "lazy_adam",
            "batch_size": 1024,
            "uniform_negatives": 1024,
            "epochs": 2,
            "refit": False,
        },
        "evaluation": {"max_queries": evaluated, "baselines": {"names": ["popularity", "recent_popularity"]}},
    }


def write(folder: Path, count: int, users: int, items: int, seed: int = 42, evaluated: int = 20_000) -> Path:
    """Writes log, catalogue and config, and returns the config's path."""
    (folder / "interactions").mkdir(parents=True, exist_ok=True)
    for number, table in enumerate(events(count, users, items, seed)):
        pq.write_table(table, folder / "interactions" / f"part-{number:05}.parquet")
    pq.write_table(catalogue(items, seed), folder / "catalogue.parquet")
    path = folder / "config.yaml"
    path.write_text(json.dumps(config(folder.resolve(), f"{count}", evaluated), indent=1))  # JSON is YAML
    return path


def _ids(prefix: str, number: np.ndarray) -> pa.Array:
    return pa.array(np.char.add(prefix, number.astype(str)))


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--users", type=int, help="by default a tenth of the events")
    parser.add_argument("--items", type=int, help="likewise")
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()
    users, items = options.users or options.events // 10, options.items or options.events // 10
    print(write(options.folder, options.events, users, items, options.seed))


if __name__ == "__main__":
    main()
