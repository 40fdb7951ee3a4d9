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

from components.errors import InputError
from components.examples.reading import read_columns, scalars
from pipeline.model import fit, inputs, preprocessing, trainer, validation
from pipeline.model.checkpoint import Checkpoint
from pipeline.model.job import Job
from pipeline.model.preprocessing import FIRST
from pipeline.model.reading import Log, read_log
from pipeline.model.settings import ModelSettings, TrainingSettings
from pipeline.model.towers import ItemFeatures, TwoTowerModel, Vocabulary
from tests.pipeline.model.test_reading import some_events

pytestmark = [pytest.mark.slow, pytest.mark.smoke]  # Transform and training take half a minute

ITEMS = [f"item {n}, é" for n in range(6)]
NEW = "never bought"
HOUR = 3_600_000_000
FEATURES = {"genres": "categories", "title": "text", "year": "number"}
QUERY_FEATURES = {"device": "category", "age": "number"}
STRING = tf.io.FixedLenFeature([1], tf.string)
EVENT_SPEC = {
    "user_id": STRING,
    "item_id": STRING,
    "device": tf.io.VarLenFeature(tf.string),
    "age": tf.io.VarLenFeature(tf.float32),
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
        rows.append({"item_id": [ITEMS[n]], "history": history, "timestamp": [time * HOUR]})
    rows += [{"item_id": [ITEMS[0]], "history": [], "timestamp": [(240 + t) * HOUR]} for t in range(8)]
    for place, row in enumerate(rows):
        odd = float(place % 2)
        row |= {"user_id": [f"user {place % 7}"], "weight": [2 + 2 * odd], "device": ["tv"], "age": [odd]}
    rows[0] |= {"device": [], "age": []}
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
    sizes = {"categories": 100, "text_tokens": 100}
    config = {"features": QUERY_FEATURES, "time_features": ["hour", "weekday"], "user_id": True, **sizes}
    _transform(events(), EVENT_SPEC, preprocessing.preprocess_interactions, config, root / "events", "train")
    config = {"features": FEATURES, **sizes}
    _transform(items(), ITEM_SPEC, preprocessing.preprocess_catalogue, config, root / "items", "catalogue")
    return root


def _transform(
    rows: Any, spec: Any, function: Any, config: Any, root: Path, split: str, batch_size: int | None = None
) -> None:
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    context = tft_beam.Context(temp_dir=tempfile.mkdtemp(), desired_batch_size=batch_size)
    with beam.Pipeline(runner="FnApiRunner") as pipeline, context:
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


def fn_args(
    workspace: Path, output: Path, model: dict[str, Any] | None = None, **training_settings: Any
) -> SimpleNamespace:
    settings = {"epochs": 12, "patience": 12, "batch_size": 8, "learning_rate": 0.05, **training_settings}
    model_settings = ModelSettings(**{"dim": 8, "dropout": 0.0, "history_dropout": 0.0, **(model or {})})
    return SimpleNamespace(
        custom_config={
            "seed": 1,
            "features": FEATURES,
            "query_features": {name: QUERY_FEATURES[name] for name in model_settings.query_features},
            "user_features": [name for name in model_settings.query_features if name == "age"],
            "max_history": 5,
            "hold_out": "latest",
            "checkpoints": str(output / "checkpoints"),
            "model": model_settings.model_dump(mode="json"),
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
    trainer.run_fn(fn_args(workspace, output))
    return output


def test_vocabulary_is_ordered_by_frequency_with_its_counts(workspace: Path) -> None:
    vocabulary, counts = inputs.read_vocabulary(tft.TFTransformOutput(str(workspace / "events" / "graph")))
    assert vocabulary[0] == ITEMS[0].encode()
    assert set(vocabulary) == {item.encode() for item in ITEMS}
    assert counts.tolist() == [48, 40, 40, 40, 40, 40]


def test_events_become_indices_in_the_order_of_time(workspace: Path) -> None:
    vocabulary, _ = inputs.read_vocabulary(tft.TFTransformOutput(str(workspace / "events" / "graph")))
    read = read_log(str(workspace / "events" / "examples"), max_history=1).parts[0]()
    index = {item.decode(): FIRST + n for n, item in enumerate(vocabulary)}
    expected = events()
    assert read.item.tolist() == [index[row["item_id"][0]] for row in expected]
    assert read.inputs["history"].tolist() == [[index[row["history"][0]] if row["history"] else 0] for row in expected]
    # Half weigh 2, half 4.
    np.testing.assert_allclose(np.unique(read.weight, return_counts=True), [[2 / 3, 4 / 3], [124, 124]], rtol=1e-6)


def test_z_scores_do_not_depend_on_the_batches_that_beam_makes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"item_id": [f"{row}"], "year": [1900 + 100 * rng.random()], "genres": [], "title": []} for row in range(900)
    ]
    config = {"features": {"year": "number"}, "categories": 9, "text_tokens": 9}
    found = []
    for batch_size, order in ((1, rows), (7, rows[::-1]), (900, rows)):
        root = tmp_path / f"{batch_size}"
        _transform(order, ITEM_SPEC, preprocessing.preprocess_catalogue, config, root, "catalogue", batch_size)
        table = read_columns(str(root / "examples"), "catalogue", {"item_id": bytes, "year": float})
        found.append(dict(zip(scalars(table, "item_id").tolist(), scalars(table, "year").tolist())))
    assert len(found[0]) == 900
    assert found[0] == found[1] == found[2]


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


@pytest.mark.parametrize(
    ("hold_out", "fraction", "rows"),
    [
        ("latest", 0.3, [7, 8, 9]),
        ("last_of_user", 0.3, [7, 8, 9]),
        ("last_of_user", 0.2, [7, 9]),  # users 1 and 2 come first
        ("latest", 0.01, [9]),
    ],
)
def test_held_out_events(hold_out: str, fraction: float, rows: list[int]) -> None:
    some = some_events([1, 2, 3, 1, 2, 3, 1, 2, 3, 1], [2] * 10)
    settings = TrainingSettings(validation_fraction=fraction)
    assert validation.held_out(some, hold_out, settings).tolist() == rows


def test_any_held_out_events_are_the_same_wherever_they_stand() -> None:
    rng = np.random.default_rng(0)
    some = some_events(rng.integers(0, 9, 50).tolist(), rng.integers(2, 99, 50).tolist())
    settings = TrainingSettings(validation_fraction=0.2)
    order = rng.permutation(50)
    one = some.take(validation.held_out(some, "any", settings))
    other = some.take(order).take(validation.held_out(some.take(order), "any", settings))
    assert len(one) == 10
    assert set(one.row.tolist()) == set(other.row.tolist())


def test_batches_are_a_function_of_seed_and_epoch() -> None:
    some = some_events([1] * 20, list(range(2, 22)))

    def order(seed: int, epoch: int) -> list[int]:
        return [item for batch in fit.batches(Log.of(some), 8, seed, epoch) for item in batch["item"].numpy().tolist()]

    assert sorted(order(1, 0)) == list(range(2, 22))
    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


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


def context(device: str | None = None, age: float | None = None, timestamp: int | None = None) -> bytes:
    result = tf.train.Example()
    if device is not None:
        result.features.feature["device"].bytes_list.value.append(device.encode())
    if age is not None:
        result.features.feature["age"].float_list.value.append(age)
    if timestamp is not None:
        result.features.feature["timestamp"].int64_list.value.append(timestamp)
    return result.SerializeToString()


@pytest.mark.parametrize(
    ("refit", "stop_after", "ranking"), [(True, 2, False), (True, 5, False), (False, 2, False), (True, 5, True)]
)
def test_a_stopped_training_goes_on_to_the_same_weights(
    workspace: Path, tmp_path: Path, refit: bool, stop_after: int, ranking: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = {"history_dropout": 0.3, "dropout": 0.3}
    args = fn_args(workspace, tmp_path, {**noise, "ranking": {"enabled": ranking}}, epochs=4, patience=9, refit=refit)
    job = Job.of(args)
    data = inputs.read_data(job.inputs, job.settings)

    def weights(checkpoint: Checkpoint | None) -> list[np.ndarray]:
        trained = fit.train(
            data,
            job.settings.model,
            job.settings.training,
            1,
            str(tmp_path / "logs"),
            checkpoint,
        )
        assert len(trained.history) == 4
        return trained.model.get_weights() + (trained.ranker.get_weights() if trained.ranker else [])

    undisturbed = weights(None)
    save, saved = Checkpoint.save, []

    def killed(self: Checkpoint, *args: Any, **kwargs: Any) -> None:
        save(self, *args, **kwargs)
        saved.append(1)
        if len(saved) == stop_after:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        weights(Checkpoint(str(tmp_path / "state")))
    monkeypatch.setattr(
        Checkpoint, "save", lambda self, *args, **kwargs: saved.append(1) or save(self, *args, **kwargs)
    )
    resumed = weights(Checkpoint(str(tmp_path / "state")))
    # As many passes as the undisturbed training, the stopped one among them.
    best = fit.best_epoch(Checkpoint(str(tmp_path / "state")).history, TrainingSettings())["epoch"]
    assert len(saved) == 4 + (best if refit else 0)
    for one, other in zip(undisturbed, resumed):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("passes", "expected"), [(1, 10.0), (2, (0.5 * 10 + 20) / 1.5), (3, (0.25 * 10 + 0.5 * 20 + 60) / 1.75)]
)
def test_the_average_is_exponential_and_unbiased(passes: int, expected: float) -> None:
    weight = tf.Variable(0.0)
    average = fit.MovingAverage(0.5)
    for value in (10.0, 20.0, 60.0)[:passes]:
        weight.assign(value)
        average.add(SimpleNamespace(trainable_weights=[weight]))
    average.apply(SimpleNamespace(trainable_weights=[weight]))
    assert float(weight) == pytest.approx(expected)


def test_a_checkpoint_that_is_cut_short_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "training.npz").write_bytes(b"PK\x03\x04 half of it")
    assert Checkpoint(str(tmp_path)).history == []


def test_no_checkpoint_is_left_behind(trained: Path) -> None:
    assert not list((trained / "checkpoints").glob("*"))


def test_a_diverged_training_says_so(workspace: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"training diverged: .* lower training.learning_rate \(now 1e\+38\)"):
        trainer.run_fn(fn_args(workspace, tmp_path, learning_rate=1e38))
    assert not (tmp_path / "model").exists()


def test_scores_that_are_no_numbers_are_the_worst_ranks() -> None:
    few = some_events([1, 1, 1], [2, 3, 4])
    vocabulary = Vocabulary(np.array([1, 1, 1]), ItemFeatures({}), (), (), num_users=0, max_history=2)
    model = TwoTowerModel(ModelSettings(dim=2), TrainingSettings(), vocabulary, seed=1)
    model.vocabulary_embeddings()
    model.candidate_tower._bias.assign([0.0, 0.0, np.nan, 2.0, 1.0])
    model.query_tower({"history": few.inputs["history"]})
    model.query_tower._nothing.assign([0.0, 0.0])
    assert validation.exact_ranks(model, few).tolist() == [3, 1, 2]


def test_validation_calls_back_and_can_be_stopped(workspace: Path, tmp_path: Path) -> None:
    args = fn_args(workspace, tmp_path)
    job = Job.of(args)
    data = inputs.read_data(job.inputs, job.settings)
    model, settings = ModelSettings(dim=4), TrainingSettings(epochs=3, patience=3, batch_size=32)
    seen: list[fit.Epoch] = []
    assert fit.validate(data, model, settings, 1, seen.append) == seen
    assert len(seen) == 3

    def stop(epoch: fit.Epoch) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        fit.validate(data, model, settings, 1, stop)


def test_training_is_repeatable(workspace: Path, trained: Path, tmp_path: Path) -> None:
    trainer.run_fn(fn_args(workspace, tmp_path))
    first, second = (tf.saved_model.load(str(root / "model")) for root in (trained, tmp_path))
    _, a = rank(first, [[ITEMS[0]], []])
    _, b = rank(second, [[ITEMS[0]], []])
    assert np.array_equal(a, b)


def test_report_tells_the_epochs(trained: Path) -> None:
    report = json.loads((trained / "run" / "training.json").read_text())
    assert "248 events, 6 items" in report["summary"]
    assert [epoch["epoch"] for epoch in report["epochs"]] == list(range(1, len(report["epochs"]) + 1))
    assert all(0 <= epoch["ndcg@10"] <= 1 for epoch in report["epochs"])


def test_a_log_in_parts_trains_alike_each_time(workspace: Path, tmp_path: Path) -> None:
    reports = []
    for name in ("one", "other"):
        trainer.run_fn(fn_args(workspace, tmp_path / name, epochs=2, events_in_memory=100))
        reports.append(json.loads((tmp_path / name / "run" / "training.json").read_text()))
    metrics = [[(epoch["loss"], epoch["ndcg@10"]) for epoch in report["epochs"]] for report in reports]
    assert reports[0]["summary"].startswith("248 events, 6 items")
    assert metrics[0] == metrics[1]
    # Histories tell these items; who guesses has 0.49 with six of them.
    assert reports[0]["epochs"][-1]["ndcg@10"] > 0.6


def test_training_stops_early_and_keeps_the_best_epoch(workspace: Path, tmp_path: Path) -> None:
    # So large a step ruins the model, so that a later epoch is not better for long.
    trainer.run_fn(fn_args(workspace, tmp_path, epochs=50, patience=1, learning_rate=3.0))
    report = json.loads((tmp_path / "run" / "training.json").read_text())
    assert len(report["epochs"]) < 50


@pytest.mark.parametrize("events_left", [1, 2])
@pytest.mark.parametrize("hold_out", ["latest", "last_of_user", "any"])
def test_so_few_events_still_train(events_left: int, hold_out: str, tmp_path: Path) -> None:
    few = some_events([1] * events_left, [FIRST] * events_left)
    vocabulary = Vocabulary(np.array([1]), ItemFeatures({}), (), (), num_users=0, max_history=2)
    data = inputs.TrainingData(Log.of(few), vocabulary, hold_out)
    trained = fit.train(data, ModelSettings(dim=2), TrainingSettings(epochs=1), 1, str(tmp_path))
    assert validation.exact_ranks(trained.model, few).tolist() == [0] * events_left
    assert len(trained.history) == 1


def ask(
    query: Any, histories: list[list[str]], users: list[str] | None = None, contexts: list[list[bytes]] | None = None
) -> np.ndarray:
    """Embeddings [B, D] from the signature `query`."""
    return query(
        user_id=tf.constant(users or [""] * len(histories)),
        history=tf.constant(histories),
        context=tf.constant(contexts or [[b"", b""]] * len(histories)),
    )["embedding"].numpy()


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
    scores = ask(towers.signatures["query"], padded) @ answer["embedding"].numpy().T + answer["bias"].numpy()
    return [item.decode() for item in answer["item_id"].numpy()], scores
