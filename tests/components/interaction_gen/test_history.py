"""Point-in-time histories against a naive reading of their definition."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.interaction_gen import history
from components.interaction_gen.history import distinct, histories, next_same, past

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

EVENTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6), st.sampled_from("abcde")), max_size=40)


def arrays(events):
    """Returns user, time, item of events sorted by user and time; the place in the list breaks ties."""
    events = sorted(events, key=lambda event: event[:2])
    user = np.array([event[0] for event in events], dtype=np.int64)
    time = np.array([event[1] for event in events], dtype=np.int64)
    return user, time, pa.array([event[2] for event in events], pa.string()).dictionary_encode()


def naive_history(user, time, items, index, max_length):
    earlier = [k for k in range(len(user)) if user[k] == user[index] and time[k] < time[index]]
    return [items[k] for k in reversed(earlier)][:max_length]


def test_a_worked_example():
    user, time, item = arrays([(1, 10, "a"), (1, 20, "b"), (1, 20, "c"), (1, 30, "d"), (2, 5, "e"), (2, 40, "a")])
    # b and c happen at once: neither knows of the other, and d sees the later row, c, first.
    assert histories(user, time, item, 50).to_pylist() == [[], ["a"], ["a"], ["c", "b", "a"], [], ["e"]]
    assert histories(user, time, item, 2).to_pylist() == [[], ["a"], ["a"], ["c", "b"], [], ["e"]]
    assert histories(user, time, item, 0).to_pylist() == [[]] * 6


@settings(deadline=None)
@given(EVENTS, st.integers(0, 8))
def test_histories_are_the_users_strictly_earlier_events_newest_first(events, max_length):
    user, time, item = arrays(events)
    expected = [naive_history(user, time, item.to_pylist(), k, max_length) for k in range(len(user))]
    assert histories(user, time, item, max_length).to_pylist() == expected


@settings(deadline=None)
@given(EVENTS, st.integers(0, 6), st.sampled_from([1, 7, 4_000_000]))
def test_seen_are_the_distinct_earlier_items_at_their_newest_place(events, max_length, budget):
    user, time, item = arrays(events)
    start, end = past(user, time)
    following = next_same(user, item.indices.to_numpy())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history, "_EXPANDED", budget)
        found = distinct(start, end, following, item, max_length).to_pylist()
    naive = [naive_history(user, time, item.to_pylist(), k, 1000) for k in range(len(user))]
    assert found == [list(dict.fromkeys(each))[:max_length] for each in naive]


def test_a_user_with_very_many_events_takes_little_memory_and_time():
    size = 200_000
    user = np.zeros(size, dtype=np.int64)
    item = pa.array([str(k % 5000) for k in range(size)]).dictionary_encode()
    start, end = past(user, np.arange(size))
    following = next_same(user, item.indices.to_numpy())
    last = np.arange(size - 2000, size)
    found = distinct(start[last], end[last], following, item, 1000)
    assert found[-1].as_py() == [str(k % 5000) for k in range(size - 2, size - 1002, -1)]


def test_next_same_is_per_user():
    user = np.array([0, 0, 0, 1, 1])
    item = np.array([7, 8, 7, 7, 7])
    assert next_same(user, item).tolist() == [2, 5, 5, 4, 5]
