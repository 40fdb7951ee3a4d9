"""The summary of a model."""

from __future__ import annotations

from types import SimpleNamespace

from pipeline.model.summary import as_text, summarize


def test_a_summary_counts_what_weights_hold() -> None:
    parts = summarize([SimpleNamespace(name="items:0", shape=(3, 2)), SimpleNamespace(name="bias:0", shape=())])
    assert parts == [
        {"name": "items", "shape": [3, 2], "parameters": 6},
        {"name": "bias", "shape": [], "parameters": 1},
    ]
    assert [line.split() for line in as_text(parts).splitlines()] == [
        ["items", "3", "x", "2", "6"],
        ["bias", "1"],
        ["total", "7"],
    ]
