"""What the fingerprint knows, and what not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.indexer.fingerprint import fingerprint
from components.indexer.index import Index
from components.indexer.settings import IndexerSettings, SimilarSettings
from tests.components.indexer import tiny
from tests.components.indexer.tiny import (
    DEFAULT_K,
    ITEMS,
    SETTINGS,
    shift_of,
)

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


def test_fingerprint_changes_with_what_decides_an_answer_and_only_then(towers: str, index: Index) -> None:
    base = fingerprint(towers, index, SETTINGS)
    assert fingerprint(towers, dataclasses.replace(index), SETTINGS) == base
    bias = index.bias.copy()
    bias[0] += 1e-3
    display = index.display.copy()
    display[0] = b"another"
    context = index.user_context.copy()
    context[0] = shift_of(1.0)
    others = [
        fingerprint(towers, dataclasses.replace(index, user_context=context), SETTINGS),
        fingerprint(towers, dataclasses.replace(index, bias=bias), SETTINGS),
        fingerprint(towers, dataclasses.replace(index, display=display), SETTINGS),
        fingerprint(towers, index, IndexerSettings(default_k=DEFAULT_K + 1)),
        fingerprint(towers, index, IndexerSettings(default_k=DEFAULT_K, cold_start="model")),
        fingerprint(towers, index, SETTINGS, code="edited"),
    ]
    assert len({base, *others}) == 7


def test_towers_that_explain_otherwise_are_others(
    towers: str, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(tiny.TinyQueryPart):
        @tf.function(input_signature=tiny.TinyQueryPart.explain.input_signature)
        def explain(self, items, known, user, context, candidates):
            terms = super().explain(items, known, user, context, candidates)
            return {**terms, "contributions": tf.zeros_like(terms["contributions"])}

    base = fingerprint(towers, index, SETTINGS)
    assert fingerprint(tiny.write_towers(tmp_path / "same", [], []), index, SETTINGS) == base
    monkeypatch.setattr(tiny, "TinyQueryPart", Silent)
    assert fingerprint(tiny.write_towers(tmp_path / "other", [], []), index, SETTINGS) != base


def test_the_fingerprint_covers_the_vectors(towers: str, index: Index) -> None:
    prints = {
        fingerprint(
            towers, dataclasses.replace(index, cooccurrence=np.full((len(ITEMS), 1), value, np.float32)), settings
        )
        for value in (0.0, 1.0)
        for settings in (IndexerSettings(), IndexerSettings(similar=SimilarSettings(embedding_weight=1.0)))
    }
    assert len(prints) == 4
