"""Gini index of the exposure at k."""

from __future__ import annotations

import numpy as np

from components.metrics.metric import Metric


def gini(exposure: np.ndarray) -> float:
    r"""Says how unequally the items of the catalogue are recommended.

    .. math:: \mathrm{Gini@}k = \frac{\sum_{i=1}^{N} (2i - N - 1) \, x_i}{N \sum_i x_i}

    with :math:`x_1 \le \dots \le x_N` how often each item is among the first k: 0 where all items are recommended
    equally often, 1 - 1/N where it is always the same one. Lower is more equal.

    (Shani and Gunawardana, "Evaluating recommendation systems", 2011.)

    Parameters
    ----------
    exposure : [N] int
        How often each item of the catalogue was recommended.

    Returns
    -------
    float in [0, 1); NaN if nothing was recommended.

    Examples
    --------
    >>> gini(np.array([0, 0, 0, 8]))
    0.75
    """
    total = exposure.sum()
    if not total:
        return float("nan")
    count = len(exposure)
    places = 2.0 * np.arange(1, count + 1) - count - 1
    return float(places @ np.sort(exposure) / (count * total))


METRIC = Metric(
    name="gini",
    of="exposure",
    compute=gini,
    label="Gini",
    meaning="how unevenly items are recommended: 0 all alike, 1 one item always",
    more_is_better=False,
    unit="index, 0 to 1",
)
