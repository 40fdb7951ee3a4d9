"""Which items the same users had."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from components.closed_forms import cooccurrence as module
from components.closed_forms.cooccurrence import cooccurrence, nearest


@pytest.mark.parametrize("cells", [1, 30, 1 << 20])
def test_any_blocks_make_the_whole(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    monkeypatch.setattr(module, "_BLOCK_CELLS", cells)
    dense = (np.random.default_rng(0).random((40, 12)) < 0.3).astype(np.float32)
    blocks = list(cooccurrence(sparse.csr_array(dense)))
    assert [row for rows, _ in blocks for row in range(rows.start, rows.stop)] == list(range(12))
    np.testing.assert_array_equal(sparse.vstack([common for _, common in blocks]).toarray(), dense.T @ dense)


def test_the_nearest_are_kept_and_of_equals_the_first() -> None:
    weights = sparse.csr_array(np.array([[0, 1e-6, 2e-6, 1e-6], [5, 0, 7, 6], [0, 0, 0, 0], [0, 0, 0, 9]], np.float32))
    expected = np.array([[0, 1e-6, 2e-6, 0], [0, 0, 7, 6], [0, 0, 0, 0], [0, 0, 0, 9]], np.float32)
    np.testing.assert_array_equal(nearest(weights, 2).toarray(), expected)
    np.testing.assert_array_equal(nearest(weights, 4).toarray(), weights.toarray())
