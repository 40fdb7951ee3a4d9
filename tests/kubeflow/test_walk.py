"""The compiled pipeline really runs: the YAML's tasks, one process each, with what KFP tells them and nothing else."""

import json
import signal

import pytest

from components import versions
from components.artifacts import NOT_SHIPPED
from kubeflow.compiler import write_pipeline
from pipeline.config import load_config
from pipeline.nodes import SHIPPING
from serving.stores import ObjectPath
from tests.components.stores import enter, s3_server
from tests.e2e.world import NODES, make_world, write_config, write_world
from tests.kubeflow.clusters import in_cluster
from tests.kubeflow.walker import BUCKET, Walker, report

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

MODELS = ObjectPath(f"s3://{BUCKET}/models")
"""The base path."""

NODES_OF_DATA = {"InteractionGen": {"cache": True}, "CatalogueGen": {"cache": True}}
"""As for data that never change under the same name."""

STOPPED = {
    node: (signal.SIGTERM, signal.SIGKILL)[number % 2] for number, node in enumerate(sorted([*NODES, "Promoter"]))
}
"""The pod of each node ends once: by Kubernetes, or without a word."""


def metrics(folder):
    """All figures of an evaluation, by their place in metrics.json."""
    [path] = folder.rglob("metrics.json")
    found = {}

    def collect(place, value):
        if isinstance(value, dict):
            for key, inner in value.items():
                collect((*place, key), inner)
        elif isinstance(value, list):
            for number, inner in enumerate(value):
                collect((*place, number), inner)
        else:
            found[place] = value

    collect((), json.loads(path.read_text("utf-8")))
    return found


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """The small world and the first run of its pipeline in a cluster, with tasks whose pods ended once."""
    folder = tmp_path_factory.mktemp("walked")
    write_world(make_world(), folder)
    write_config(folder / "config.yaml", {"kubeflow": section(folder)})
    write_pipeline(load_config(folder / "config.yaml"), folder / "pipeline.yaml")
    with s3_server() as environment, pytest.MonkeyPatch.context() as patch:
        enter(environment, patch)
        walker = Walker(folder / "pipeline.yaml", folder / "cluster", environment)
        walker.store.call_s3("create_bucket", Bucket=BUCKET)
        for file in (folder / "data").iterdir():
            walker.store.put_file(str(file), f"{BUCKET}/data/{file.name}")
        yield folder, walker, walker.run(evict=STOPPED)


def section(folder):
    """The config's `kubeflow`: data and versions in the object store."""
    files = {"interactions_path": "interactions", "users_path": "users", "catalogue_path": "items"}
    data = {key: f"s3://{BUCKET}/data/{name}.csv" for key, name in files.items()}
    return in_cluster(folder, nodes=NODES_OF_DATA, defaults={"retries": 1}, base_path=str(MODELS), volumes=[], **data)


def test_it_ends_with_the_model_of_a_local_run(walked, first_run, capsys, record_property, tmp_path):
    _, walker, tasks = walked
    record_property("nodes", report(tasks))  # for CI, where a worker's output is not seen
    with capsys.disabled():
        print(f"\n{report(tasks)}")
    [ours] = versions.list_versions(MODELS / "small")
    [theirs] = versions.list_versions(first_run.folder / "models" / "small")
    assert ours.fingerprint == theirs.fingerprint
    blessings = [tasks["Evaluator"].outputs["blessing"], tasks["ServableValidator"].outputs["blessing"]]
    assert [bool(walker.store.glob(f"{blessing['uri']}/*BLESSED")) for blessing in blessings] == [True, True]
    expected = metrics(first_run.root / "artifacts" / "Evaluator")
    found = metrics(walker.download(tasks["Evaluator"].outputs["evaluation"]["uri"], tmp_path))
    assert found == pytest.approx(expected, abs=1e-6)


def test_tasks_whose_pods_ended_are_tried_again_from_nothing(walked):
    _, _, first = walked
    assert {task.state for task in first.values()} == {"succeeded"}, report(first)
    assert {name: task.tries for name, task in first.items()} == dict.fromkeys([*NODES, "Promoter"], 2)


def test_an_unapproved_run_promotes_nothing(walked):
    _, _, first = walked
    [version] = versions.list_versions(MODELS / "small")
    assert first["Promoter"].summary == f"version {version.number} is not promoted to stable: promote_approved is false"
    assert not (MODELS / "models.config").exists()


def test_a_second_run_takes_from_the_cache_what_kfp_can_tell_is_the_same(walked):
    _, walker, first = walked
    second = walker.run({"promote_approved": "true"})
    # These look at the base path; and the Evaluator gets a new artifact from the Champion, and gives a new blessing.
    run = {"Guards", "Champion", "Evaluator", *SHIPPING, "ServableValidator", "Pusher", "Promoter"}
    assert {name for name, task in second.items() if task.state == "succeeded"} == run, report(second)
    assert {name for name, task in second.items() if task.state == "cached"} == set(first) - run
    assert second["Trainer"].outputs == first["Trainer"].outputs
    assert second["Champion"].summary == "none: first version", "the version is what was shipped for the candidate"
    assert second["Pusher"].summary.startswith("nothing new: ")
    [version] = versions.list_versions(MODELS / "small")
    assert first["Guards"].summary.endswith("; no pushed run to compare with")
    assert second["Guards"].summary.endswith(f"; beside those of version {version.number}")
    assert str(version.number) in second["Promoter"].summary
    assert "stable" in (MODELS / "models.config").read_text()


def test_a_task_that_fails_is_tried_again_and_stops_what_follows(walked):
    _, walker, _ = walked
    tasks = walker.run({"interactions_path": f"s3://{BUCKET}/data/no.csv"})
    failed = tasks["InteractionGen"]
    assert (failed.state, failed.code, failed.tries, failed.outputs) == ("failed", 2, 2, {})
    assert any("no.csv" in line["message"] for line in failed.logs if line["severity"] == "ERROR")
    assert {name for name, task in tasks.items() if task.state == "cached"} == {"ImportSchemaGen", "CatalogueSchemaGen"}
    assert {task.state for name, task in tasks.items() if "Schema" not in name and name != "InteractionGen"} == {
        "skipped"
    }


def test_a_model_that_is_not_blessed_is_not_pushed(walked):
    folder, walker, _ = walked
    # The same pipeline with other thresholds: what comes before the Trainer is the same, and the epochs are not.
    thresholds = {"hit_rate@10": {"min": 0.999}}
    write_config(folder / "config.yaml", {"kubeflow": section(folder), "evaluation.thresholds": thresholds})
    write_pipeline(load_config(folder / "config.yaml"), folder / "strict.yaml")
    walker.upload(folder / "strict.yaml")
    strict = ObjectPath(f"s3://{BUCKET}/strict")
    tasks = walker.run({"epochs": 1, "base_path": str(strict)})
    # A run that works and finds a bad model is green; what it found is in the log and on the artifacts.
    assert {task.state for task in tasks.values()} == {"succeeded", "cached"}, report(tasks)
    assert {tasks[name].state for name in ("InteractionGen", "Transform", "CatalogueTransform")} == {"cached"}
    assert "best of 1 epochs" in tasks["Trainer"].summary
    assert {tasks[name].summary for name in SHIPPING} == {NOT_SHIPPED}
    assert tasks["Pusher"].summary == "not pushed: not blessed by the Evaluator"
    assert tasks["Pusher"].outputs["pushed_model"]["metadata"]["pushed"] == 0
    assert tasks["Promoter"].summary == "nothing to promote: not pushed: not blessed by the Evaluator"
    assert not strict.files()
