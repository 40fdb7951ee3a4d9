"""ServableValidator: real requests to a served model; a model that breaks the contract isn't blessed."""

from __future__ import annotations

import json
import shutil

import pytest
from tfx.types import standard_artifacts

from components.errors import InputError
from components.servable_validator import checks, executor
from components.servable_validator.checks import Latency
from components.servable_validator.executor import Executor, Report, validate, write_blessing
from components.servable_validator.likeness import Likeness
from components.servable_validator.sample import Sample
from components.servable_validator.settings import ServableValidatorSettings
from serving.server import process
from tests.serving import tiny_servable
from tests.serving.fixtures import tiny
from tests.serving.wire import contract as wire

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

SAMPLE = Sample(
    users={"ann": ["1", "2"], "bob, jr": ["🎬"]},
    histories=[["x", "w"], ["a,b"], ["3", "ä", 'say "hi"']],
    items=["1", "a,b", "🎬"],
)
SETTINGS = ServableValidatorSettings(num_requests=20)


@pytest.mark.parametrize(("index", "alike"), [({"type": "exact"}, 1.0), ({"type": "scann", "min_recall": 0.95}, 0.9)])
def test_what_an_index_promises_of_batches(index, alike, tmp_path):
    manifest = {"num_items": 3, "default_k": 2, "max_k": 3, "index": index}
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "recommender.json").write_text(json.dumps(manifest))
    assert executor._limits(str(tmp_path)) == checks.Limits(3, 2, 3, pytest.approx(alike))


@pytest.fixture(scope="module")
def servable(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny(tmp_path_factory, 1))


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


@pytest.mark.parametrize("owned", [True, False])
def test_what_a_servable_says_of_users_is_asked_too(contract_servable, owned):
    stored = wire.world().stored
    item = stored["ann"][0]
    # A user who is said to have what the servable has not stored of them.
    users = {"ann": stored["ann"]} if owned else {user: [item] for user in wire.USERS if item not in stored[user]}
    report = validate(str(contract_servable), Sample(users, [stored["ann"][:2]], [item]), SETTINGS)
    about = [failure for failure in report.failures if failure.startswith("audience of")]
    assert bool(about) is not owned
    assert report.failures == [] if owned else f"audience of {item!r}: user " in about[0]


@pytest.mark.parametrize("said", [True, False])
def test_what_a_servable_leaves_out_is_not_asked_for(servable, said, tmp_path):
    """Such as items that the catalogue lists no more, where `serving.only_listed` is set."""
    shutil.copytree(servable, tmp_path / "model")
    if said:
        (tmp_path / "model" / "assets").mkdir(exist_ok=True)
        (tmp_path / "model" / "assets" / "items.txt").write_text("1\na,b\n")
    sample = Sample(SAMPLE.users, SAMPLE.histories, ["1", "retired"])
    report = validate(str(tmp_path / "model"), sample, SETTINGS)
    unknown = [f"{asked} 'retired': said to be unknown" for asked in ("similar to", "describe")]
    assert report.failures == ([] if said else unknown)


def test_limits_that_are_too_tight(servable):
    settings = ServableValidatorSettings(num_requests=5, max_latency_ms=0.001, max_memory_mb=1)
    report = validate(servable, SAMPLE, settings)
    latency, memory = report.failures
    assert "more than the 0.001 ms allowed" in latency
    assert "more than the 1 MiB allowed" in memory


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


def test_what_is_unlike_the_judged_model_is_refused_and_without_it_the_judged_one_is_asked(
    servable, interactions, tmp_path, monkeypatch
):
    """Asked are users of all events where there is a model of these."""
    asked = []
    monkeypatch.setattr(executor, "validate", lambda path, sample, settings: asked.append((path, sample)) or Report([]))
    monkeypatch.setattr(executor, "compare", lambda *_: Likeness(9, 0.0, 1.0, 0, 0))

    def artifact(kind, uri):
        made = kind()
        made.uri = str(uri)
        return [made]

    def blessing(shipped):
        inputs = {
            "model": artifact(standard_artifacts.Model, shipped),
            "judged": artifact(standard_artifacts.Model, tmp_path / "judged"),
            "examples": artifact(standard_artifacts.Examples, interactions),
            "judged_examples": artifact(standard_artifacts.Examples, interactions),
        }
        output = artifact(standard_artifacts.InfraBlessing, tmp_path / f"blessing{len(asked)}")
        Executor().Do(inputs, {"blessing": output}, {"settings": SETTINGS.model_dump_json()})
        return output[0]

    for name in ("judged", "shipped"):
        shutil.copytree(servable, tmp_path / name / "Format-Serving")
    refused = blessing(tmp_path / "shipped")
    assert refused.get_int_custom_property("blessed") == 0
    assert "gives other answers than the judged one" in refused.get_string_custom_property("reasons")
    assert blessing(tmp_path / "nothing").get_int_custom_property("blessed") == 1
    assert [path for path, _ in asked] == [str(tmp_path / name / "Format-Serving") for name in ("shipped", "judged")]
