"""All baselines: through their files, and for any log."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from scipy import sparse

from components.evaluator import baselines
from components.evaluator.baselines import BaselineSettings
from components.evaluator.baselines.base import TrainingEvents
from components.evaluator.baselines.content import Content
from components.evaluator.baselines.ials import Ials
from tests.components.evaluator.arrays import ragged
from tests.components.evaluator.baselines.toy import (
    TOY,
    histories,
    logs,
    random_log,
)


def test_files_give_the_same_scores(tmp_path: Path) -> None:
    events, queries = random_log(), ragged([3, 0], [], [11])
    fitted = baselines.fit(BaselineSettings(), events)
    fitted["content"] = Content(sparse.csr_array(np.eye(12, 3, dtype=np.float32)))
    alpha, exponent = np.array(3, np.float32), np.array(0.5, np.float32)
    fitted["ials"] = Ials(np.ones((12, 2), np.float32), np.eye(2, dtype=np.float32), alpha, exponent)
    assert tuple(fitted) == baselines.NAMES
    baselines.save(fitted, str(tmp_path))
    loaded = baselines.load(str(tmp_path))
    assert tuple(loaded) == baselines.NAMES
    for name, baseline in fitted.items():
        np.testing.assert_array_equal(loaded[name].scores(queries), baseline.scores(queries))
    assert isinstance(loaded["ease"].weights.base, np.memmap)
    assert (tmp_path / "blend" / "weights.npy").is_symlink(), "on the disk once"


def test_files_of_some_baselines(tmp_path: Path) -> None:
    baselines.save(baselines.fit(BaselineSettings(names=("markov", "popularity")), TOY), str(tmp_path))
    assert set(baselines.load(str(tmp_path))) == {"markov", "popularity"}


@pytest.mark.slow
@pytest.mark.smoke
@settings(max_examples=50)
@given(logs, histories)
def test_any_log_and_any_history(events: TrainingEvents, rows: list[list[int]]) -> None:
    rows = [[], *([row for row in history if row < events.num_items] for history in rows)]
    for name, baseline in baselines.fit(BaselineSettings(), events).items():
        scores = baseline.scores(ragged(*rows))
        assert scores.shape == (len(rows), events.num_items)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()
        # A query's scores don't depend on the others of its batch.
        for row, history in enumerate(rows):
            np.testing.assert_allclose(baseline.scores(ragged(history))[0], scores[row], rtol=1e-5, atol=1e-9)
        # Without a history the more popular item never comes later.
        if name != "recent_popularity":
            assert (np.diff(scores[0]) <= 0).all()
