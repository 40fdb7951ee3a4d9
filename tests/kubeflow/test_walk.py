"""The compiled pipeline really runs: the YAML's tasks, one process each, with what KFP tells them and nothing else."""

import json
from pathlib import Path

import pytest

from components import versions
from kubeflow.compiler import write_pipeline
from pipeline.config import load_config
from pipeline.data import datasets
from tests.e2e.world import NODES, make_world, recommender, write_config, write_world
from tests.kubeflow.clusters import in_cluster
from tests.kubeflow.walker import Walker, report

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

FILES = {"interactions": "interactions", "users": "users", "catalogue": "items"}
NODES_OF_DATA = {"InteractionGen": {"cache": True}, "CatalogueGen": {"cache": True}}
"""As for data that never change under the same name."""

CONFIG = Path(__file__).parents[2] / "configs" / "movielens_100k.yaml"


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


def test_movielens_ends_with_the_model_of_a_local_run(tmp_path, capsys, record_property):
    local = recommender(
        tmp_path,
        "run",
        "--config",
        str(CONFIG),
        "--set",
        "output=output",
        "--set",
        "serving.base_path=local",
        timeout=1800,
    )
    assert local.code == 0, local.text
    data, models = datasets.fetch("movielens-100k"), tmp_path / "models"
    models.mkdir()
    section = {
        **in_cluster(tmp_path, **{f"{what}_path": f"{data}/{file}.csv" for what, file in FILES.items()}),
        "volumes": [
            {"claim": "data", "mount_path": str(data), "nodes": ["InteractionGen", "CatalogueGen"]},
            {"claim": "models", "mount_path": str(models), "nodes": ["Champion", "Pusher", "Promoter"]},
        ],
    }
    walker = cluster(tmp_path / "cluster", CONFIG, f"kubeflow={json.dumps(section)}")
    tasks = walker.run({"promote_approved": "true"})
    record_property("nodes", report(tasks))  # for CI, where a worker's output is not seen
    with capsys.disabled():
        print(f"\n{report(tasks)}")
    assert {task.state for task in tasks.values()} == {"succeeded"}
    [ours] = versions.list_versions(models / "movielens_100k")
    [theirs] = versions.list_versions(tmp_path / "local" / "movielens_100k")
    assert ours.fingerprint == theirs.fingerprint
    assert str(ours.number) in tasks["Promoter"].summary
    assert "stable" in (models / "models.config").read_text("utf-8")
    blessings = [tasks["Evaluator"].outputs["blessing"], tasks["ServableValidator"].outputs["blessing"]]
    assert [bool(list(walker.path(blessing["uri"]).glob("*BLESSED"))) for blessing in blessings] == [True, True]
    expected = metrics(tmp_path / "output" / "movielens_100k" / "artifacts" / "Evaluator")
    assert metrics(walker.path(tasks["Evaluator"].outputs["evaluation"]["uri"])) == pytest.approx(expected, abs=1e-6)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The small world and the first run of its pipeline in a cluster, with a task that was evicted once."""
    folder = tmp_path_factory.mktemp("world")
    write_world(make_world(), folder)
    (folder / "models").mkdir()
    write_config(folder / "config.yaml", {"kubeflow": in_cluster(folder, nodes=NODES_OF_DATA, defaults={"retries": 1})})
    walker = cluster(folder / "cluster", folder / "config.yaml")
    return folder, walker, walker.run(evict=frozenset(["Transform"]))


def test_a_task_that_was_stopped_is_tried_again_from_nothing(world):
    _, _, first = world
    assert {task.state for task in first.values()} == {"succeeded"}, report(first)
    assert {name: task.tries for name, task in first.items()} == {name: 1 + (name == "Transform") for name in first}
    assert set(first) == {*NODES, "Promoter"}


def test_an_unapproved_run_promotes_nothing(world):
    folder, _, first = world
    [version] = versions.list_versions(folder / "models" / "small")
    assert first["Promoter"].summary == f"version {version.number} is not promoted to stable: promote_approved is false"
    assert not (folder / "models" / "models.config").exists()


def test_a_second_run_takes_from_the_cache_what_kfp_can_tell_is_the_same(world):
    folder, walker, first = world
    second = walker.run()
    # Champion, Pusher and Promoter look at the base path; and the Evaluator gets a new artifact from the Champion.
    run = {"Champion", "Evaluator", "Pusher", "Promoter"}
    assert {name for name, task in second.items() if task.state == "succeeded"} == run, report(second)
    assert {name for name, task in second.items() if task.state == "cached"} == set(first) - run
    assert second["Trainer"].outputs == first["Trainer"].outputs
    assert second["Pusher"].summary.startswith("nothing new: ")
    assert len(versions.list_versions(folder / "models" / "small")) == 1


def test_a_task_that_fails_is_tried_again_and_stops_what_follows(world):
    folder, walker, _ = world
    tasks = walker.run({"interactions_path": str(folder / "data" / "no.csv")})
    failed = tasks["InteractionGen"]
    assert (failed.state, failed.code, failed.tries, failed.outputs) == ("failed", 2, 2, {})
    assert any("no.csv" in line["message"] for line in failed.logs if line["severity"] == "ERROR")
    assert {name for name, task in tasks.items() if task.state == "cached"} == {"ImportSchemaGen", "CatalogueSchemaGen"}
    assert {task.state for name, task in tasks.items() if "Schema" not in name and name != "InteractionGen"} == {
        "skipped"
    }


def test_a_model_that_is_not_blessed_is_not_pushed(world):
    folder, walker, _ = world
    # The same pipeline with other thresholds: what comes before the Trainer is the same, and the epochs are not.
    section = in_cluster(folder, nodes=NODES_OF_DATA, defaults={"retries": 1})
    thresholds = {"hit_rate@10": {"min": 0.999}}
    write_config(folder / "config.yaml", {"kubeflow": section, "evaluation.thresholds": thresholds})
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
