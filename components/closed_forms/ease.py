"""EASE: a linear model that predicts each item of a user from the user's others, in closed form."""

from __future__ import annotations

import numpy as np
from scipy import linalg, sparse

from components.closed_forms.cooccurrence import cooccurrence

_FLOAT32_CONDITION = 1e4
"""Up to this condition number the weights are right to three digits in float32."""


def ease(matrix: sparse.csr_array, l2: float) -> np.ndarray:
    """Solves for the weights of items from one another.

    With G = X^T X the common users of items and P = (G + l2 I)^-1, the weights are B = I - P diag(P)^-1; their diagonal
    is 0. Time grows with M^3, memory with M^2.

    Source: Steck, "Embarrassingly shallow autoencoders for sparse data", 2019.

    Args:
        matrix: X [U, M] float32, which user had which item.
        l2: the regularisation.

    Returns:
        [M, M] float32, from row to column.
    """
    size = matrix.shape[1]
    gram = np.zeros((size, size), np.float32)
    for rows, common in cooccurrence(matrix):
        gram[rows] = common.toarray()
    return item_weights(gram, l2)


def item_weights(gram: np.ndarray, l2: float) -> np.ndarray:
    """The weights B [M, M] float32 for `gram`, X^T X [M, M] float32, whose memory is used up."""
    gram = regularised(gram, l2)
    # Of a symmetric matrix the transpose is the Fortran order that LAPACK works on in place.
    factor = linalg.cholesky(gram.T, lower=True, overwrite_a=True, check_finite=False)
    (invert,) = linalg.get_lapack_funcs(("potri",), (factor,))
    weights = invert(factor, lower=True, overwrite_c=True)[0].T
    for row in range(1, len(weights)):
        weights[row, :row] = weights[:row, row]  # LAPACK fills one triangle only; this takes no memory
    weights /= -np.diag(weights)
    np.fill_diagonal(weights, 0)
    return weights.astype(np.float32, copy=False)


def regularised(gram: np.ndarray, l2: float) -> np.ndarray:
    """X^T X + l2 I, [M, M], of what has no negative numbers; float32 where that has digits enough, whose memory is used
    up, or float64.
    """
    # The largest sum of a row bounds the largest eigenvalue, l2 is below the smallest.
    exact = gram.sum(axis=0).max() + l2 > _FLOAT32_CONDITION * l2
    gram = gram.astype(np.float64 if exact else np.float32, copy=False)
    gram[np.diag_indices_from(gram)] += l2
    return gram
