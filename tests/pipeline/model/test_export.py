"""The exported towers: what they make of raw ids and contexts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from pipeline.model.export import export_towers
from pipeline.model.inputs import read_data
from pipeline.model.job import Transformed
from pipeline.model.towers import TwoTowerModel
from tests.pipeline.model.small_log import (
    HOUR,
    IN_CONTEXT,
    ITEMS,
    NEW,
    QUERY_FEATURES,
    ask,
    example,
    items,
    make_settings,
)

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


def export(transformed: Transformed, folder: Path, context: dict[str, str], **model: Any) -> Any:
    """Exports towers whose weights are drawn, so that all of them matter, and loads them."""
    settings = make_settings(model)
    data = read_data(transformed, settings)
    towers = TwoTowerModel(settings.model, settings.training, data.vocabulary, seed=1)
    towers.compute_loss(data.events.first.columns())
    chance = np.random.default_rng(1)
    for weight in towers.trainable_weights:
        weight.assign(chance.normal(size=weight.shape))
    graphs = (tft.TFTransformOutput(graph) for graph in (transformed.transform_graph, transformed.catalogue_graph))
    export_towers(towers, *graphs, data.vocabulary, context, list(settings.user_features), str(folder))
    return tf.saved_model.load(str(folder))


@pytest.fixture(scope="module")
def plain(transformed: Transformed, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Towers of histories alone."""
    return export(transformed, tmp_path_factory.mktemp("plain"), {})


def test_towers_ignore_padding_unknown_items_and_what_is_too_old(plain: Any) -> None:
    query = plain.signatures["query"]
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


def test_an_item_without_events_is_described_by_its_features(plain: Any) -> None:
    candidate = plain.signatures["candidate"]
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


@pytest.fixture(scope="module")
def in_context(transformed: Transformed, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The signature `query` of towers that take a context."""
    folder = tmp_path_factory.mktemp("in_context")
    towers = export(transformed, folder, {**QUERY_FEATURES, "timestamp": "timestamp"}, **IN_CONTEXT)
    manifest = json.loads((folder / "assets.extra" / "towers.json").read_text())
    assert manifest == {
        "context": [
            {"name": "device", "type": "category"},
            {"name": "age", "type": "number"},
            {"name": "timestamp", "type": "timestamp"},
        ],
        "user_features": ["age"],
        "max_history": 5,
    }
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


def context(device: str | None = None, age: float | None = None, timestamp: int | None = None) -> bytes:
    result = tf.train.Example()
    if device is not None:
        result.features.feature["device"].bytes_list.value.append(device.encode())
    if age is not None:
        result.features.feature["age"].float_list.value.append(age)
    if timestamp is not None:
        result.features.feature["timestamp"].int64_list.value.append(timestamp)
    return result.SerializeToString()
