"""EASE and item-kNN on ordered pairs together."""

from __future__ import annotations

import numpy as np

from tests.components.evaluator.arrays import ragged
from tests.components.evaluator.baselines.toy import fit, random_log


def test_it_is_the_weighted_sum_of_what_is_on_one_scale() -> None:
    events, query = random_log(), ragged([3, 0], [], [11, 2, 5])
    parameters = {"ease_l2": 5, "ease_exponent": 0.5, "sequential_knn_half_life": 3, "blend_share": 0.3}
    parts = [fit(name, events, **parameters).scores(query).astype(float) for name in ("ease", "sequential_knn")]
    ease, sequential = (
        (part - part.mean(axis=1, keepdims=True)) / np.maximum(part.std(axis=1, keepdims=True), 1e-12) for part in parts
    )
    expected = 0.7 * ease + 0.3 * sequential
    np.testing.assert_allclose(fit("blend", events, **parameters).scores(query), expected, atol=1e-4)
