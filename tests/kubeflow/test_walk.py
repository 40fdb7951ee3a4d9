"""The compiled pipeline really runs: the YAML's tasks, one process each, with what KFP tells them and nothing else."""

import json

import pytest

from components import versions
from kubeflow.compiler import write_pipeline
from pipeline.config import load_config
from tests.e2e.world import NODES, make_world, write_config, write_world
from tests.kubeflow.clusters import in_cluster
from tests.kubeflow.walker import Walker, report

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

NODES_OF_DATA = {"InteractionGen": {"cache": True}, "CatalogueGen": {"cache": True}}
"""As for data that never change under the same name."""


def cluster(folder, config, *overrides):
    """A cluster with the compiled pipeline of a config."""
    folder.mkdir(exist_ok=True)
    write_pipeline(load_config(config, overrides), folder / "pipeline.yaml")
    return Walker(folder / "pipeline.yaml", folder)


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
    """The small world and the first run of its pipeline in a cluster, with a task that was evicted once."""
    folder = tmp_path_factory.mktemp("walked")
    write_world(make_world(), folder)
    (folder / "models").mkdir()
    write_config(folder / "config.yaml", {"kubeflow": section(folder)})
    walker = cluster(folder / "cluster", folder / "config.yaml")
    return folder, walker, walker.run(evict=frozenset(["Transform"]))


def section(folder):
    """The config's `kubeflow`: data and versions are on volumes of their own, for the nodes that need them."""
    volumes = [
        {"claim": "data", "mount_path": str(folder / "data"), "nodes": ["InteractionGen", "CatalogueGen"]},
        {"claim": "models", "mount_path": str(folder / "models"), "nodes": ["Champion", "Pusher", "Promoter"]},
    ]
    return in_cluster(folder, nodes=NODES_OF_DATA, defaults={"retries": 1}, volumes=volumes)


def test_it_ends_with_the_model_of_a_local_run(walked, first_run, capsys, record_property):
    folder, walker, tasks = walked
    record_property("nodes", report(tasks))  # for CI, where a worker's output is not seen
    with capsys.disabled():
        print(f"\n{report(tasks)}")
    [ours] = versions.list_versions(folder / "models" / "small")
    [theirs] = versions.list_versions(first_run.folder / "models" / "small")
    assert ours.fingerprint == theirs.fingerprint
    blessings = [tasks["Evaluator"].outputs["blessing"], tasks["ServableValidator"].outputs["blessing"]]
    assert [bool(list(walker.path(blessing["uri"]).glob("*BLESSED"))) for blessing in blessings] == [True, True]
    expected = metrics(first_run.root / "artifacts" / "Evaluator")
    assert metrics(walker.path(tasks["Evaluator"].outputs["evaluation"]["uri"])) == pytest.approx(expected, abs=1e-6)


def test_a_task_that_was_stopped_is_tried_again_from_nothing(walked):
    _, _, first = walked
    assert {task.state for task in first.values()} == {"succeeded"}, report(first)
    assert {name: task.tries for name, task in first.items()} == {name: 1 + (name == "Transform") for name in first}
    assert set(first) == {*NODES, "Promoter"}


def test_an_unapproved_run_promotes_nothing(walked):
    folder, _, first = walked
    [version] = versions.list_versions(folder / "models" / "small")
    assert first["Promoter"].summary == f"version {version.number} is not promoted to stable: promote_approved is false"
    assert not (folder / "models" / "models.config").exists()


def test_a_second_run_takes_from_the_cache_what_kfp_can_tell_is_the_same(walked):
    folder, walker, first = walked
    second = walker.run({"promote_approved": "true"})
    # Champion, Pusher and Promoter look at the base path; and the Evaluator gets a new artifact from the Champion.
    run = {"Champion", "Evaluator", "Pusher", "Promoter"}
    assert {name for name, task in second.items() if task.state == "succeeded"} == run, report(second)
    assert {name for name, task in second.items() if task.state == "cached"} == set(first) - run
    assert second["Trainer"].outputs == first["Trainer"].outputs
    assert second["Pusher"].summary.startswith("nothing new: ")
    [version] = versions.list_versions(folder / "models" / "small")
    assert str(version.number) in second["Promoter"].summary
    assert "stable" in (folder / "models" / "models.config").read_text("utf-8")


def test_a_task_that_fails_is_tried_again_and_stops_what_follows(walked):
    folder, walker, _ = walked
    tasks = walker.run({"interactions_path": str(folder / "data" / "no.csv")})
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
    (folder / "strict").mkdir()
    tasks = walker.run({"epochs": 1, "base_path": str(folder / "strict")})
    # A run that works and finds a bad model is green; what it found is in the log and on the artifacts.
    assert {task.state for task in tasks.values()} == {"succeeded", "cached"}, report(tasks)
    assert {tasks[name].state for name in ("InteractionGen", "Transform", "CatalogueTransform")} == {"cached"}
    assert "best of 1 epochs" in tasks["Trainer"].summary
    assert tasks["Pusher"].summary == "not pushed: not blessed by the Evaluator"
    assert tasks["Pusher"].outputs["pushed_model"]["metadata"]["pushed"] == 0
    assert tasks["Promoter"].summary == "nothing to promote: not pushed: not blessed by the Evaluator"
    assert not list((folder / "strict").iterdir())
