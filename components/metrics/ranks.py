"""The rank of the relevant item in an answer, which all our ranking metrics are functions of."""

from __future__ import annotations

import numpy as np
from scipy import sparse


def label_ranks(items: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Finds each query's relevant item in its answer.

    Args:
        items: [B, K] answers, best first: ids or rows; padding is what no label is.
        labels: [B] the relevant items.

    Returns:
        [B] int64 ranks from 0; K where the answer lacks the item.

    Example:
        >>> label_ranks(np.array([["a", "b"], ["c", "d"]]), np.array(["b", "a"]))
        array([1, 2])
    """
    matches = items == labels[:, None]
    if not matches.shape[1]:
        return np.zeros(len(labels), np.int64)
    return np.where(matches.any(axis=1), matches.argmax(axis=1), matches.shape[1])


def rank_counts(ranks: np.ndarray, depth: int, weights: np.ndarray) -> np.ndarray:
    """Counts how often each rank occurs: all that has to be known of many queries.

    A histogram adds up exactly and in any order, so metrics come out the same however the queries were cut in batches.

    Args:
        ranks: [N] ranks from 0.
        depth: how many items of an answer count; an item at a later rank was missed.
        weights: [N, W] int, how often each query counts in each of W histograms.

    Returns:
        [W, depth + 1] int64; the last column counts the queries whose item was missed.
    """
    queries = np.arange(len(ranks))
    ones = np.ones(len(ranks), np.int64)
    occurs = sparse.csr_array((ones, (np.minimum(ranks, depth), queries)), shape=(depth + 1, len(ranks)))
    return (occurs @ weights.astype(np.int64)).T
