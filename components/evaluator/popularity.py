"""The popularity baseline: every query is answered with the items that training saw most."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Ragged = tuple[np.ndarray, np.ndarray]
"""Values of all rows one after the other, and offsets [N + 1]: row i has values[offsets[i]:offsets[i + 1]]."""


class Popularity:
    """Ranks items by their number of training events; of equals the smaller id comes first."""

    def __init__(self, counts: Mapping[bytes, int]):
        """Takes the training events an item."""
        ranked = sorted(counts, key=lambda item: (-counts[item], item))
        self._positions = {item: position for position, item in enumerate(ranked)}

    def label_ranks(self, labels: np.ndarray, excluded: list[Ragged], depth: int) -> np.ndarray:
        """Returns the rank of each query's relevant item, without building any answer.

        An item's rank is its position among all items less the number of excluded ones before it.

        Args:
            labels: [B] bytes, the relevant items.
            excluded: lists of items that each query's answer leaves out; an item may be in several.
            depth: how many items an answer has.

        Returns:
            [B] int64 ranks from 0; `depth` where the item is excluded, unknown or later.
        """
        unknown = len(self._positions)
        labels_at = self._lookup(labels, unknown)
        rows = np.concatenate([np.repeat(np.arange(len(labels)), np.diff(offsets)) for _, offsets in excluded])
        # Unknown items come last, so they push nothing down.
        items_at = np.concatenate([self._lookup(values, unknown) for values, _ in excluded])
        pairs = np.unique(rows * (unknown + 1) + items_at)
        rows, items_at = pairs // (unknown + 1), pairs % (unknown + 1)
        ranks = labels_at - np.bincount(rows[items_at < labels_at[rows]], minlength=len(labels))
        missed = labels_at == unknown
        missed[rows[items_at == labels_at[rows]]] = True
        return np.where(missed, depth, np.minimum(ranks, depth))

    def _lookup(self, items: np.ndarray, unknown: int) -> np.ndarray:
        return np.fromiter((self._positions.get(item, unknown) for item in items), np.int64, len(items))
