"""The runner on a tiny DAG of function components: what runs, what comes from the cache, what a failure says."""

import io
from pathlib import Path
from types import SimpleNamespace

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions
from ml_metadata.metadata_store import metadata_store
from rich.console import Console
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.dsl.component.experimental.annotations import (
    BeamComponentParameter,
    OutputArtifact,
)
from tfx.dsl.component.experimental.decorators import component
from tfx.orchestration import metadata
from tfx.orchestration.pipeline import Pipeline
from tfx.types import standard_artifacts

from components.errors import InputError
from pipeline.local import runner
from pipeline.local.runner import NodeResult, run_pipeline, stock_summary
from pipeline.terminal import Terminal
from tests.pipeline.local.dag import First, Second, Third

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


@component(use_beam=True)
def OnBeam(out: OutputArtifact[standard_artifacts.String], work: BeamComponentParameter[beam.Pipeline] = None) -> None:
    Path(out.uri).write_text(work.options.view_as(GoogleCloudOptions).job_name)


class Runs:
    """Runs the DAG again and again in one root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.text = ""
        self.connection = metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite"))

    def __call__(self, text: str = "a", **choice: str) -> dict[str, str]:
        """Runs it; returns states by node."""
        one = First(text=text)
        two = Second(source=one.outputs["out"])
        three = Third(source=two.outputs["out"])
        pipeline = Pipeline("tiny", str(self.root / "artifacts"), components=[one, two, three], enable_cache=True)
        out = io.StringIO()
        try:
            results = run_pipeline(pipeline, self.connection, Terminal(Console(file=out, width=200)), **choice)
        finally:
            self.text = out.getvalue()
        return {name: result.state for name, result in results.items()}


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def test_nodes_run_once_and_then_come_from_the_cache(runs: Runs) -> None:
    assert runs() == {"First": "done", "Second": "done", "Third": "done"}
    assert "text a" in runs.text
    assert runs() == {"First": "cached", "Second": "cached", "Third": "cached"}
    assert "text a" in runs.text
    assert runs("b") == {"First": "done", "Second": "done", "Third": "done"}


def test_where_beams_work_is_done_is_nothing_to_the_cache(tmp_path: Path) -> None:
    connection = metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))
    results = []
    for job in ("here", "there"):
        pipeline = Pipeline(
            "tiny",
            str(tmp_path / "artifacts"),
            components=[OnBeam()],
            enable_cache=True,
            beam_pipeline_args=["--runner=FnApiRunner", f"--job_name={job}"],
        )
        [result] = run_pipeline(pipeline, connection, Terminal(Console(file=io.StringIO()))).values()
        results.append((result.state, Path(result.outputs["out"].uri).read_text()))
    assert results == [("done", "here"), ("cached", "here")]


def test_from_runs_a_node_and_all_that_follows(runs: Runs) -> None:
    runs()
    assert runs(first="Second") == {"First": "cached", "Second": "done", "Third": "done"}


def test_only_runs_one_node_and_leaves_the_later_ones(runs: Runs) -> None:
    runs()
    assert runs(only="Second") == {"First": "cached", "Second": "done"}


def test_before_runs_what_a_node_depends_on(runs: Runs) -> None:
    assert runs(before="Third") == {"First": "done", "Second": "done"}
    assert runs(before="Second") == {"First": "cached"}
    assert runs() == {"First": "cached", "Second": "cached", "Third": "done"}


def test_an_unknown_node_is_answered_with_the_known_ones(runs: Runs) -> None:
    with pytest.raises(InputError, match="no node 'Fourth'; the nodes are: First, Second, Third"):
        runs(only="Fourth")


@pytest.mark.parametrize(("text", "error"), [("wrong", InputError), ("bug", KeyError)])
def test_a_failing_node_stops_the_run_and_a_mended_one_goes_on(runs: Runs, text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        runs(text)
    assert "✗ First" in runs.text
    assert "Second" not in runs.text
    assert runs() == {"First": "done", "Second": "done", "Third": "done"}


def test_reused_outputs_stand_in_for_nodes_that_are_not_run(runs: Runs) -> None:
    runs("a")
    store = metadata_store.MetadataStore(runs.connection)
    [second] = store.get_executions_by_type(f"{Second.__module__}.Second")
    assert runs("b", only="Third", reused={"Second": second.id}) == {"Third": "done"}
    taken = {e.artifact_id for e in store.get_events_by_execution_ids([second.id]) if e.type == e.OUTPUT}
    third = max(execution.id for execution in store.get_executions_by_type(f"{Third.__module__}.Third"))
    assert {e.artifact_id for e in store.get_events_by_execution_ids([third]) if e.type == e.INPUT} == taken
    [made] = [e.artifact_id for e in store.get_events_by_execution_ids([third]) if e.type == e.OUTPUT]
    assert Path(store.get_artifacts_by_id([made])[0].uri).read_text() == "aaaa"


def test_an_interrupt_that_a_node_swallowed_stops_the_run_after_it(runs: Runs) -> None:
    with pytest.raises(KeyboardInterrupt):
        runs("swallowed")
    assert "First" in runs.text
    assert "Second" not in runs.text
    assert runs("a") == {"First": "done", "Second": "done", "Third": "done"}


def result(key: str, artifact: object) -> NodeResult:
    return NodeResult("TFX's", "done", 1.0, {key: artifact})


def test_what_statistics_and_transforms_are_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split, count, features in (("train", 12_345, 2), ("eval", 67, 1)):
        statistics = statistics_pb2.DatasetFeatureStatisticsList()
        dataset = statistics.datasets.add(num_examples=count)
        for _ in range(features):
            dataset.features.add()
        (tmp_path / f"Split-{split}").mkdir()
        (tmp_path / f"Split-{split}" / "FeatureStats.pb").write_bytes(statistics.SerializeToString())
    splits = {"split_names": SimpleNamespace(string_value='["train", "eval"]')}
    made = SimpleNamespace(uri=str(tmp_path), properties=splits)
    assert stock_summary(result("statistics", made)) == "train 12,345 x 2 features, eval 67 x 1 features"

    graph = SimpleNamespace(transform_savedmodel_dir=str(tmp_path), vocabulary_size_by_name=len)
    monkeypatch.setattr(runner.tft, "TFTransformOutput", lambda uri: graph)
    assert stock_summary(result("transform_graph", made)) == "no vocabularies"
    (tmp_path / "assets").mkdir()
    for name in ("item_id", "colour", runner.ITEM_COUNTS):
        (tmp_path / "assets" / name).touch()
    assert stock_summary(result("transform_graph", made)) == "vocabularies: colour 6, item_id 7"
    assert stock_summary(result("model", made)) == ""
