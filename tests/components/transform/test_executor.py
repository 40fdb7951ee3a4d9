"""What a grown Transform lays together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tensorflow_transform as tft
from tfx.types import standard_artifacts

from components.artifacts import NOT_SHIPPED
from components.examples.reading import read_columns, scalars
from components.transform.executor import Executor
from pipeline.model.preprocessing import ITEM_VOCABULARY
from tests.components.conftest import write_examples
from tests.components.transform.conftest import GROWING, event, write_later
from tests.pipeline.model.small_log import HOUR

pytestmark = pytest.mark.slow


def grow(examples: Path, before: Any, output: Path, splits: dict[str, str], **properties: Any) -> tuple[Any, Any]:
    """Runs the node; `before` has URIs of a graph and of what it made."""

    def artifact(kind: Any, uri: Any) -> Any:
        made = kind()
        made.uri = str(uri)
        return made

    raw = artifact(standard_artifacts.Examples, examples)
    raw.split_names = json.dumps([path.name[6:] for path in examples.glob("Split-*")])
    graph = artifact(standard_artifacts.TransformGraph, output / "graph")
    found = artifact(standard_artifacts.Examples, output / "examples")
    inputs = {
        "examples": [raw],
        "graph_before": [artifact(standard_artifacts.TransformGraph, before[0])],
        "transformed_before": [artifact(standard_artifacts.Examples, before[1])],
    }
    executor = Executor(Executor.Context(tmp_dir=str(output / "temporary"), unique_id="1"))
    settings = {"splits": json.dumps(splits), "growing": GROWING.model_dump_json(), **properties}
    executor.Do(inputs, {"transform_graph": [graph], "transformed_examples": [found]}, settings)
    return graph, found


SHIP = {"eval": "train"}


def times(examples: Any, split: str) -> list[int]:
    """Hours of the transformed events."""
    table = read_columns(examples, split, {"timestamp": int})
    return sorted((scalars(table, "timestamp") // HOUR).tolist())


def test_later_events_come_to_those_that_were_learned(transformed: Any, tmp_path: Path) -> None:
    write_later(tmp_path / "events")
    write_examples(tmp_path / "events", "later_negative", [event("a", hour=1001)])
    before = transformed.transform_graph, transformed.examples
    splits = {"eval": "train", "later_negative": "negative", "missing": "missing"}
    graph, found = grow(tmp_path / "events", before, tmp_path / "output", splits)
    assert times(found, "train") == [*range(248), *[1000] * 8]
    assert times(found, "negative") == [1001]
    assert json.loads(found.split_names) == ["negative", "train"]
    size = tft.TFTransformOutput(graph.uri).vocabulary_size_by_name(ITEM_VOCABULARY)
    assert size == 9
    assert found.get_string_custom_property("summary") == "vocabularies: item_id 9 (3 new), user_id 8 (1 new)"


def test_night_after_night_those_of_before_are_past_and_some_are_learned_again(
    transformed: Any, tmp_path: Path
) -> None:
    # What ships keeps what a night goes on from, also after a night.
    def ship(number: int, before: tuple[str, str]) -> tuple[str, str]:
        (tmp_path / f"nothing {number}" / "Split-eval").mkdir(parents=True)
        graph, found = grow(tmp_path / f"nothing {number}", before, tmp_path / f"shipped {number}", SHIP, keep=1)
        return graph.uri, found.uri

    before = ship(0, (transformed.transform_graph, transformed.examples))
    for night in range(2):
        rows = [event(f"item of {night}", user=f"{night} {number}", hour=1000 + night) for number in range(40)]
        write_examples(tmp_path / f"{night}", "train", rows)
        graph, found = grow(tmp_path / f"{night}", before, tmp_path / f"output {night}", {"train": "train"}, replay=1.0)
        before = ship(night + 1, (graph.uri, found.uri))
    assert times(found, "past") == [*range(248), *[1000] * 40]
    learned = times(found, "train")
    assert learned.count(1001) == 40
    # About as many of before as there are new ones, which come to two of the nine in ten users of before.
    assert 0 < len(learned) - 40 < 150
    graph, found = grow(
        tmp_path / "1", before, tmp_path / "window", {"train": "train"}, replay=100.0, window_days=1 / 24
    )
    assert times(found, "train") == sorted([*[1000] * 40, *[1001] * 80])


def test_without_a_blessing_there_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    graph, found = grow(tmp_path / "events", ("", ""), tmp_path / "output", {"eval": "train"})
    assert graph.get_string_custom_property("summary") == NOT_SHIPPED
    assert json.loads(found.split_names) == []
    assert not (tmp_path / "output").exists()
