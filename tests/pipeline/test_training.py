"""Transform's graphs, training and the exported towers on a small log in which every item has its follower."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from components.examples import read_columns
from pipeline import preprocessing, training
from pipeline.preprocessing import FIRST
from pipeline.settings import ModelSettings, TrainingSettings

pytestmark = [pytest.mark.slow, pytest.mark.smoke]  # Transform and training take half a minute

ITEMS = [f"item {n}, é" for n in range(6)]
NEW = "never bought"
FEATURES = {"genres": "categories", "title": "text", "year": "number"}
STRING = tf.io.FixedLenFeature([1], tf.string)
EVENT_SPEC = {
    "item_id": STRING,
    "history": tf.io.VarLenFeature(tf.string),
    "weight": tf.io.FixedLenFeature([1], tf.float32),
    "timestamp": tf.io.FixedLenFeature([1], tf.int64),
}
ITEM_SPEC = {
    "item_id": STRING,
    "genres": tf.io.VarLenFeature(tf.string),
    "title": tf.io.VarLenFeature(tf.string),
    "year": tf.io.VarLenFeature(tf.float32),
}


def events() -> list[dict[str, Any]]:
    """Item n is followed by item n + 1; item 0 is the most frequent."""
    rows = []
    for time in range(240):
        n = time % len(ITEMS)
        history = [ITEMS[n - 1], ITEMS[n - 2]][: time // 6 % 3]
        rows.append({"item_id": [ITEMS[n]], "history": history, "weight": [1.0], "timestamp": [time]})
    rows += [{"item_id": [ITEMS[0]], "history": [], "weight": [1.0], "timestamp": [240 + t]} for t in range(8)]
    return rows


def items() -> list[dict[str, Any]]:
    rows = [
        {
            "item_id": [item],
            "genres": ["even" if n % 2 == 0 else "odd", "all"],
            "title": [f"The Thing, {n}"],
            "year": [n],
        }
        for n, item in enumerate(ITEMS)
    ]
    return [*rows, {"item_id": [NEW], "genres": ["even", "unheard of"], "title": [], "year": []}]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Transform leaves of both tables."""
    root = tmp_path_factory.mktemp("workspace")
    _transform(events(), EVENT_SPEC, preprocessing.preprocess_interactions, {}, root / "events", "train")
    config = {"features": FEATURES, "categories": 100, "text_tokens": 100}
    _transform(items(), ITEM_SPEC, preprocessing.preprocess_catalogue, config, root / "items", "catalogue")
    return root


def _transform(rows: Any, spec: Any, function: Any, config: Any, root: Path, split: str) -> None:
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    with beam.Pipeline(runner="FnApiRunner") as pipeline, tft_beam.Context(temp_dir=tempfile.mkdtemp()):
        data = (pipeline | beam.Create(rows), metadata)
        transformed, graph = data | tft_beam.AnalyzeAndTransformDataset(lambda inputs: function(inputs, config))
        graph | tft_beam.WriteTransformFn(str(root / "graph"))
        metadata | tft_beam.WriteMetadata(str(root / "graph" / "metadata"), pipeline)
        values, values_metadata = transformed
        coder = tft.coders.ExampleProtoCoder(values_metadata.schema)
        (
            values
            | beam.Map(coder.encode)
            | beam.io.WriteToTFRecord(
                str(root / "examples" / f"Split-{split}" / "data"), file_name_suffix=".gz", num_shards=1
            )
        )


def fn_args(workspace: Path, output: Path, **training_settings: Any) -> SimpleNamespace:
    settings = {"epochs": 12, "patience": 12, "batch_size": 8, "learning_rate": 0.05, **training_settings}
    return SimpleNamespace(
        custom_config={
            "seed": 1,
            "features": FEATURES,
            "max_history": 5,
            "model": ModelSettings(dim=8, dropout=0.0, history_dropout=0.0).model_dump(mode="json"),
            "training": TrainingSettings(**settings).model_dump(mode="json"),
        },
        transform_graph_path=str(workspace / "events" / "graph"),
        catalogue_graph=str(workspace / "items" / "graph"),
        examples=str(workspace / "events" / "examples"),
        catalogue=str(workspace / "items" / "examples"),
        model_run_dir=str(output / "run"),
        serving_model_dir=str(output / "model"),
    )


@pytest.fixture(scope="module")
def trained(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("trained")
    training.run_fn(fn_args(workspace, output))
    return output


def test_vocabulary_is_ordered_by_frequency_with_its_counts(workspace: Path) -> None:
    vocabulary, counts = training.read_vocabulary(tft.TFTransformOutput(str(workspace / "events" / "graph")))
    assert vocabulary[0] == ITEMS[0].encode()
    assert set(vocabulary) == {item.encode() for item in ITEMS}
    assert counts.tolist() == [48, 40, 40, 40, 40, 40]


def test_events_become_indices_in_the_order_of_time(workspace: Path) -> None:
    vocabulary, _ = training.read_vocabulary(tft.TFTransformOutput(str(workspace / "events" / "graph")))
    read = training.read_events(str(workspace / "events" / "examples"), max_history=1)
    index = {item.decode(): FIRST + n for n, item in enumerate(vocabulary)}
    expected = events()
    assert read.item.tolist() == [index[row["item_id"][0]] for row in expected]
    assert read.history.tolist() == [[index[row["history"][0]] if row["history"] else 0] for row in expected]


def test_side_features_are_tokens_categories_and_z_scores(workspace: Path) -> None:
    table = read_columns(
        str(workspace / "items" / "examples"),
        "catalogue",
        {"title": int, "genres": int, "year": float, "item_id": bytes},
    ).to_pydict()
    last = table["item_id"].index([NEW.encode()])
    assert len(table["title"][0]) == 3  # the, thing, 0
    assert table["title"][0][:2] == table["title"][1][:2]
    assert table["title"][last] in ([], None)
    assert len(table["genres"][last]) == 2
    assert table["year"][last] == [0.0]
    numbers = np.arange(6)
    assert table["year"][5] == pytest.approx([(5 - numbers.mean()) / numbers.std()])


def test_training_learns_the_follower(trained: Path) -> None:
    towers = tf.saved_model.load(str(trained / "model"))
    ids, scores = rank(towers, [[ITEMS[n]] for n in range(6)])
    best = [ids[row] for row in scores.argmax(axis=1)]
    assert best == [ITEMS[(n + 1) % 6] for n in range(6)]


def test_towers_ignore_padding_unknown_items_and_what_is_too_old(trained: Path) -> None:
    query = tf.saved_model.load(str(trained / "model")).signatures["query"]
    same = [
        [ITEMS[1], ITEMS[2], "", "", "", "", ""],
        ["", ITEMS[1], "", ITEMS[2], "", "", ""],
    ]
    embedding = query(user_id=tf.constant(["", "x"]), history=tf.constant(same))["embedding"].numpy()
    assert embedding[0] == pytest.approx(embedding[1])
    long = [[ITEMS[1]] * 5 + [ITEMS[2]] * 2, [ITEMS[1]] * 5 + ["", ""]]
    embedding = query(user_id=tf.constant(["", ""]), history=tf.constant(long))["embedding"].numpy()
    assert embedding[0] == pytest.approx(embedding[1])
    unknown = [["what is this"], [""]]
    embedding = query(user_id=tf.constant(["", ""]), history=tf.constant(unknown))["embedding"].numpy()
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


def test_order_of_simultaneous_events_does_not_depend_on_the_order_of_the_file() -> None:
    rng = np.random.default_rng(0)
    some = training.Events(
        rng.integers(0, 3, (200, 2)).astype(np.int32),
        rng.integers(2, 4, 200).astype(np.int32),
        rng.choice([0.5, 1.0], 200).astype(np.float32),
    )
    shuffled = some.take(rng.permutation(200))
    first, second = (e.take(np.argsort(training.content_hash(e), kind="stable")) for e in (some, shuffled))
    assert np.array_equal(first.history, second.history)
    assert np.array_equal(first.item, second.item)
    assert np.array_equal(first.weight, second.weight)


def test_training_is_repeatable(workspace: Path, trained: Path, tmp_path: Path) -> None:
    training.run_fn(fn_args(workspace, tmp_path))
    first, second = (tf.saved_model.load(str(root / "model")) for root in (trained, tmp_path))
    _, a = rank(first, [[ITEMS[0]], []])
    _, b = rank(second, [[ITEMS[0]], []])
    assert np.array_equal(a, b)


def test_report_tells_the_epochs(trained: Path) -> None:
    report = json.loads((trained / "run" / "training.json").read_text())
    assert "248 events, 6 items" in report["summary"]
    assert [epoch["epoch"] for epoch in report["epochs"]] == list(range(1, len(report["epochs"]) + 1))
    assert all(0 <= epoch["ndcg@10"] <= 1 for epoch in report["epochs"])


def test_training_stops_early_and_keeps_the_best_epoch(workspace: Path, tmp_path: Path) -> None:
    # So large a step ruins the model, so that a later epoch is not better for long.
    training.run_fn(fn_args(workspace, tmp_path, epochs=50, patience=1, learning_rate=3.0))
    report = json.loads((tmp_path / "run" / "training.json").read_text())
    assert len(report["epochs"]) < 50


@pytest.mark.parametrize("events_left", [1, 2])
def test_so_few_events_still_train(events_left: int, tmp_path: Path) -> None:
    few = training.Events(
        np.zeros((events_left, 2), np.int32), np.full(events_left, FIRST, np.int32), np.ones(events_left, np.float32)
    )
    model, history = training.train(lambda: _tiny_model(), few, TrainingSettings(epochs=1), 1, str(tmp_path))
    assert training.exact_ranks(model, few).tolist() == [0] * events_left
    assert len(history) == 1


def _tiny_model() -> Any:
    import tf_keras as keras

    from pipeline.towers import ItemFeatures, TwoTowerModel

    model = TwoTowerModel(ModelSettings(dim=2), np.array([1]), ItemFeatures({}), (), 2, False, 0.0)
    model.compile(optimizer=keras.optimizers.Adam(0.01))
    return model


def example(row: dict[str, Any]) -> bytes:
    result = tf.train.Example()
    for name, values in row.items():
        feature = result.features.feature[name]
        if name == "year":
            feature.float_list.value.extend(values)
        else:
            feature.bytes_list.value.extend(value.encode() for value in values)
    return result.SerializeToString()


def rank(towers: Any, histories: list[list[str]]) -> tuple[list[str], np.ndarray]:
    answer = towers.signatures["candidate"](examples=tf.constant([example(row) for row in items()]))
    width = max(len(history) for history in histories)
    padded = [history + [""] * (width - len(history)) for history in histories]
    query = towers.signatures["query"](user_id=tf.fill([len(histories)], ""), history=tf.constant(padded))["embedding"]
    scores = query.numpy() @ answer["embedding"].numpy().T + answer["bias"].numpy()
    return [item.decode() for item in answer["item_id"].numpy()], scores
