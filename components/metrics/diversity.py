"""Intra-list diversity at k: how unlike each other the items of one answer are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from components.metrics.metric import Metric

if TYPE_CHECKING:
    from scipy import sparse


def diversity(rows: np.ndarray, features: sparse.csr_array) -> np.ndarray:
    r"""Gives each query the mean distance between two of its first k items.

    .. math:: \mathrm{diversity@}k = \frac{1}{|Q|} \sum_{q \in Q} \frac{2}{m_q (m_q - 1)}
              \sum_{i < j \in L_q} (1 - \cos(f_i, f_j))

    over the :math:`m_q` items that have features, and the queries that have two such items. As the vectors have length
    1, the sum of all cosines follows from the length of their sum, without going through the pairs.

    (Smyth and McClave, "Similarity vs. diversity", 2001.)

    Parameters
    ----------
    rows : [B, k] int
        Rows of the recommended items; negative ones are padding.
    features : [N, F] float
        Feature vectors of length 1; zeros for an item without features.

    Returns
    -------
    [B] float64 in [0, 1] for features that are not negative; NaN with fewer than two items that have features.

    Examples
    --------
    >>> from scipy import sparse
    >>> diversity(np.array([[0, 1, 2]]), sparse.csr_array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])).round(3).tolist()
    [0.667]
    """
    from scipy import sparse  # takes time that reading a config has not

    query, place = np.nonzero(rows >= 0)
    item = rows[query, place]
    described = np.diff(features.indptr)[item] > 0
    query, item = query[described], item[described]
    chosen = sparse.csr_array((np.ones(len(item)), (query, item)), shape=(len(rows), features.shape[0]))
    total = chosen @ features
    squared_length = total.multiply(total).sum(axis=1)
    count = np.bincount(query, minlength=len(rows))
    pairs = count * (count - 1)
    return np.divide(pairs + count - squared_length, pairs, out=np.full(len(rows), np.nan), where=pairs > 0)


METRIC = Metric(
    name="diversity",
    of="answer",
    compute=lambda lists: diversity(lists.rows, lists.features),
    label="diversity",
    meaning="mean distance of the items of an answer by their categories, 0 to 1",
    by_features=True,
)
