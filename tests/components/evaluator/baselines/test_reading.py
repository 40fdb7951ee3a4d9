"""The training events as the baselines read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from components.errors import InputError
from components.evaluator.baselines import BaselineSettings, reading
from components.evaluator.baselines.reading import read_training_events
from tests.components.conftest import write_examples
from tests.components.evaluator.baselines.toy import (
    write_log,
)


def test_reading_training_events(tmp_path: Path) -> None:
    rows = [("v", "b", 5), ("u", "c", 9), ("v", "c", 7), ("u", "a", 1)]
    events = read_training_events(write_log(tmp_path, rows), BaselineSettings())
    assert events.item_ids.tolist() == [b"c", b"a", b"b"]
    assert events.user.tolist() == [0, 1, 1, 0]
    assert events.item.tolist() == [1, 2, 0, 0]
    assert (events.num_users, events.num_items) == (2, 3)
    assert events.counts.tolist() == [2, 1, 1]
    assert (events.user.dtype, events.item.dtype, events.counts.dtype) == (np.int32, np.int32, np.int64)


def test_events_of_before_count(tmp_path: Path) -> None:
    write_log(tmp_path, [("v", "b", 5), ("u", "c", 9)])
    (tmp_path / "Split-train").rename(tmp_path / "Split-past")
    events = read_training_events(write_log(tmp_path, [("v", "c", 11)]), BaselineSettings())
    assert (events.item_ids.tolist(), events.counts.tolist()) == ([b"c", b"b"], [2, 1])


@pytest.mark.slow
@pytest.mark.smoke
def test_of_a_long_log_the_events_of_some_users_are_kept_whatever_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_BATCH", 50)
    draw = np.random.default_rng(0)
    rows = [(f"u{draw.integers(0, 100)}", f"i{draw.integers(0, 20):02}", time) for time in range(1_000)]
    whole = read_training_events(write_log(tmp_path / "one", rows), BaselineSettings())
    some = read_training_events(write_log(tmp_path / "some", rows, shards=3), BaselineSettings(max_events=300))
    again = read_training_events(write_log(tmp_path / "again", rows[::-1]), BaselineSettings(max_events=300))
    assert len(whole.user) == 1_000
    assert 50 < len(some.user) <= 300
    assert some.counts.tolist() == whole.counts.tolist()
    np.testing.assert_allclose(some.recent, whole.recent, rtol=1e-9)
    assert (some.user.tolist(), some.item.tolist()) == (again.user.tolist(), again.item.tolist())
    assert some.num_users == len(set(some.user.tolist())) == some.user.max() + 1
    # Users are there with all of their events, in the order of time.
    ids = sorted({user for user, _, _ in rows})
    own = {user: [item for whose, item, _ in rows if whose == user] for user in ids}
    for number in range(some.num_users):
        items = [some.item_ids[item].decode() for item in some.item[some.user == number]]
        assert items in own.values()


@pytest.mark.slow
@pytest.mark.smoke
def test_the_order_of_simultaneous_events_is_fixed_and_says_nothing_of_popularity(tmp_path: Path) -> None:
    rows = [(f"u{user:02}", f"i{item:02}", 0) for item in range(40) for user in range(41 - item)]
    events = read_training_events(write_log(tmp_path / "one", rows), BaselineSettings())
    again = read_training_events(write_log(tmp_path / "other", rows[::-1], shards=3), BaselineSettings())
    assert events.user.tolist() == again.user.tolist()
    assert events.item.tolist() == again.item.tolist()
    steps = np.concatenate([np.diff(events.item[events.user == user]) for user in range(41)])
    assert abs(np.mean(steps > 0) - 0.5) < 0.05


def test_simultaneous_events_of_a_user_come_in_the_order_of_the_log_where_it_counts(tmp_path: Path) -> None:
    """The files may have them in any order."""
    places = np.random.default_rng(0).permutation(40).tolist()
    examples = [
        {"user_id": f"u{user}", "item_id": f"i{place:02}", "timestamp": 7, "#place": place}
        for place in places
        for user in range(3)
    ]
    write_examples(tmp_path, "train", examples, 2)
    events = read_training_events(str(tmp_path), BaselineSettings())
    for user in range(3):
        items = [events.item_ids[item].decode() for item in events.item[events.user == user]]
        assert items == [f"i{place:02}" for place in range(40)]


def test_no_training_events(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no training events"):
        read_training_events(write_log(tmp_path, []), BaselineSettings())
