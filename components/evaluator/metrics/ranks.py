"""The rank of the relevant item in an answer, which all our ranking metrics are functions of."""

from __future__ import annotations

import numpy as np


def label_ranks(item_ids: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Finds each query's relevant item in its answer.

    Args:
        item_ids: [B, K] answers, best first; padding is the empty string.
        labels: [B] the relevant items.

    Returns:
        [B] int64 ranks from 0; K where the answer lacks the item.

    Example:
        >>> label_ranks(np.array([["a", "b"], ["c", "d"]]), np.array(["b", "a"]))
        array([1, 2])
    """
    matches = item_ids == labels[:, None]
    if not matches.shape[1]:
        return np.zeros(len(labels), np.int64)
    return np.where(matches.any(axis=1), matches.argmax(axis=1), matches.shape[1])


def rank_counts(ranks: np.ndarray, depth: int) -> np.ndarray:
    """Counts how often each rank occurs: all that has to be known of many queries.

    A histogram adds up exactly and in any order, so metrics come out the same however the queries were cut in batches.

    Args:
        ranks: [N] ranks from 0.
        depth: how many items of an answer count; an item at a later rank was missed.

    Returns:
        [depth + 1] int64; the last counts the queries whose item was missed.
    """
    return np.bincount(np.minimum(ranks, depth), minlength=depth + 1)
