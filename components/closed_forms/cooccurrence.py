"""Which items the same users had, of any number of items."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import sparse

_BLOCK_CELLS = 1 << 22


def cooccurrence(matrix: sparse.csr_array) -> Iterator[tuple[slice, sparse.csr_array]]:
    """Yields X^T X of a sparse X [U, N] in blocks of rows, with the rows: common users of items, at most 2^22 numbers.

    The whole of it would not fit into memory where the catalogue is large.
    """
    by_item = matrix.T.tocsr()
    num_items = by_item.shape[0]
    step = max(1, _BLOCK_CELLS // num_items)
    for start in range(0, num_items, step):
        rows = slice(start, min(start + step, num_items))
        yield rows, by_item[rows] @ matrix


def nearest(weights: sparse.csr_array, neighbours: int) -> sparse.csr_array:
    """Keeps the highest numbers of each row [R, N], which must be above 0; of equals those of the smaller columns."""
    lengths = np.diff(weights.indptr)
    row = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    data = weights.data.astype(np.float64)
    # One key for row and weight sorts several times faster than two; what is taken off the row is below 1.
    order = np.argsort(row - data / (1 + data), kind="stable")
    place = np.arange(len(row)) - np.repeat(weights.indptr[:-1], lengths)
    kept = order[place < neighbours]
    return sparse.csr_array((weights.data[kept], (row[kept], weights.indices[kept])), weights.shape)
