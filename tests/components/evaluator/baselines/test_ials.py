"""iALS against its normal equations, and against the package that fits it."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy import sparse

from components.errors import InputError
from components.evaluator.baselines.ials import Ials, _confidence
from components.evaluator.baselines.settings import BaselineSettings
from tests.components.evaluator.arrays import ragged
from tests.components.evaluator.baselines.toy import (
    TOY,
    fit,
    log,
    random_log,
)


def test_ials_solves_for_the_query() -> None:
    generator = np.random.default_rng(0)
    items = generator.normal(size=(9, 3)).astype(np.float32)
    regularized = items.T @ items + 2 * np.eye(3, dtype=np.float32)
    model = Ials(items, regularized, np.array(5, np.float32), np.array(0.5, np.float32))
    scores = model.scores(ragged([4, 1, 8], [], [2]))
    for row, history in enumerate(([4, 1, 8], [], [2])):
        # Confidence 5 / sqrt(place + 1) in the history, 1 elsewhere: (Y^T C Y + 2 I) x = Y^T C p.
        seen = np.isin(np.arange(9), history)
        confidence = np.eye(9)
        confidence[history, history] = 5 / np.arange(1, len(history) + 1) ** 0.5
        vector = np.linalg.solve(items.T @ confidence @ items + 2 * np.eye(3), items.T @ confidence @ seen)
        np.testing.assert_allclose(scores[row], items @ vector, atol=1e-4)


@pytest.mark.slow
@pytest.mark.smoke
def test_ials_folds_in_as_implicit_does() -> None:
    implicit_als = pytest.importorskip("implicit.als")

    events = random_log()
    parameters = {"ials_factors": 4, "ials_alpha": 3, "ials_regularization": 2, "ials_exponent": 0.5}
    model = fit("ials", events, **parameters)
    np.testing.assert_array_equal(model.items, fit("ials", events, **parameters).items)

    theirs = implicit_als.AlternatingLeastSquares(factors=4, alpha=3, regularization=2, use_gpu=False)
    theirs.item_factors = model.items
    history = sparse.csr_matrix(([1, 2**-0.5, 1], ([0, 0, 1], [5, 0, 7])), (2, events.num_items), dtype=np.float32)
    expected = theirs.recalculate_user(np.arange(2), history) @ model.items.T
    np.testing.assert_allclose(model.scores(ragged([5, 0], [7])), expected, atol=1e-4)


def test_ials_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "implicit", None)
    monkeypatch.setitem(sys.modules, "implicit.als", None)
    with pytest.raises(InputError, match=r"'ials' needs .* pip install 'recommender-pipeline\[ials\]'"):
        fit("ials", TOY)


def test_newer_events_of_a_user_say_more() -> None:
    confidence = _confidence(BaselineSettings(ials_alpha=8, ials_exponent=1), TOY).toarray()
    # u had a, then b, then c; v b, then a; w a, then c; x d.
    assert confidence.tolist() == pytest.approx(np.array([[8 / 3, 4, 8, 0], [8, 4, 0, 0], [4, 0, 8, 0], [0, 0, 0, 8]]))
    again = log([("u", "a"), ("u", "b"), ("u", "a")])
    assert _confidence(BaselineSettings(ials_alpha=8, ials_exponent=1), again).toarray().tolist() == [[8, 4]]
