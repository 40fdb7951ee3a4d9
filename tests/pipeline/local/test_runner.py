"""The runner on a tiny DAG of function components: what runs, what comes from the cache, what a failure says."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.orchestration import metadata
from tfx.orchestration.pipeline import Pipeline
from tfx.types import standard_artifacts

from components.errors import InputError
from pipeline.local.runner import run_pipeline
from pipeline.terminal import Terminal


@component
def First(out: OutputArtifact[standard_artifacts.String], text: Parameter[str]) -> None:
    if text == "wrong":
        raise InputError("first.csv: row 3 is wrong; mend it")
    if text == "bug":
        raise KeyError("a bug")
    Path(out.uri).write_text(text)
    out.set_string_custom_property("summary", f"text {text}")


@component
def Second(source: InputArtifact[standard_artifacts.String], out: OutputArtifact[standard_artifacts.String]) -> None:
    Path(out.uri).write_text(Path(source.uri).read_text() * 2)


@component
def Third(source: InputArtifact[standard_artifacts.String], out: OutputArtifact[standard_artifacts.String]) -> None:
    Path(out.uri).write_text(Path(source.uri).read_text() * 2)


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
