"""Content against cosines worked out by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import sparse

from components.errors import InputError
from tests.components.evaluator.arrays import ragged
from tests.components.evaluator.baselines.toy import (
    TOY,
    A,
    C,
    D,
    fit,
)


def test_content_is_the_cosine_with_the_mean_of_the_history() -> None:
    half = np.sqrt(0.5)
    vectors = [[1, 0, 0], [half, half, 0], [0, half, half], [0, 0, 0]]
    events = dataclasses.replace(TOY, features=sparse.csr_array(np.array(vectors, np.float32)))
    scores = fit("content", events).scores(ragged([], [A], [A, C], [D]))
    mean = [0.5, half / 2, half / 2]
    expected = [[0] * 4, [1, half, 0, 0], [np.dot(mean, vector) for vector in vectors], [0] * 4]
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_content_needs_categories() -> None:
    with pytest.raises(InputError, match=r"data\.catalogue\.features"):
        fit("content", TOY)
