"""What the Indexer gathers from the training events."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from components.indexer import gather as module
from components.indexer.gather import Stored, gather, gather_rejected, newest_distinct
from tests.components.indexer.tiny import write_examples

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

Log = list[tuple[int, int, int]]
"""Numbers of users and items, and times."""

logs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 3)), max_size=30)


def newest_items(events: Log, user: int, limit: int) -> list[int]:
    """The plain loop."""
    own = [(time, place, item) for place, (whose, item, time) in enumerate(events) if whose == user]
    return list(dict.fromkeys(item for _, _, item in sorted(own, reverse=True)))[:limit]


def of(stored: Stored | None, user: int) -> list[int]:
    assert stored is not None
    return stored.values[stored.splits[user] : stored.splits[user + 1]].tolist()


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
    kinds = ["view", "buy", "cart"]
    rows = [
        {"user_id": f"u{u}", "item_id": f"i{i}", "timestamp": t, "age": float(t), "event": kinds[(u + i + t) % 3]}
        for u, i, t in events
    ]
    uri = write_examples(tmp_path_factory.mktemp("log"), "train", rows)
    row_of = {f"i{number}".encode(): number for number in range(4)}  # not of the last item
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BATCH", 3)
        patch.setattr(module, "_HELD", held)
        found = gather(uri, row_of, limit, {"age": float})
        of_types = gather(uri, row_of, limit, {}, ["buy", "cart"])
    assert found.excluded is None
    assert of_types.history.values.tolist() == found.history.values.tolist()
    known = [event for event in events if event[1] < 4]
    users = sorted({u for u, _, _ in events})
    assert found.user_ids.tolist() == [f"u{u}".encode() for u in users]
    for place, u in enumerate(users):
        assert of(found.history, place) == newest_items(known, u, limit)
        bought = [event for event in known if kinds[sum(event) % 3] != "view"]
        assert of(of_types.excluded, place) == newest_items(bought, u, limit)
        context = tf.train.Example.FromString(found.contexts[place])
        assert context.features.feature["age"].float_list.value == [max(t for v, _, t in events if v == u)]
    assert found.events.tolist() == [sum(item == number for _, item, _ in events) for number in range(4)]


def test_without_features_contexts_are_empty(tmp_path: Path) -> None:
    uri = write_examples(tmp_path, "train", [{"user_id": "u", "item_id": "i", "timestamp": 1}])
    found = gather(uri, {b"other": 0}, 5)
    assert found.contexts.tolist() == [b""]
    assert found.history.splits.tolist() == [0, 0]
    assert found.events.tolist() == [0]


def test_what_was_rejected_is_taken_back_by_a_later_event_unless_that_was_for_good(tmp_path: Path) -> None:
    train = [("ann", "a", 5), ("ann", "b", 9), ("ann", "c", 5), ("ann", "d", 9), ("bob", "a", 1)]
    negative = [
        # user, item, time, for good
        ("ann", "a", 7, 0),  # after the last event with it
        ("ann", "b", 7, 0),  # before that: taken back
        ("ann", "c", 5, 0),  # of one moment the negative event counts as later
        ("ann", "d", 2, 1),
        ("ann", "lost", 3, 0),  # no item of the index
        ("bob", "b", 4, 0),
        ("bob", "b", 6, 0),
        ("cleo", "a", 1, 0),  # no user of the training events
    ]
    assert gather_rejected(write(tmp_path / "none", train), ROW_OF, USERS, 5) is None
    uri = write(tmp_path / "log", train)
    rows = [{"user_id": u, "item_id": i, "timestamp": t, "#for_good": final} for u, i, t, final in negative]
    write_examples(tmp_path / "log", "negative", rows)
    found = gather_rejected(uri, ROW_OF, USERS, 5)
    assert [of(found, user) for user in range(2)] == [[0, 2, 3], [1]]  # the newest first
    assert [of(gather_rejected(uri, ROW_OF, USERS, 2), user) for user in range(2)] == [[0, 2], [1]]


def test_a_split_of_no_negative_events_rejects_nothing(tmp_path: Path) -> None:
    uri = write(tmp_path, [("ann", "a", 1), ("bob", "a", 1)])
    write_examples(tmp_path, "negative", [])
    assert [of(gather_rejected(uri, ROW_OF, USERS, 5), user) for user in range(2)] == [[], []]


ROW_OF = {item.encode(): row for row, item in enumerate("abcd")}
USERS = np.array([b"ann", b"bob"], object)


def write(folder: Path, events: list[tuple[str, str, int]]) -> str:
    return write_examples(folder, "train", [{"user_id": u, "item_id": i, "timestamp": t} for u, i, t in events])
