"""Mean reciprocal rank at k."""

from __future__ import annotations

import numpy as np

from components.metrics.metric import Metric


def reciprocal_rank(ranks: np.ndarray, k: int) -> np.ndarray:
    r"""Gives each query the reciprocal of its relevant item's rank, counted from 1.

    .. math:: \mathrm{MRR@}k = \frac{1}{|Q|} \sum_{q \in Q} \frac{[\,r_q < k\,]}{r_q + 1}

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
    >>> reciprocal_rank(np.array([0, 3, 10]), 10).tolist()
    [1.0, 0.25, 0.0]
    """
    ranks = np.asarray(ranks)
    return np.where(ranks < k, 1.0 / (ranks + 1.0), 0.0)


METRIC = Metric(
    name="mrr",
    of="rank",
    compute=reciprocal_rank,
    label="MRR",
    meaning="mean of 1 / rank of the item that followed",
    cutoffs="",
)
