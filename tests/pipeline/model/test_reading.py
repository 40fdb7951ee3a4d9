"""Reading the training events: whole, and a log that is longer than what may be in memory."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.errors import InputError
from pipeline.model.reading import Events, content_hash, read_log, with_other_items
from pipeline.model.towers import SideFeature
from tests.pipeline.model.tiny_data import some_events, tiny_rows, write_log

HISTORY = 3
GENRES = SideFeature("genres", False, 9)


def test_order_of_simultaneous_events_does_not_depend_on_the_order_of_the_file() -> None:
    rng = np.random.default_rng(0)
    some = Events(
        np.arange(200),
        rng.integers(0, 3, 200),
        rng.integers(2, 4, 200).astype(np.int32),
        rng.choice([0.5, 1.0], 200).astype(np.float32),
        np.zeros(200, np.int64),
        {"history": rng.integers(0, 3, (200, 2)).astype(np.int32), "age": rng.random(200).astype(np.float32)},
    )
    shuffled = some.take(rng.permutation(200))
    first, second = (e.take(np.argsort(content_hash(e), kind="stable")) for e in (some, shuffled))
    assert np.array_equal(first.inputs["history"], second.inputs["history"])
    assert np.array_equal(first.inputs["age"], second.inputs["age"])
    assert np.array_equal(first.user, second.user)
    assert np.array_equal(first.item, second.item)
    assert np.array_equal(first.weight, second.weight)


def test_other_items_are_all_of_the_user_but_the_event_itself() -> None:
    # User 1 has the items 2, 3, 4, 5 in the order of time, user 2 has 6 alone.
    log = some_events([1, 2, 1, 1, 1], [2, 6, 3, 4, 5])
    others = with_other_items(log, log)
    assert others.inputs["history"].tolist() == [[5, 4], [0, 0], [5, 4], [5, 3], [4, 3]]
    # Of events that are held back only what is known counts.
    held_back, known = log.take([2, 1]), log.take([0, 3])
    assert with_other_items(held_back, known).inputs["history"].tolist() == [[4, 2], [0, 0]]


@pytest.mark.slow
@pytest.mark.smoke
@settings(max_examples=50, deadline=None)
@given(
    events=st.lists(st.tuples(st.integers(0, 3), st.integers(2, 6)), min_size=1, max_size=30),
    kept=st.lists(st.booleans(), min_size=30, max_size=30),
)
def test_other_items_equal_the_plain_loop(events: list[tuple[int, int]], kept: list[bool]) -> None:
    log = some_events([user for user, _ in events], [item for _, item in events])
    rows = [row for row in range(len(events)) if kept[row]] or [0]
    found = with_other_items(log, log.take(rows)).inputs["history"].tolist()
    for row, (user, _) in enumerate(events):
        others = [events[other][1] for other in reversed(rows) if other != row and events[other][0] == user]
        assert found[row] == [*others, 0, 0][:2]


def columns(events: Events) -> list[tuple[object, ...]]:
    """The events but for their places, sorted."""
    inputs = [events.inputs[name].tolist() for name in sorted(events.inputs)]
    return sorted(zip(events.user.tolist(), events.item.tolist(), events.weight.round(5).tolist(), *inputs))


@pytest.mark.slow
@pytest.mark.smoke
def test_a_long_log_comes_in_parts_of_whole_users(tmp_path: Path) -> None:
    uri = write_log(tmp_path)
    whole = read_log(uri, HISTORY, (GENRES,))
    log = read_log(uri, HISTORY, (GENRES,), in_memory=100)
    [everything], parts = [part() for part in whole.parts], [part() for part in log.parts]
    assert whole.size == log.size == len(everything) == 400
    np.testing.assert_allclose(everything.weight.mean(), 1, rtol=1e-6)
    assert len(parts) > 3
    assert max(map(len, parts)) <= 100
    assert sorted(itertools.chain(*map(columns, parts))) == columns(everything)
    users = [set(part.user.tolist()) for part in parts]
    assert sum(map(len, users)) == len(set.union(*users)) == 30
    # In the order of time, as in the whole.
    of_first = np.isin(everything.user, parts[0].user)
    assert parts[0].item.tolist() == everything.item[of_first].tolist()
    assert parts[0].row.tolist() == list(range(len(parts[0])))


@pytest.mark.slow
@pytest.mark.smoke
def test_samples_of_parts_are_evenly_spread_and_in_the_order_of_time(tmp_path: Path) -> None:
    uri = write_log(tmp_path)
    log = read_log(uri, HISTORY, in_memory=100)
    sample = log.sample(lambda part: part.take(slice(len(part) // 2, None)), 40)
    assert 40 <= len(sample) <= 40 + len(log.parts)
    assert sample.row.tolist() == list(range(len(sample)))
    # The later half of each part is about that of the whole; its order is that of the whole but for neighbours.
    [whole] = [part() for part in read_log(uri, HISTORY).parts]
    place = {key: row for row, key in enumerate(zip(whole.user.tolist(), whole.item.tolist(), whole.weight.tolist()))}
    places = [place[key] for key in zip(sample.user.tolist(), sample.item.tolist(), sample.weight.tolist())]
    assert np.corrcoef(places, np.arange(len(places)))[0, 1] > 0.9
    # Of one part all that is chosen.
    assert len(read_log(uri, HISTORY).sample(lambda part: part.take(slice(100)), 40)) == 100


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("in_memory", [1 << 62, 100])
def test_events_of_the_same_time_come_in_their_place(tmp_path: Path, in_memory: int) -> None:
    """Of the log that `write_log` writes each time has three events, in places 0, 1 and 2."""
    items = [row["item"][0] for row in tiny_rows()]
    log = read_log(write_log(tmp_path, shuffle=1), HISTORY, in_memory=in_memory)
    for part in log.parts:
        events = part()
        for user in np.unique(events.user):
            expected = [row["item"][0] for row in tiny_rows() if row["user_hash"][0] == user]
            assert events.item[events.user == user].tolist() == expected
    if len(log.parts) == 1:
        assert log.parts[0]().item.tolist() == items


def test_a_changed_log_is_changed_part_by_part(tmp_path: Path) -> None:
    log = read_log(write_log(tmp_path), HISTORY, in_memory=100)
    changed = log.map(lambda part: part.take(slice(5)))
    assert [len(part()) for part in changed.parts] == [5] * len(log.parts)
    assert [part().row.tolist() for part in changed.parts] == [list(range(5))] * len(log.parts)


def test_a_kill_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri, scratch = write_log(tmp_path / "log"), tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    log = read_log(uri, HISTORY, in_memory=100)
    assert not list(scratch.iterdir())
    assert sum(len(part()) for part in log.parts) == 400


def test_no_events_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there are no training events"):
        read_log(write_log(tmp_path, 0), HISTORY)


@pytest.mark.parametrize("in_memory", [1 << 62, 100])
def test_each_event_has_the_number_of_the_task_that_learns_its_type(tmp_path: Path, in_memory: int) -> None:
    numbers = {"view": 1, "cart": 0, "buy": 0}
    uri = write_log(tmp_path)
    log = read_log(uri, HISTORY, in_memory=in_memory, tasks={"purchase": ("buy", "cart", "gift"), "look": ("view",)})
    rows = [(row["user_hash"][0], row["item"][0], numbers[row["event"][0]]) for row in tiny_rows()]
    found = []
    for part in log.parts:
        events = part()
        assert events.inputs["task"].dtype == np.int32
        found += zip(events.user.tolist(), events.item.tolist(), events.inputs["task"].tolist())
    assert sorted(found) == sorted(rows)
    assert "task" not in read_log(uri, HISTORY).first.inputs


def test_types_without_a_task_and_tasks_without_a_type_are_named(tmp_path: Path) -> None:
    uri = write_log(tmp_path)
    with pytest.raises(InputError, match=r"model\.tasks: no task learns the events of type 'cart', 'view': add them"):
        read_log(uri, HISTORY, tasks={"purchase": ("buy",)})
    tasks = {"purchase": ("buy", "cart", "view"), "gift": ("wrap",)}
    with pytest.raises(InputError, match=r"model\.tasks\.gift: .*there are: 'buy', 'cart', 'view'"):
        read_log(uri, HISTORY, tasks=tasks)


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("in_memory", [1 << 62, 100])
def test_negative_events_weigh_below_0_and_are_as_many_as_tasks_and_items_know(tmp_path: Path, in_memory: int) -> None:
    uri = write_log(tmp_path)
    plain = read_log(uri, HISTORY, in_memory=in_memory)
    assert plain.negatives == 0
    write_log(tmp_path, count=30, split="negative")
    log = read_log(uri, HISTORY, in_memory=in_memory)
    assert (log.size, log.negatives) == (430, 30)
    weights = np.concatenate([part().weight for part in log.parts])
    assert (weights < 0).sum() == 30
    np.testing.assert_allclose(np.abs(weights).mean(), 1, rtol=1e-6)
    moments = [part().moment for part in log.parts]
    assert all((np.diff(some) >= 0).all() for some in moments), "in the order of time, among the others"
    # No task learns returns: of the first 30 rows ten are of each type.
    tasks = {"all": ["view", "cart", "buy"]}
    assert read_log(uri, HISTORY, in_memory=in_memory, tasks=tasks).negatives == 30
    positives = write_log(tmp_path / "views", count=30, split="train")
    write_log(tmp_path / "views", count=30, split="negative")
    with pytest.raises(InputError, match="no task learns the events of type 'buy', 'cart'"):
        read_log(positives, HISTORY, tasks={"all": ["view"]})


def test_other_items_are_none_that_were_rejected() -> None:
    log = some_events([1, 1, 1, 1], [2, 3, 4, 5])
    log = dataclasses.replace(log, weight=np.array([1, -1, 1, 1], np.float32))
    assert with_other_items(log, log).inputs["history"].tolist() == [[5, 4], [5, 4], [5, 2], [4, 2]]
