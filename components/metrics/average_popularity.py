"""Average popularity at k: how much the popular items are favoured."""

from __future__ import annotations

import numpy as np

from components.metrics.lists import mean_over_list
from components.metrics.metric import Metric


def average_popularity(rows: np.ndarray, events: np.ndarray) -> np.ndarray:
    r"""Gives each query the mean number of training events of its first k items.

    .. math:: \mathrm{ARP@}k = \frac{1}{|Q|} \sum_{q \in Q} \frac{1}{|L_q|} \sum_{i \in L_q} c_i

    (Yin et al., "Challenging the long tail recommendation", 2012.)

    Parameters
    ----------
    rows : [B, k] int
        Rows of the recommended items; negative ones are padding.
    events : [N] int
        Training events of each item of the catalogue.

    Returns
    -------
    [B] float64, events; NaN where nothing was recommended.

    Examples
    --------
    >>> average_popularity(np.array([[0, 1], [2, -1]]), np.array([30, 10, 0])).tolist()
    [20.0, 0.0]
    """
    return mean_over_list(rows, events)


METRIC = Metric(
    name="average_popularity",
    of="answer",
    compute=lambda lists: average_popularity(lists.rows, lists.events),
    label="average popularity",
    meaning="training events of a recommended item",
    more_is_better=False,
    digits=1,
    unit="training events",
)
