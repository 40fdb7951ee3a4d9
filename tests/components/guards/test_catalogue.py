"""What the Guards know of the items: those that are listed."""

from __future__ import annotations

from pathlib import Path

from components.guards.catalogue import read
from components.hashing import hashes
from tests.components.conftest import write_examples


def test_listed_items_and_their_features(tmp_path: Path) -> None:
    rows = [
        {"item_id": "a", "kind": "x", "price": 2.0, "title": "A", "#listed": 1},
        {"item_id": "b", "kind": ["x"], "#listed": 1},
        {"item_id": "c"},
    ]
    write_examples(tmp_path / "items", "catalogue", rows)
    found = read(str(tmp_path / "items"), {"kind": "categories", "price": "number", "title": "text"})
    assert found.listed.tolist() == hashes([b"a", b"b"]).tolist()
    [dataset] = found.statistics.datasets
    assert {feature.path.step[0] for feature in dataset.features} == {"kind", "price"}
    assert dataset.num_examples == 2


def test_without_features_or_listed_items(tmp_path: Path) -> None:
    write_examples(tmp_path / "items", "catalogue", [{"item_id": "c"}])
    for kinds in ({}, {"kind": "category"}):
        found = read(str(tmp_path / "items"), kinds)
        assert (len(found.listed), len(found.statistics.datasets[0].features)) == (0, 0)
