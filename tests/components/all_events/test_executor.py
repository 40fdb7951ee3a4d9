"""AllEvents: what was learned from and what was judged by, together, once the model is blessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tfx.types import standard_artifacts

from components.all_events.executor import Executor
from components.artifacts import NOT_SHIPPED
from components.examples.past import Read
from components.examples.reading import read_columns, scalars
from tests.components.conftest import write_examples


def events(*items: str) -> list[dict[str, Any]]:
    return [{"user_id": "u", "item_id": item, "timestamp": place} for place, item in enumerate(items)]


def run(source: Path, output: Path, blessed: int) -> Any:
    examples, blessing, found = (
        standard_artifacts.Examples(),
        standard_artifacts.ModelBlessing(),
        standard_artifacts.Examples(),
    )
    examples.uri, found.uri = str(source), str(output)
    blessing.set_int_custom_property("blessed", blessed)
    Executor().Do({"examples": [examples], "blessing": [blessing]}, {"all_examples": [found]}, {})
    return found


@pytest.mark.parametrize("with_negatives", [False, True])
def test_the_evaluation_s_events_come_after_those_of_the_training(tmp_path: Path, with_negatives: bool) -> None:
    source = tmp_path / "source"
    write_examples(source, "train", events("a", "b", "c"), 2)
    write_examples(source, "eval", events("d", "e"), 2)
    expected = {"train": [b"a", b"b", b"c", b"d", b"e"], "eval": [b"d", b"e"]}
    if with_negatives:
        write_examples(source, "negative", events("f"))
        write_examples(source, "later_negative", events("g"))
        expected |= {"negative": [b"f", b"g"], "later_negative": [b"g"]}
    write_examples(source, "past", events("z"))
    Read({"log.csv": "1"}).write(str(source))
    found = run(source, tmp_path / "output", blessed=1)
    assert json.loads(found.split_names) == list(expected)
    assert scalars(read_columns(found, "past", {"item_id": bytes}), "item_id").tolist() == [b"z"]
    assert Read.of(found.uri) == Read({"log.csv": "1"})
    read = {name: scalars(read_columns(found, name, {"item_id": bytes}), "item_id").tolist() for name in expected}
    assert {name: sorted(items) for name, items in read.items()} == expected
    assert set(read["train"][:3]) == {b"a", b"b", b"c"}
    assert found.get_string_custom_property("file_format") == "tfrecords_gzip"


def test_without_a_blessing_there_is_nothing(tmp_path: Path) -> None:
    write_examples(tmp_path / "source", "train", events("a"))
    write_examples(tmp_path / "source", "eval", events("b"))
    found = run(tmp_path / "source", tmp_path / "output", blessed=0)
    assert json.loads(found.split_names) == []
    assert found.get_string_custom_property("summary") == NOT_SHIPPED
    assert not (tmp_path / "output").exists()
