"""Average precision at k, whose mean over queries is MAP."""

from __future__ import annotations

import numpy as np

from components.metrics.metric import Metric
from components.metrics.mrr import reciprocal_rank


def average_precision(ranks: np.ndarray, k: int) -> np.ndarray:
    r"""Gives each query the mean, over its relevant items, of the precision at their ranks.

    .. math:: \mathrm{MAP@}k = \frac{1}{|Q|} \sum_{q \in Q} \frac{1}{1} \, [\,r_q < k\,] \, \frac{1}{r_q + 1}

    With one relevant item a query that is its reciprocal rank, so that MAP@k equals the mean reciprocal rank cut at k.

    Parameters
    ----------
    ranks : [N] int
        Rank of the relevant item of each query, from 0; k or more where it was missed.
    k : int
        How many items of the answer count.

    Returns
    -------
    [N] float64 in [0, 1].

    Examples
    --------
    >>> average_precision(np.array([0, 3, 10]), 10).tolist()
    [1.0, 0.25, 0.0]
    """
    return reciprocal_rank(ranks, k)


METRIC = Metric(
    name="map",
    of="rank",
    compute=average_precision,
    label="MAP",
    meaning="mean of 1 / rank of the item that followed, 0 beyond k",
    cutoffs="map_ks",
)
