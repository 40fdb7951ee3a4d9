"""From answers to statistics and slices."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from components.evaluator.items import Items
from components.evaluator.settings import EvaluatorSettings
from tests.components.evaluator.arrays import ids


def test_statistics_of_answers() -> None:
    from components.evaluator.answers import Answers
    from components.evaluator.extractor import statistics

    features = sparse.csr_array(np.array([[1.0, 0], [0, 1.0], [1.0, 0]], np.float32))
    items = Items(ids("a", "b", "c"), np.array([4, 2, 0]), features)
    past = sparse.csr_array(np.array([[1.0, 1.0], [0, 1.0], [1.0, 0]], np.float32))
    answers = Answers(
        np.array([0, 2, 9]), np.array([[0, 1, 2], [2, 0, -1], [-1, -1, -1]]), np.array([True, False, False]), past
    )
    settings = EvaluatorSettings(
        ks=(3,), ndcg_ks=(), map_ks=(), recall_ks=(), precision_ks=(), list_ks=(1, 2), thresholds={}
    )
    found = statistics(answers, np.array([[1, 2], [1, 0], [1, 5]], np.uint8), items, settings)
    assert found.pop("rank_counts").tolist() == [[1, 0, 1, 1], [2, 0, 0, 5]]
    assert found.pop("left_out").tolist() == [1, 3]
    assert found.pop("exposure@1").toarray().tolist() == [[1, 0, 1]]
    assert found.pop("exposure@2").toarray().tolist() == [[2, 1, 1]]
    bits = -np.log2(np.array([5, 3, 1]) / 9)
    assert {name: values.tolist() for name, values in found.items()} == {
        "novelty@1": [pytest.approx(bits[0] + bits[2]), 2],
        "novelty@2": [pytest.approx((bits[0] + bits[1]) / 2 + (bits[2] + bits[0]) / 2), 2],
        "average_popularity@1": [4, 2],
        "average_popularity@2": [3 + 2, 2],
        "diversity@1": [0, 0],
        "diversity@2": [1 + 0, 2],
        "history_overlap@1": [1 / 2 + 0, 2],
        "history_overlap@2": [1 + 0, 2],
    }
    assert answers.take(np.array([2, 0])).past.toarray().tolist() == [[1, 0], [1, 1]]


def test_history_bands() -> None:
    from components.evaluator.extractor import history_bands

    lengths = np.array([0, 1, 4, 5, 19, 20, 500])
    assert history_bands(lengths).tolist() == [b"0", b"1-4", b"1-4", b"5-19", b"5-19", b"20+", b"20+"]
