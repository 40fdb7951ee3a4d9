"""Events as pieces of their users' sequences: nothing is lost, and no event sees itself or what is later."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model.reading import Events
from pipeline.model.sequences import batches_of, cut, in_few_shapes
from pipeline.model.transformer import AT, OF, SEQUENCES

LOG = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 8)), min_size=1, max_size=60)


def events_of(log: list[tuple[int, int]]) -> Events:
    """Events of users at times; each has an item of its own, from 2 in the order of time."""
    users, times = np.array(log).T
    order = np.argsort(times, kind="stable")
    row = np.arange(len(log))
    return Events(row, users[order], (2 + row).astype(np.int32), np.ones(len(log), np.float32), times[order], {})


def seen_by(events: Events, places: int, size: int, seed: int) -> dict[int, list[int]]:
    """The history of each event, newest first, by the event's item, as batches have it."""
    found: dict[int, list[int]] = {}
    for rows, made in batches_of(cut(events, places), size, np.random.default_rng(seed)):
        for row, of, at in zip(rows, made[OF], made[AT]):
            assert int(events.item[row]) not in found, "an event is learned from once"
            sequence = made[SEQUENCES][of].tolist()
            found[int(events.item[row])] = [item for item in sequence[at:] if item] if at >= 0 else []
    return found


@pytest.mark.slow
@pytest.mark.smoke
@given(LOG, st.integers(1, 5), st.integers(1, 4))
def test_each_event_is_there_once_with_what_was_before_it(log: list[tuple[int, int]], places: int, size: int) -> None:
    events = events_of(log)
    found = seen_by(events, places, size, 1)
    assert sorted(found) == events.item.tolist()
    for row, item in enumerate(events.item.tolist()):
        before = (events.user == events.user[row]) & (events.moment < events.moment[row])
        newest_first = events.item[before][::-1].tolist()
        assert found[item] == newest_first[: len(found[item])]
        assert bool(found[item]) == bool(newest_first)
        assert len(found[item]) <= places
        last_of_user = events.user[row + 1 :].tolist().count(events.user[row]) == 0
        if last_of_user and (np.diff(events.moment[events.user == events.user[row]]) > 0).all():
            assert len(found[item]) == min(places, len(newest_first)), "the newest piece is as long as can be"


@pytest.mark.slow
@pytest.mark.smoke
@given(LOG, st.integers(1, 5), st.integers(1, 4), st.data())
def test_negative_events_are_learned_with_what_was_before_them_and_are_in_no_sequence(
    log: list[tuple[int, int]], places: int, size: int, data: st.DataObject
) -> None:
    events = events_of(log)
    negative = np.array(data.draw(st.lists(st.booleans(), min_size=len(log), max_size=len(log))))
    negative[0] = False
    events = dataclasses.replace(events, weight=np.where(negative, -1, 1).astype(np.float32))
    found = seen_by(events, places, size, 1)
    with_others = np.isin(events.user, events.user[~negative])
    assert sorted(found) == events.item[with_others].tolist()
    alone = seen_by(dataclasses.replace(events.take(~negative), row=events.row[~negative]), places, size, 1)
    for row, item in enumerate(events.item.tolist()):
        own = (events.user == events.user[row]) & ~negative
        newest_first = events.item[own & (events.moment < events.moment[row])][::-1].tolist()
        if not negative[row]:
            assert found[item] == alone[item], "as if there were no negative ones"
        elif with_others[row]:
            newest = int(events.item[own][-1])
            known = [each for each in newest_first if each != newest]  # no sequence has a user's newest
            assert found[item] == known[: len(found[item])]
            assert bool(found[item]) == bool(known)


def test_a_negative_event_sees_the_newest_though_no_other_event_ends_there() -> None:
    events = events_of([(0, 0), (0, 0), (0, 0), (0, 0), (0, 1)])
    events = dataclasses.replace(events, weight=np.array([1, 1, 1, 1, -1], np.float32))
    assert seen_by(events, 1, 1, 1) == {2: [], 3: [], 4: [], 5: [], 6: [4]}


def test_batches_are_a_function_of_chance_and_hold_so_many_pieces() -> None:
    events = events_of([(user, time) for user in range(10) for time in range(user + 1)])
    sequences = cut(events, 4)
    assert len(sequences) == sum(max(1, -(-user // 4)) for user in range(10))

    def rows(seed: int) -> list[list[int]]:
        return [rows.tolist() for rows, _ in batches_of(sequences, 3, np.random.default_rng(seed))]

    assert rows(1) == rows(1) != rows(2)
    assert len(rows(1)) == -(-len(sequences) // 3)
    assert max(made[SEQUENCES].shape[0] for _, made in batches_of(sequences, 3, np.random.default_rng(0))) == 3


@pytest.mark.parametrize("column", [SEQUENCES, OF, AT])
def test_columns_are_int32(column: str) -> None:
    [(_, made)] = batches_of(cut(events_of([(1, 1)]), 3), 2, np.random.default_rng(0))
    assert made[column].dtype == np.int32


def test_batches_of_few_shapes_have_the_same_events_first_and_these_again() -> None:
    sequences = cut(events_of([(user, time) for user in range(10) for time in range(2 * user + 1)]), 10)
    shapes = set()
    for rows, made in batches_of(sequences, 4, np.random.default_rng(0)):
        again, padded = in_few_shapes(rows, made, 4, 10)
        count, (pieces, width) = len(rows), made[SEQUENCES].shape
        assert again.tolist() == (rows.tolist() * -(-len(again) // count))[: len(again)]
        assert all((padded[name][:count] == made[name]).all() for name in (OF, AT))
        assert (padded[OF][count:] == made[OF][np.arange(count, len(again)) % count]).all()
        assert (padded[SEQUENCES][:pieces, :width] == made[SEQUENCES]).all()
        assert not padded[SEQUENCES][pieces:].any()
        assert not padded[SEQUENCES][:, width:].any()
        shapes.add((len(again), padded[SEQUENCES].shape))
    # Four lengths that are multiples of 3, and events as many as pieces of these hold, and those without a history.
    assert {shape for _, shape in shapes} <= {(4, length) for length in (3, 6, 9, 12)}
    assert {count for count, _ in shapes} <= {12, 24, 36, 48, 60}
