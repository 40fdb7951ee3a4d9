"""Overlap with the history at k: how far the categories of an answer are those of what the user had."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from components.metrics.metric import Metric

if TYPE_CHECKING:
    from scipy import sparse


def categories_of(rows: np.ndarray, owner: np.ndarray, size: int, features: sparse.csr_array) -> sparse.csr_array:
    """Returns which categories any of its items has for each of `size` lists, [size, F] float32 of ones.

    Args:
        rows: [V] int rows of items.
        owner: [V] int, from 0 to `size` - 1: in whose list the item is.
        size: How many lists there are.
        features: [N, F] float; an item has the categories where it is not zero.
    """
    from scipy import sparse  # takes time that reading a config has not

    listed = sparse.csr_array((np.ones(len(rows), np.float32), (owner, rows)), shape=(size, features.shape[0]))
    found = sparse.csr_array(listed @ features)
    found.data[:] = 1
    return found


def history_overlap(rows: np.ndarray, past: sparse.csr_array, features: sparse.csr_array) -> np.ndarray:
    r"""Gives each query the Jaccard index of the categories of its first k items and those of its history.

    .. math:: \mathrm{history\_overlap@}k = \frac{1}{|Q|} \sum_{q \in Q}
              \frac{|C(L_q) \cap C(H_q)|}{|C(L_q) \cup C(H_q)|}

    over the queries whose answer and history both have categories.

    Parameters
    ----------
    rows : [B, k] int
        Rows of the recommended items; negative ones are padding.
    past : [B, F] float
        Ones for the categories of the history, see `categories_of`.
    features : [N, F] float
        What categories the items have: those that are not zero.

    Returns
    -------
    [B] float64 in [0, 1]; NaN where answer or history have no category.

    Examples
    --------
    >>> from scipy import sparse
    >>> features = sparse.csr_array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> history_overlap(np.array([[0], [1]]), sparse.csr_array([[1.0, 0.0, 0.0]] * 2), features).tolist()
    [0.5, 0.0]
    """
    query, place = np.nonzero(rows >= 0)
    answered = categories_of(rows[query, place], query, len(rows), features)
    both = answered.multiply(past).sum(axis=1)
    own, others = answered.sum(axis=1), past.sum(axis=1)
    there = (own > 0) & (others > 0)
    return np.divide(both, own + others - both, out=np.full(len(rows), np.nan), where=there)


METRIC = Metric(
    name="history_overlap",
    of="answer",
    compute=lambda lists: history_overlap(lists.rows, lists.past, lists.features),
    label="history overlap",
    meaning="how far the categories of an answer are those of the user's history (Jaccard index), 0 to 1",
    more_is_better=False,
    by_features=True,
)
