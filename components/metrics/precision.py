"""Precision at k."""

from __future__ import annotations

import numpy as np

from components.metrics.hit_rate import hit_rate
from components.metrics.metric import Metric


def precision(ranks: np.ndarray, k: int) -> np.ndarray:
    r"""Gives each query the share of the first k that is relevant.

    .. math:: \mathrm{precision@}k = \frac{1}{|Q|} \sum_{q \in Q} \frac{\mathrm{hits}_q}{k}

    With one relevant item a query that is the hit rate divided by k, and 1 / k at most.

    Parameters
    ----------
    ranks : [N] int
        Rank of the relevant item of each query, from 0; k or more where it was missed.
    k : int
        How many items of the answer count; an answer with fewer is divided by k all the same.

    Returns
    -------
    [N] float64, 0 or 1 / k.

    Examples
    --------
    >>> precision(np.array([0, 3, 4]), 4).tolist()
    [0.25, 0.25, 0.0]
    """
    return hit_rate(ranks, k) / k


METRIC = Metric(
    name="precision",
    of="rank",
    compute=precision,
    label="precision",
    meaning="with one item that followed a query, the hit rate divided by k",
    cutoffs="precision_ks",
)
