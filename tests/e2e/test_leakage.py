"""No leakage: what the real artifacts hold is held against the raw log by loops too plain to be wrong."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.conftest import Small
from tests.e2e.world import Event, World, versions

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

SECOND = 1_000_000  # microseconds
EVAL_FRACTION = 0.2
MAX_HISTORY = 50


@pytest.fixture(scope="module")
def events(world: World) -> list[Event]:
    """The log in the order of time, and of the rows at the same time."""
    return sorted(world.distinct(), key=lambda event: event.time)


@pytest.fixture(scope="module")
def training(events: list[Event]) -> list[Event]:
    """The older part."""
    return events[: len(events) - round(len(events) * EVAL_FRACTION)]


@pytest.fixture(scope="module")
def examples(first_run: Small) -> dict[str, list[dict]]:
    """InteractionGen's examples by split."""
    from components.examples.reading import ragged, read_columns, scalars

    uri = first_run.artifact("InteractionGen", "examples").uri
    rows: dict[str, list[dict]] = {}
    for split in ("train", "eval"):
        features = {"user_id": bytes, "item_id": bytes, "timestamp": int, "history": bytes, "seen": bytes}
        table = read_columns(uri, split, features)
        columns = {name: scalars(table, name) for name in ("user_id", "item_id", "timestamp")}
        lists = {name: ragged(table, name) for name in ("history", "seen")}
        rows[split] = [
            {
                "key": (
                    columns["user_id"][row].decode(),
                    columns["item_id"][row].decode(),
                    int(columns["timestamp"][row]),
                ),
                **{
                    name: [value.decode() for value in values[offsets[row] : offsets[row + 1]]]
                    for name, (values, offsets) in lists.items()
                },
            }
            for row in range(table.num_rows)
        ]
    return rows


def test_splits_hold_the_older_and_the_newer_events(
    examples: dict[str, list[dict]], events: list[Event], training: list[Event]
) -> None:
    newer = events[len(training) :]
    for split, wanted in (("train", training), ("eval", newer)):
        keys = [(event.user, event.item, event.time * SECOND) for event in wanted]
        assert sorted(row["key"] for row in examples[split]) == sorted(keys)
    assert max(row["key"][2] for row in examples["train"]) <= min(row["key"][2] for row in examples["eval"])


def test_histories_hold_what_came_before_and_nothing_else(examples: dict[str, list[dict]], events: list[Event]) -> None:
    past_of = {}
    for event in events:
        past = [other for other in events if other.user == event.user and other.time < event.time]
        past_of[event.user, event.item, event.time * SECOND] = [other.item for other in reversed(past)]
    assert any(len(past) > 25 for past in past_of.values())
    for split in ("train", "eval"):
        for row in examples[split]:
            past = past_of[row["key"]]
            assert row["history"] == past[:MAX_HISTORY], row["key"]
            if split == "eval":
                assert row["seen"] == list(dict.fromkeys(past)), row["key"]


def test_vocabulary_and_counts_are_of_the_training_events(first_run: Small, training: list[Event]) -> None:
    import tensorflow_transform as tft

    from pipeline.model.inputs import read_vocabulary

    graph = tft.TFTransformOutput(first_run.artifact("Transform", "transform_graph").uri)
    vocabulary, counts = read_vocabulary(graph)
    found = {item.decode(): int(count) for item, count in zip(vocabulary, counts)}
    assert found == Counter(event.item for event in training)
    assert list(counts) == sorted(counts, reverse=True)


def test_stored_histories_are_of_the_training_events(first_run: Small, training: list[Event]) -> None:
    """Asked for all that is left, the judged servable leaves out exactly a user's stored history."""
    check_stored(first_run, first_run.judged, training)


def test_what_is_shipped_knows_the_evaluation_s_events_too(first_run: Small, events: list[Event]) -> None:
    """So of those who were active since the cut nobody is recommended what they have, and newcomers are known."""
    [version] = versions(first_run.folder)
    check_stored(first_run, version, events)
    check_popular(version, events)


def check_stored(first_run: Small, servable: Path, known: list[Event]) -> None:
    """Holds a servable to have stored the histories of some events, whose order is that of time, and no more."""
    import tensorflow as tf

    recommend = tf.saved_model.load(str(servable)).signatures["recommend"]
    nothing = tf.zeros([1, 0], tf.string)
    items = {*first_run.world.items, *first_run.world.never_seen}
    k = tf.constant(len(items))
    stored = {
        user: list(dict.fromkeys(event.item for event in reversed(known) if event.user == user))
        for user in first_run.world.users
    }
    assert any(not history for history in stored.values()) == (servable == first_run.judged)
    for user, history in stored.items():
        answer = recommend(user_id=tf.constant([user]), history=nothing, exclude=nothing, k=k)
        assert answer["source"].numpy().tolist() == [b"user" if history else b"popular"]
        left = [item.decode() for item in answer["item_ids"].numpy()[0] if item]
        assert sorted(left) == sorted(items - set(history)), user
        if history:
            # It is also what such a user is served from, newest first; of rows at the same time the later is newer.
            again = recommend(user_id=tf.constant([""]), history=tf.constant([history]), exclude=nothing, k=k)
            assert answer["item_ids"].numpy().tolist() == again["item_ids"].numpy().tolist(), user
            np.testing.assert_allclose(answer["scores"].numpy(), again["scores"].numpy(), rtol=1e-5)


def test_popular_items_are_those_of_the_training_events(first_run: Small, training: list[Event]) -> None:
    check_popular(first_run.judged, training)


def check_popular(servable: Path, known: list[Event]) -> None:
    """Holds a servable to count popularity in some events, and no others."""
    import tensorflow as tf

    recommend = tf.saved_model.load(str(servable)).signatures["recommend"]
    nothing = tf.zeros([1, 0], tf.string)
    answer = recommend(user_id=tf.constant([""]), history=nothing, exclude=nothing, k=tf.constant(60))
    counts = Counter(event.item for event in known)
    ids = [item.decode() for item in answer["item_ids"].numpy()[0]]
    assert [counts[item] for item in ids] == sorted(counts.values(), reverse=True)
    assert answer["scores"].numpy()[0].tolist() == [counts[item] for item in ids]
