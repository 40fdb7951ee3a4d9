"""Catalogue coverage at k."""

from __future__ import annotations

import numpy as np

from components.metrics.metric import Metric


def coverage(exposure: np.ndarray) -> float:
    r"""Says what share of the catalogue is recommended to anybody.

    .. math:: \mathrm{coverage@}k = \frac{|\bigcup_{q \in Q} L_q|}{N}

    with :math:`L_q` the first k items of a query's answer and N the items of the catalogue. It grows with the number of
    queries, so only models that were asked the same ones compare.

    (Ge, Delgado-Battenfeld and Jannach, "Beyond accuracy", 2010.)

    Parameters
    ----------
    exposure : [N] int
        How often each item of the catalogue was recommended.

    Returns
    -------
    float in [0, 1].

    Examples
    --------
    >>> coverage(np.array([3, 0, 1, 0]))
    0.5
    """
    return float(np.count_nonzero(exposure) / len(exposure))


METRIC = Metric(
    name="coverage",
    of="exposure",
    compute=coverage,
    label="coverage",
    meaning="share of the catalogue that is recommended at all",
    unit="share of the catalogue",
)
