"""The exported towers: what they make of raw ids and contexts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from pipeline.model import trainer
from tests.pipeline.model.small_log import HOUR, ITEMS, NEW, ask, context, example, fn_args, items

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


def test_towers_ignore_padding_unknown_items_and_what_is_too_old(trained: Path) -> None:
    query = tf.saved_model.load(str(trained / "model")).signatures["query"]
    same = [
        [ITEMS[1], ITEMS[2], "", "", "", "", ""],
        ["", ITEMS[1], "", ITEMS[2], "", "", ""],
    ]
    embedding = ask(query, same)
    assert embedding[0] == pytest.approx(embedding[1])
    long = [[ITEMS[1]] * 5 + [ITEMS[2]] * 2, [ITEMS[1]] * 5 + ["", ""]]
    embedding = ask(query, long)
    assert embedding[0] == pytest.approx(embedding[1])
    unknown = [["what is this"], [""]]
    embedding = ask(query, unknown)
    assert embedding[0] == pytest.approx(embedding[1])


def test_an_item_without_events_is_described_by_its_features(trained: Path) -> None:
    candidate = tf.saved_model.load(str(trained / "model")).signatures["candidate"]
    item = tf.train.Example()
    item.features.feature["item_id"].bytes_list.value.append(NEW.encode())
    bare = item.SerializeToString()
    item.features.feature["genres"].bytes_list.value.append(b"even")
    answer = candidate(examples=tf.constant([bare, item.SerializeToString()]))
    embedding = answer["embedding"].numpy()
    assert not embedding[0].any()
    assert embedding[1].any()
    known = [example(row) for row in items()]
    biases = candidate(examples=tf.constant(known))["bias"].numpy()
    assert answer["bias"].numpy()[0] == biases[:-1].min()


IN_CONTEXT = {"query_features": ("device", "age"), "time_features": ("hour", "weekday"), "user_id": True}


@pytest.fixture(scope="module")
def in_context(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The signature `query` of towers that take a context."""
    output = tmp_path_factory.mktemp("in_context")
    trainer.run_fn(fn_args(workspace, output, IN_CONTEXT, epochs=2))
    manifest = json.loads((output / "model" / "assets.extra" / "towers.json").read_text())
    assert manifest == {
        "context": [
            {"name": "device", "type": "category"},
            {"name": "age", "type": "number"},
            {"name": "timestamp", "type": "timestamp"},
        ],
        "user_features": ["age"],
        "max_history": 5,
    }
    towers = tf.saved_model.load(str(output / "model"))
    return lambda contexts, users=None: ask(
        towers.signatures["query"], [[ITEMS[1]]] * len(contexts), users=users, contexts=contexts
    )


def test_each_part_of_the_context_matters(in_context: Any) -> None:
    contexts = [[b"", b""], [b"", context(device="tv")], [b"", context(age=1.0)], [b"", context(timestamp=13 * HOUR)]]
    embeddings = in_context(contexts)
    assert len({embedding.tobytes() for embedding in embeddings}) == 4
    [stranger, known] = in_context(contexts[:1] * 2, users=["nobody", "user 3"])
    assert stranger == pytest.approx(embeddings[0])
    assert not np.allclose(known, stranger)


def test_of_two_contexts_the_later_counts_feature_by_feature(in_context: Any) -> None:
    both = [context(device="tv", age=1.0), context(age=0.0)]
    [merged, swapped, expected] = in_context([both, both[::-1], [b"", context(device="tv", age=0.0)]])
    assert merged == pytest.approx(expected)
    assert not np.allclose(swapped, expected)


def test_time_is_hour_and_weekday_in_utc(in_context: Any) -> None:
    day = 24 * HOUR
    [one, week_later, next_day] = in_context(
        [[b"", context(timestamp=time)] for time in (5 * HOUR, 7 * day + 5 * HOUR + 59 * 60_000_000, day + 5 * HOUR)]
    )
    assert week_later == pytest.approx(one)
    assert not np.allclose(next_day, one)


def test_unknown_values_are_like_none(in_context: Any) -> None:
    [bare, unknown] = in_context([[b"", b""], [b"", context(device="fridge")]])
    assert unknown == pytest.approx(bare)
