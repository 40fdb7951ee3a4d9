"""Metrics, one module each, and how TFMA computes them.

Each query has one relevant item, the item that followed. The ranking metrics are functions of that item's rank in the
answer; the list metrics look at what was recommended, right or wrong.
"""

from __future__ import annotations

from components.metrics import (
    average_popularity,
    average_precision,
    coverage,
    diversity,
    gini,
    history_overlap,
    hit_rate,
    mrr,
    ndcg,
    novelty,
    precision,
    recall,
)
from components.metrics.metric import Metric

METRICS: dict[str, Metric] = {
    module.METRIC.name: module.METRIC
    for module in (
        hit_rate,
        recall,
        precision,
        average_precision,
        ndcg,
        mrr,
        coverage,
        diversity,
        history_overlap,
        novelty,
        average_popularity,
        gini,
    )
}
"""All kinds of metrics, in the order of the report. Those of the rank come first, which thresholds are mostly about."""
