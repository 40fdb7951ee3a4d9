"""ServableValidator: real requests to a served model; a model that breaks the contract isn't blessed."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import tensorflow as tf
from pydantic import ValidationError
from tfx.types import standard_artifacts

from components.errors import InputError
from components.servable_validator import checks, executor, sample
from components.servable_validator.checks import Latency
from components.servable_validator.executor import Executor, Report, validate, write_blessing
from components.servable_validator.sample import Sample
from components.servable_validator.settings import ServableValidatorSettings
from serving.client import Recommendation, RecommendationList, SimilarItems
from serving.server import process
from tests.serving import tiny_servable
from tests.serving.fixtures import tiny

SAMPLE = Sample(
    users={"ann": ["1", "2"], "bob, jr": ["🎬"]},
    histories=[["x", "w"], ["a,b"], ["3", "ä", 'say "hi"']],
    items=["1", "a,b", "🎬"],
)
SETTINGS = ServableValidatorSettings(num_requests=20)


def feature(*values: str | int) -> tf.train.Feature:
    if values and isinstance(values[0], int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[str(value).encode() for value in values]))


def write_examples(uri: Path, split: str, rows: list[dict]) -> None:
    folder = uri / f"Split-{split}"
    folder.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / "data-00000-of-00001.gz"), "GZIP") as writer:
        for row in rows:
            features = tf.train.Features(feature={name: feature(*values) for name, values in row.items()})
            writer.write(tf.train.Example(features=features).SerializeToString())


def event(user: str, item: str, time: int, *history: str) -> dict:
    return {"user_id": [user], "item_id": [item], "timestamp": [time], "history": history}


@pytest.fixture
def interactions(tmp_path: Path) -> Path:
    uri = tmp_path / "interactions"
    train = [event("ann", "2", 5), event("bob, jr", "🎬", 6), event("ann", "1", 7, "2"), event("ann", "2", 6, "2")]
    write_examples(uri, "train", train)
    write_examples(uri, "eval", [event("new", "3", 9), event("new", "4", 10, "3"), event("ann", "5", 11, "1", "2")])
    return uri


def test_sample_is_drawn_from_the_interactions(interactions):
    drawn = sample.draw(str(interactions))
    assert drawn.users == {"ann": ["1", "2"], "bob, jr": ["🎬"]}
    assert drawn.histories == [["3"], ["1", "2"]]
    assert drawn.items == ["1", "2", "🎬"]


def test_of_equal_times_the_later_row_is_newer(tmp_path):
    write_examples(tmp_path, "train", [event("u", item, 5) for item in ("a", "b", "a", "c")])
    write_examples(tmp_path, "eval", [])
    drawn = sample.draw(str(tmp_path))
    assert drawn.users == {"u": ["c", "a", "b"]}
    assert drawn.histories == []


def test_sample_without_events(tmp_path):
    write_examples(tmp_path, "train", [])
    with pytest.raises(InputError, match="no training events"):
        sample.draw(str(tmp_path))


def answer(*scored: tuple[str, float], source: str = "user") -> RecommendationList:
    return RecommendationList(tuple(Recommendation(*pair) for pair in scored), source)


@pytest.mark.parametrize(
    ("items", "options", "faults"),
    [
        (answer(("a", 2.0), ("b", 2.0), ("c", 1.0)), {"k": 3, "source": "user"}, []),
        (answer(), {"k": 3, "forbidden": ["a"]}, []),
        (answer(("a", 2.0), ("b", 1.0)), {"k": 1}, ["2 items where k was 1"]),
        (answer(("a", 2.0), ("b", 1.5), ("a", 1.0)), {"k": 3}, ["item 'a' twice"]),
        (answer(("a", 2.0), ("b", 1.0)), {"k": 3, "forbidden": ["b"]}, ["item 'b', which was seen or excluded"]),
        (answer(("a", 1.0), ("b", 2.0)), {"k": 3}, ["scores that are not sorted"]),
        (answer(("a", math.nan)), {"k": 3}, ["an item whose score is not a number"]),
        (answer(("a", 1.0), ("b", -math.inf)), {"k": 3}, ["an item whose score is not a number"]),
        (answer(("a", 1.0), source="popular"), {"k": 3, "source": "user"}, ["source 'popular', not 'user'"]),
        (SimilarItems((Recommendation("a", 1.0),), True), {"k": 1, "source": "user"}, []),
    ],
)
def test_faults_of_a_list(items, options, faults):
    assert checks.list_faults(items, **options) == faults


class Batching:
    """A client whose model answers b instead of c, as the last of ten, in batches."""

    def recommend_batch(self, queries, k):
        return [self._answer("b", 0.5) for _ in queries]

    def recommend(self, user_id, history, exclude, k):
        return self._answer("c", 0.7)

    def _answer(self, *last):
        return answer(*((f"i{place}", 1.0) for place in range(9)), last)


@pytest.mark.parametrize(
    ("alike", "failures"),
    [
        (1.0, ["in a batch: not the answer that it gets alone"]),
        (0.9, []),
        (0.95, ["of 10 items in a batch's answers only 9 are in those that its queries get alone"]),
    ],
)
def test_batches_of_an_approximate_index_may_differ_within_its_bounds(alike, failures, monkeypatch):
    monkeypatch.setattr(checks, "_queries", lambda sample: [])
    sample = Sample({}, [], ["x", "y"])
    found = list(checks._batches(Batching(), sample, checks.Limits(20, 10, 20, alike)))
    assert len(found) == len(failures)
    assert all(line.endswith(failure) for line, failure in zip(found, failures))


@pytest.mark.parametrize(("index", "alike"), [({"type": "exact"}, 1.0), ({"type": "scann", "min_recall": 0.95}, 0.9)])
def test_what_an_index_promises_of_batches(index, alike, tmp_path):
    manifest = {"num_items": 3, "default_k": 2, "max_k": 3, "index": index}
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "recommender.json").write_text(json.dumps(manifest))
    assert executor._limits(str(tmp_path)) == checks.Limits(3, 2, 3, pytest.approx(alike))


@pytest.fixture(scope="module")
def servable(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny(tmp_path_factory, 1))


@pytest.mark.slow
@pytest.mark.smoke
def test_a_good_servable_is_blessed(servable, interactions, tmp_path):
    model = standard_artifacts.Model()
    model.uri = str(tmp_path / "model")
    shutil.copytree(servable, tmp_path / "model" / "Format-Serving")
    examples = standard_artifacts.Examples()
    examples.uri = str(interactions)
    blessing = standard_artifacts.InfraBlessing()
    blessing.uri = str(tmp_path / "blessing")
    Executor().Do(
        {"model": [model], "examples": [examples]}, {"blessing": [blessing]}, {"settings": SETTINGS.model_dump_json()}
    )
    report = json.loads((tmp_path / "blessing" / "servable_validation.json").read_text())
    assert report["failures"] == []
    assert report["blessed"] is True
    assert (tmp_path / "blessing" / "INFRA_BLESSED").exists()
    assert not (tmp_path / "blessing" / "INFRA_NOT_BLESSED").exists()
    assert blessing.get_int_custom_property("blessed") == 1
    summary = blessing.get_string_custom_property("summary")
    assert summary.startswith("blessed: it answers as the contract says; gRPC p50 ")
    assert 0 < report["grpc"]["p50"] <= report["grpc"]["p99"] < 1000
    assert report["peak_memory_mb"] > 50


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ({"keep_excluded": True}, "which was seen or excluded"),
        ({"source": "somebody"}, "source 'somebody', not 'user'"),
    ],
)
def test_a_servable_that_breaks_the_contract_is_not_blessed(fault, text, tmp_path):
    report = validate(tiny_servable.build(str(tmp_path / "model"), **fault), SAMPLE, SETTINGS)
    assert any(text in failure for failure in report.failures)
    assert report.summary.startswith("not blessed: ")
    assert report.summary.endswith("see servable_validation.json")


@pytest.mark.slow
@pytest.mark.smoke
def test_limits_that_are_too_tight(servable):
    settings = ServableValidatorSettings(num_requests=5, max_latency_ms=0.001, max_memory_mb=1)
    report = validate(servable, SAMPLE, settings)
    latency, memory = report.failures
    assert "more than the 0.001 ms allowed" in latency
    assert "more than the 1 MiB allowed" in memory


@pytest.mark.slow
@pytest.mark.smoke
def test_a_damaged_servable_is_not_blessed(servable, tmp_path):
    shutil.copytree(servable, tmp_path / "model")
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"garbage")
    report = validate(str(tmp_path / "model"), SAMPLE, SETTINGS)
    assert len(report.failures) == 1
    assert "version 1 can't be loaded" in report.failures[0]


def test_a_servable_without_manifest_is_not_blessed(servable, tmp_path):
    shutil.copytree(servable, tmp_path / "model")
    (tmp_path / "model" / "assets.extra" / "recommender.json").write_text('{"num_items": 20}')
    report = validate(str(tmp_path / "model"), SAMPLE, SETTINGS)
    assert report.failures == ["assets.extra/recommender.json can't be read: KeyError 'default_k'"]


def test_no_servable_at_all(tmp_path):
    with pytest.raises(InputError, match="no SavedModel here"):
        validate(str(tmp_path), SAMPLE, SETTINGS)


def test_a_broken_environment_raises(servable, monkeypatch):
    monkeypatch.setattr(process, "find_model_server", lambda: shutil.which("false"))
    with pytest.raises(process.ServerStartError, match="exit code 1"):
        validate(servable, SAMPLE, SETTINGS)


def test_what_a_refusal_leaves(tmp_path):
    blessing = standard_artifacts.InfraBlessing()
    blessing.uri = str(tmp_path)
    write_blessing(blessing, Report([f"reason {number}" for number in range(5)], grpc=Latency(1.0, 2.0)))
    assert (tmp_path / "INFRA_NOT_BLESSED").exists()
    assert not (tmp_path / "INFRA_BLESSED").exists()
    assert blessing.get_int_custom_property("blessed") == 0
    assert blessing.get_string_custom_property("reasons").splitlines()[4] == "reason 4"
    assert blessing.get_string_custom_property("summary") == (
        "not blessed: reason 0; reason 1; reason 2; and 2 more, see servable_validation.json"
    )
    assert json.loads((tmp_path / "servable_validation.json").read_text())["failures"][0] == "reason 0"


def test_settings_are_strict():
    with pytest.raises(ValidationError):
        ServableValidatorSettings(num_request=3)
    with pytest.raises(ValidationError):
        ServableValidatorSettings(max_latency_ms=0)
    assert ServableValidatorSettings(max_latency_ms=None).max_latency_ms is None
