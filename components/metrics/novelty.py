"""Novelty at k: how unexpected the recommended items are."""

from __future__ import annotations

import numpy as np

from components.metrics.lists import mean_over_list
from components.metrics.metric import Metric


def self_information(events: np.ndarray) -> np.ndarray:
    r"""Returns how many bits of news each item is.

    .. math:: I(i) = -\log_2 \frac{c_i + 1}{\sum_j c_j + N}

    with :math:`c_i` the training events of item i. One event more for each item (Laplace) gives those without any a
    probability too.

    Parameters
    ----------
    events : [N] int
        Training events of each item of the catalogue.

    Returns
    -------
    [N] float64.

    Examples
    --------
    >>> self_information(np.array([3, 1, 1, 3])).round(3).tolist()
    [1.585, 2.585, 2.585, 1.585]
    """
    return -np.log2((events + 1.0) / (events.sum() + len(events)))


def novelty(rows: np.ndarray, events: np.ndarray) -> np.ndarray:
    r"""Gives each query the mean self-information of its first k items.

    .. math:: \mathrm{novelty@}k = \frac{1}{|Q|} \sum_{q \in Q} \frac{1}{|L_q|} \sum_{i \in L_q} I(i)

    (Zhou et al., "Solving the apparent diversity-accuracy dilemma of recommender systems", 2010.)

    Parameters
    ----------
    rows : [B, k] int
        Rows of the recommended items; negative ones are padding.
    events : [N] int
        Training events of each item of the catalogue.

    Returns
    -------
    [B] float64, bits; NaN where nothing was recommended.

    Examples
    --------
    >>> novelty(np.array([[0, 1]]), np.array([3, 1, 1, 3])).tolist()
    [2.084962500721156]
    """
    return mean_over_list(rows, self_information(events))


METRIC = Metric(
    name="novelty",
    of="answer",
    compute=lambda lists: novelty(lists.rows, lists.events),
    label="novelty",
    meaning="mean −log₂ of an item's share of the training events, in bits: more is rarer",
    digits=2,
    unit="bits",
)
