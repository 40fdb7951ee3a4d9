"""Normalised discounted cumulative gain at k."""

from __future__ import annotations

import numpy as np

from components.metrics.metric import Metric


def ndcg(ranks: np.ndarray, k: int) -> np.ndarray:
    r"""Gives each query the discounted gain of its one relevant item.

    With one relevant item the ideal gain is 1, so that

    .. math:: \mathrm{NDCG@}k = \frac{1}{|Q|} \sum_{q \in Q} \frac{[\,r_q < k\,]}{\log_2(r_q + 2)}

    (Järvelin and Kekäläinen, 2002.)

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
    >>> ndcg(np.array([0, 2, 10]), 10).tolist()
    [1.0, 0.5, 0.0]
    """
    ranks = np.asarray(ranks)
    return np.where(ranks < k, 1.0 / np.log2(ranks + 2.0), 0.0)


METRIC = Metric(
    name="ndcg",
    of="rank",
    compute=ndcg,
    label="NDCG",
    meaning="mean of 1 / log₂(rank + 1) of the item that followed, 0 beyond k",
    cutoffs="ndcg_ks",
)
