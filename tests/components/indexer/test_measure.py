"""Recall and latency of an approximate index, and its bounds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.errors import InputError
from components.indexer.measure import Measurement, Query, check, measure, read_queries
from components.indexer.settings import IndexSettings
from tests.components.conftest import write_examples


def answer(items: Sequence[str], seconds: float = 0.0) -> Any:
    def ask(query: Query) -> np.ndarray:
        time.sleep(seconds)
        return np.array([f"{query.user_id.decode()}{item}".encode() if item else b"" for item in items], object)

    return ask


def test_recall_and_latency_by_hand() -> None:
    queries = [Query(b"u", [], []), Query(b"v", [b"i"], [b"i"])]
    measured = measure(answer(["1", "2", "x"]), answer(["1", "2", "3", ""], 0.02), queries, 4)
    assert measured.recall == pytest.approx(2 / 3)
    assert (measured.k, measured.queries) == (4, 2)
    assert measured.latency_ms < 20 <= measured.exact_latency_ms


def test_queries_without_any_item_left_say_nothing() -> None:
    assert measure(answer([""]), answer([""]), [Query(b"u", [], [])], 1).recall == 1


MEASURED = Measurement(recall=0.9, k=10, queries=50, latency_ms=3.0, exact_latency_ms=20.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"recall@10 is 0\.9000, below serving\.index\.min_recall 0\.95; more recall comes from"),
        (
            {"min_recall": 0.9, "max_latency_ms": 2},
            r"on 50 queries.*3\.0 ms, more than serving\.index\.max_latency_ms 2",
        ),
        ({"max_latency_ms": 2.5}, r"min_recall 0\.95 and a query takes 3\.0 ms"),
        ({"min_recall": 0.9, "max_latency_ms": 3}, None),
        ({"min_recall": 0.9}, None),
    ],
)
def test_bounds(settings: dict[str, float], message: str | None) -> None:
    chosen = IndexSettings(type="scann", **settings)
    if message is None:
        check(MEASURED, chosen)
    else:
        with pytest.raises(InputError, match=message):
            check(MEASURED, chosen)


def test_queries_are_the_evaluations(tmp_path: Path) -> None:
    row = {"user_id": "u", "history": ["b", "a"], "seen": ["b", "a", "c"]}
    write_examples(tmp_path, "train", [{"user_id": "t"}])
    write_examples(tmp_path, "eval", [row, {"user_id": "v"}, row])
    assert read_queries(str(tmp_path), 2) == [Query(b"u", [b"b", b"a"], [b"b", b"a", b"c"]), Query(b"v", [], [])]


def test_queries_of_training_where_there_is_no_evaluation(tmp_path: Path) -> None:
    write_examples(tmp_path, "train", [{"user_id": "t", "history": ["a"]}])
    write_examples(tmp_path, "eval", [])
    assert read_queries(str(tmp_path), 2) == [Query(b"t", [b"a"], [])]
