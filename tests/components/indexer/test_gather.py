"""What the Indexer gathers from the training events."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from components.indexer import gather as module
from components.indexer.gather import gather, newest_distinct
from tests.components.indexer.tiny import write_examples

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

Log = list[tuple[int, int, int]]
"""Numbers of users and items, and times."""

logs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 3)), max_size=30)


def newest_items(events: Log, user: int, limit: int) -> list[int]:
    """The plain loop."""
    own = [(time, place, item) for place, (whose, item, time) in enumerate(events) if whose == user]
    return list(dict.fromkeys(item for _, _, item in sorted(own, reverse=True)))[:limit]


@given(events=logs, limit=st.integers(0, 4))
def test_newest_distinct_equals_the_plain_loop(events: Log, limit: int) -> None:
    user, item, time = (np.array([event[c] for event in events], np.int64) for c in range(3))
    kept = newest_distinct(user, item, time, limit)
    for u in range(4):
        assert item[kept[user[kept] == u]].tolist() == newest_items(events, u, limit)
    assert user[kept].tolist() == sorted(user[kept])


@settings(max_examples=20, deadline=None)
@given(events=logs.filter(bool), limit=st.integers(1, 4), held=st.integers(0, 10))
def test_batch_by_batch_it_is_what_the_whole_log_says(
    events: Log, limit: int, held: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = [{"user_id": f"u{u}", "item_id": f"i{i}", "timestamp": t, "age": float(t)} for u, i, t in events]
    uri = write_examples(tmp_path_factory.mktemp("log"), "train", rows)
    row_of = {f"i{number}".encode(): number for number in range(4)}  # not of the last item
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BATCH", 3)
        patch.setattr(module, "_HELD", held)
        found = gather(uri, row_of, limit, {"age": float})
    known = [event for event in events if event[1] < 4]
    users = sorted({u for u, _, _ in events})
    assert found.user_ids.tolist() == [f"u{u}".encode() for u in users]
    for place, u in enumerate(users):
        values = found.values[found.splits[place] : found.splits[place + 1]].tolist()
        assert values == newest_items(known, u, limit)
        context = tf.train.Example.FromString(found.contexts[place])
        assert context.features.feature["age"].float_list.value == [max(t for v, _, t in events if v == u)]
    assert found.events.tolist() == [sum(item == number for _, item, _ in events) for number in range(4)]


def test_without_features_contexts_are_empty(tmp_path: Path) -> None:
    uri = write_examples(tmp_path, "train", [{"user_id": "u", "item_id": "i", "timestamp": 1}])
    found = gather(uri, {b"other": 0}, 5)
    assert found.contexts.tolist() == [b""]
    assert found.splits.tolist() == [0, 0]
    assert found.events.tolist() == [0]
