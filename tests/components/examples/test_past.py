"""Events of before beside those that came since."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from components.examples.interactions import KEPT_OF
from components.examples.past import Read, link_past, read_all
from components.examples.reading import scalars
from components.examples.writing import write_columns
from tests.components.conftest import write_examples

TYPES = {"item_id": bytes, "timestamp": int}


def events(*items: str, start: int = 0) -> list[dict[str, Any]]:
    return [{"item_id": item, "timestamp": start + place} for place, item in enumerate(items)]


def items(uri: Path, split: str = "train") -> list[str]:
    return [item.decode() for batch in read_all(str(uri), split, TYPES, 2) for item in scalars(batch, "item_id")]


def test_what_a_log_was_read_from_is_noted(tmp_path: Path) -> None:
    assert Read.of(str(tmp_path)) is None
    read = Read({"a.csv": "12"}, since=5, nights=2)
    read.write(str(tmp_path / "new"))
    assert Read.of(str(tmp_path / "new")) == read


def keep(uri: Path, split: str, rows: list[dict[str, Any]]) -> None:
    write_columns(str(uri / f"Split-{split}" / "data.parquet"), [pa.Table.from_pylist(rows)], str(uri / "temporary"))


@pytest.mark.slow
def test_night_after_night_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    keep(tmp_path / "0", "kept", events("a", "b", "c"))
    keep(tmp_path / "0", "kept_negative", events("x"))
    for night, new in enumerate(("d", "e"), 1):
        link_past(str(tmp_path / str(night - 1)), str(tmp_path / str(night)))
        for split, name in (("train", new), ("negative", new.upper())):
            write_examples(tmp_path / str(night), split, events(name, start=10 * night))
            keep(tmp_path / str(night), KEPT_OF[split], events(name, start=10 * night))
    assert items(tmp_path / "1") == ["a", "b", "c", "d"]
    assert items(tmp_path / "2") == ["a", "b", "c", "d", "e"]
    assert items(tmp_path / "2", "negative") == ["x", "D", "E"]
    Read({}, since=1).write(str(tmp_path / "2"))
    assert items(tmp_path / "2") == ["b", "c", "d", "e"]
