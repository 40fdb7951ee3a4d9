"""Small logs for the baselines, and how they are fitted to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from components.evaluator import baselines
from components.evaluator.baselines import BaselineSettings
from components.evaluator.baselines.base import Baseline, TrainingEvents

DAY = 86_400_000_000


def log(events: list[tuple[str, str]]) -> TrainingEvents:
    """Events (user, item) in the order of time, of which none is older than another."""
    users = sorted({user for user, _ in events})
    items = [item for _, item in events]
    ids = sorted(set(items), key=lambda item: (-items.count(item), item))
    counts = np.array([items.count(item) for item in ids], np.int64)
    return TrainingEvents(
        user=np.array([users.index(user) for user, _ in events], np.int32),
        item=np.array([ids.index(item) for item in items], np.int32),
        item_ids=np.array([item.encode() for item in ids], object),
        num_users=len(users),
        counts=counts,
        recent=counts.astype(float),
    )


logs = st.lists(st.tuples(st.sampled_from("uvwx"), st.sampled_from("abcdefg")), min_size=1, max_size=60).map(log)
histories = st.lists(st.permutations(range(7)).flatmap(lambda p: st.integers(0, 7).map(lambda n: p[:n])), max_size=5)


def fit(name: str, events: TrainingEvents, **parameters: float) -> Baseline:
    return baselines.fit(BaselineSettings(names=(name,), **parameters), events)[name]


A, B, C, D = range(4)
TOY = log([("u", "a"), ("v", "b"), ("u", "b"), ("v", "a"), ("u", "c"), ("w", "a"), ("w", "c"), ("x", "d")])
"""The order of users' items: u a b c, v b a, w a c, x d; so 3 events of a, 2 of b and of c, 1 of d."""


def random_log(users: int = 60, items: int = 12, seed: int = 0) -> TrainingEvents:
    generator = np.random.default_rng(seed)
    taken = generator.random((users, items)) < np.linspace(0.7, 0.1, items)
    return log([(f"u{user:03}", f"i{item:03}") for user, item in zip(*np.nonzero(taken))])


def write_log(path: Path, rows: list[tuple[str, str, int]], shards: int = 1) -> str:
    from tests.components.conftest import write_examples

    examples = [{"user_id": user, "item_id": item, "timestamp": time} for user, item, time in rows]
    write_examples(path, "train", examples, shards)
    return str(path)
