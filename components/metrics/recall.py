"""Recall at k."""

from __future__ import annotations

import numpy as np

from components.metrics.hit_rate import hit_rate
from components.metrics.metric import Metric


def recall(ranks: np.ndarray, k: int) -> np.ndarray:
    r"""Gives each query the share of its relevant items that is among the first k.

    .. math:: \mathrm{recall@}k = \frac{1}{|Q|} \sum_{q \in Q} \frac{\mathrm{hits}_q}{1}

    With one relevant item a query there is nothing to share: it equals the hit rate.

    Parameters
    ----------
    ranks : [N] int
        Rank of the relevant item of each query, from 0; k or more where it was missed.
    k : int
        How many items of the answer count.

    Returns
    -------
    [N] float64, 0 or 1.

    Examples
    --------
    >>> recall(np.array([0, 9, 10]), 10).tolist()
    [1.0, 1.0, 0.0]
    """
    return hit_rate(ranks, k)


METRIC = Metric(
    name="recall",
    of="rank",
    compute=recall,
    label="recall",
    meaning="with one item that followed a query, the hit rate",
    cutoffs="recall_ks",
)
