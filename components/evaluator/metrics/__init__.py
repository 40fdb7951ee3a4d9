"""Metrics, one module each, and how TFMA computes them.

Each query has one relevant item, the item that followed. The ranking metrics are functions of that item's rank in the
answer; the list metrics look at what was recommended, right or wrong.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from components.evaluator.metrics.average_precision import average_precision
from components.evaluator.metrics.coverage import coverage
from components.evaluator.metrics.gini import gini
from components.evaluator.metrics.hit_rate import hit_rate
from components.evaluator.metrics.mrr import reciprocal_rank
from components.evaluator.metrics.ndcg import ndcg
from components.evaluator.metrics.precision import precision
from components.evaluator.metrics.recall import recall

GAINS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "hit_rate": hit_rate,
    "recall": recall,
    "precision": precision,
    "map": average_precision,
    "ndcg": ndcg,
    "mrr": reciprocal_rank,
}
"""Kinds of ranking metrics, each a mean over queries of a function of ranks [N] and k."""

EXPOSURE_METRICS: dict[str, Callable[[np.ndarray], float]] = {"coverage": coverage, "gini": gini}
"""Kinds of metrics that are a function of how often each item of the catalogue was recommended, [N]."""
