"""The pipeline's Beam stages through Beam's portable job service, in workers of their own, beside a run in one process.

As with Flink, Spark or Dataflow, the run hands its jobs to a service, and workers that it has not started get the
project from what was staged. See docs/beam.md.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.evaluation_report import load_report
from tests.e2e import world as small_world
from tests.e2e.beam_engine import Engine, engine
from tests.e2e.conftest import Small, fingerprint
from tests.e2e.world import Ended, World, recommender, run, versions

pytestmark = pytest.mark.slow

JOBS = ("InteractionGen", "CatalogueGen", "StatisticsGen", "Transform", "CatalogueTransform", "Evaluator")
"""The nodes that work on Beam, with one job each."""


@pytest.fixture(scope="module")
def beam(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with engine(tmp_path_factory.mktemp("engine")) as running:
        yield running


@pytest.fixture(scope="module")
def portable(world: World, beam: Engine, tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A run of the world whose Beam work is done by the engine."""
    folder = tmp_path_factory.mktemp("portable")
    small_world.write_world(world, folder)
    small_world.write_config(folder / "config.yaml", {"beam.pipeline_args": beam.pipeline_args})
    ended = run(folder)
    assert ended.code == 0, ended.text + (beam.folder / "workers.log").read_text(errors="replace")[-2000:]
    return Small(folder, world, ended)


def records(run_: Small, node: str, split: str, key: str = "examples") -> list[bytes]:
    """A split's examples, whatever shards and order they lie in; a process may write an example's features in any."""
    import tensorflow as tf

    files = sorted(Path(run_.artifact(node, key).uri, f"Split-{split}").glob("*.gz"))
    assert files
    found = tf.data.TFRecordDataset([str(file) for file in files], "GZIP").as_numpy_iterator()
    return sorted(tf.train.Example.FromString(record).SerializeToString(deterministic=True) for record in found)


def vocabularies(run_: Small, node: str) -> dict[str, str]:
    assets = Path(run_.artifact(node, "transform_graph").uri, "transform_fn", "assets")
    return {path.name: path.read_text(encoding="utf-8") for path in assets.iterdir()}


def statistics(run_: Small, split: str) -> tuple[str, list[float]]:
    """The statistics as text without numbers, and the numbers, which workers may add up in any order."""
    import tensorflow_data_validation as tfdv

    uri = run_.artifact("StatisticsGen", "statistics").uri
    text = str(tfdv.load_stats_binary(f"{uri}/Split-{split}/FeatureStats.pb"))
    number = re.compile(r"(?<=: )-?\d+(?:\.\d+)?(?:e[+-]?\d+)?$", re.MULTILINE)
    return number.sub("#", text), [float(found) for found in number.findall(text)]


def test_each_beam_node_is_a_job_of_the_service(portable: Small, beam: Engine) -> None:
    assert set(portable.ended.states().values()) == {"done"}
    assert beam.jobs()[: len(JOBS)] == ["DONE"] * len(JOBS)


def test_workers_have_the_project_from_what_was_staged(portable: Small, beam: Engine) -> None:
    left = beam.workers()
    assert len(left) >= len(JOBS), "each job has a process of its own"
    used: set[str] = set()
    for worker in left.values():
        assert "workflow.tar.gz" in worker["staged"]
        for module, file in worker["modules"].items():
            assert str(file).startswith(f"{beam.folder}/"), f"{module} is not the staged one"
        used |= worker["modules"].keys()
    modules = ("interaction_gen.transforms", "catalogue_gen.executor", "evaluator.extractor")
    assert used >= {f"components.{module}" for module in modules}


def test_what_it_makes_is_what_one_process_makes(portable: Small, first_run: Small) -> None:
    for node, split in (("InteractionGen", "train"), ("InteractionGen", "eval"), ("CatalogueGen", "catalogue")):
        assert records(portable, node, split) == records(first_run, node, split), f"{node} {split}"
    for node, split in (("Transform", "train"), ("CatalogueTransform", "catalogue")):
        made, expected = (records(each, node, split, "transformed_examples") for each in (portable, first_run))
        assert made == expected, node
        assert vocabularies(portable, node) == vocabularies(first_run, node)
    for split in ("train", "eval"):
        (made_text, made_numbers), (text, numbers) = statistics(portable, split), statistics(first_run, split)
        assert made_text == text
        assert made_numbers == pytest.approx(numbers, rel=1e-12)
        assert len(numbers) > 50
    [made], [expected] = versions(portable.folder), versions(first_run.folder)
    assert fingerprint(made) == fingerprint(expected)
    reports = [load_report(each.artifact("Evaluator", "evaluation").uri) for each in (portable, first_run)]
    assert reports[0] == reports[1]


def test_summaries_are_there_without_the_workers_progress(portable: Small, first_run: Small) -> None:
    said = [
        {line.node: line.summary for line in each.ended.lines if line.node in JOBS} for each in (portable, first_run)
    ]
    assert said[0] == said[1]


def test_a_second_run_needs_no_job(portable: Small, beam: Engine) -> None:
    before = len(beam.jobs())
    ended = run(portable.folder)
    assert ended.code == 0, ended.text
    assert {ended.states()[node] for node in JOBS} == {"cached"}
    assert len(beam.jobs()) == before


def test_batch_is_a_job_with_the_same_answers(portable: Small, first_run: Small, beam: Engine) -> None:
    def batch(folder: Path, *arguments: str) -> Ended:
        return recommender(folder, "batch", "--config", "config.yaml", "-k", "5", "--out", "best.csv", *arguments)

    before = len(beam.jobs())
    tables = []
    for each in (portable, first_run):
        ended = batch(each.folder)
        assert ended.code == 0, ended.text
        with open(each.folder / "best.csv", encoding="utf-8", newline="") as file:
            tables.append([{**row, "version": ""} for row in csv.DictReader(file)])
    (first_run.folder / "best.csv").unlink()
    assert tables[0] == tables[1]
    assert len(tables[0]) > 90
    assert beam.jobs()[before:] == ["DONE"]


def test_evaluate_is_a_job(portable: Small, beam: Engine) -> None:
    before = len(beam.jobs())
    ended = recommender(portable.folder, "evaluate", "--config", "config.yaml", "--out", "figures")
    assert ended.code == 0, ended.text
    assert beam.jobs()[before:] == ["DONE"]
    assert (portable.folder / "figures" / "metrics.json").is_file()


def test_a_job_service_that_is_not_there(portable: Small) -> None:
    nobody = "beam.pipeline_args=[--runner=PortableRunner, --job_endpoint=localhost:1]"
    ended = run(portable.folder, "--set", nobody)
    assert ended.code == 2, ended.text
    assert "no job service answers at localhost:1 (--job_endpoint): Connection refused" in ended.stdout


def test_input_that_a_worker_finds_wrong_is_one_message(portable: Small, beam: Engine) -> None:
    wish = ("--filter", "nonsense=1", "--out", "wrong.csv")
    ended = recommender(portable.folder, "batch", "--config", "config.yaml", "-k", "5", *wish)
    assert beam.jobs()[-1] == "FAILED"
    assert ended.code == 2, ended.text
    assert "nonsense" in ended.text
    assert "Traceback" not in ended.text
    assert not (portable.folder / "wrong.csv").exists()
