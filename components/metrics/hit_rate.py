"""Hit rate at k."""

from __future__ import annotations

import numpy as np

from components.metrics.metric import Metric


def hit_rate(ranks: np.ndarray, k: int) -> np.ndarray:
    r"""Says of each query whether the relevant item is among the first k.

    The mean over queries is the hit rate; with one relevant item a query it equals recall@k and top-k categorical
    accuracy.

    .. math:: \mathrm{hit@}k = \frac{1}{|Q|} \sum_{q \in Q} [\,r_q < k\,]

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
    >>> hit_rate(np.array([0, 9, 10]), 10).tolist()
    [1.0, 1.0, 0.0]
    """
    return (np.asarray(ranks) < k).astype(np.float64)


METRIC = Metric(
    name="hit_rate",
    of="rank",
    compute=hit_rate,
    label="hit",
    meaning="share of the queries whose item that followed is among the first k",
    cutoffs="ks",
)
