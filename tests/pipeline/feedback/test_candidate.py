"""The tiny servable, asked again what was logged."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from components.errors import InputError
from pipeline.feedback.answers import read_logs
from pipeline.feedback.candidate import CUT, FALLBACK, KNOWN, RULED, AskedAgain, context_of
from tests.pipeline.feedback.shop import answer, write_answers
from tests.serving.tiny_servable import ITEMS

FEATURES = {"device": bytes, "age": float, "timestamp": int}


def test_contexts_of_the_models_types() -> None:
    logged = {"device": ["ios", 7], "age": 30, "timestamp": "2026-01-02T00:00:00", "other": 1}
    row = {"time": 5, "context": json.dumps(logged)}
    assert context_of(row, FEATURES) == {"device": [b"ios", b"7"], "age": [30.0], "timestamp": [5]}
    assert context_of({"time": 5, "context": json.dumps({"age": "old", "device": None})}, FEATURES) == {}


def lists(folder: Path) -> pa.Table:
    logged = [
        answer("ann", 1, ["3", "4", "5"]),
        answer("stranger", 2, ["1"], history=["x", "w"], logged=2),
        answer("stranger", 3, ["1"], history=["x", "w"], logged=1),
        answer("ann", 4, ["1"], ruled=True),
        answer("ann", 5, ["1"], source="fallback"),
        answer("nom", 6, ["3"]),
    ]
    write_answers(folder / "one.jsonl", logged)
    return pa.concat_tables(read_logs([folder / "one.jsonl"], "shop", Counter()))


def with_items(servable: Path, folder: Path) -> Path:
    """The tiny servable with the list of its items that the pipeline's have."""
    model = folder / "models" / "shop" / "7"
    shutil.copytree(servable, model)
    (model / "assets").mkdir(exist_ok=True)
    (model / "assets" / "items.txt").write_text("\n".join(ITEMS), "utf-8")
    return model


@pytest.mark.slow
def test_who_is_asked_and_what_is_answered(servable: Path, tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    found = AskedAgain(with_items(servable, tmp_path), counts)
    found.user_ids = {"nom": "ann"}
    asked, answers = found(lists(tmp_path))
    assert asked.tolist() == [True, True, False, False, False, True]
    assert counts == {CUT: 1, RULED: 1, FALLBACK: 1}
    # Ann's stored history is 1, 2; x and w are at the end of the catalogue: see tests/serving/client/test_client.py.
    assert [one[:3] for one in answers] == [["3", "4", "5"], ["ä", "y", "🎬"], ["3", "4", "5"]]
    found.trained_until = 2_000_000
    assert found(lists(tmp_path))[0].tolist() == [False, False, False, False, False, True]
    assert counts[KNOWN] == 2


def test_no_recommender(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        AskedAgain(tmp_path, Counter())
