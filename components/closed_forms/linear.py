"""Closed forms beside a model: the items of a history vote for items, and their votes are added to its scores."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

FILE = "linear.npz"
"""Where it lies among the towers' extra assets."""
NAMES = ("ease", "sequential", "slit")
"""The parts that there can be: what goes together, what follows, and what comes next after all before it."""
DENSE_UP_TO = 4_096
"""Items up to which a part's weights are taken with their zeros, 64 MiB: that is faster."""
_BLOCK_CELLS = 1 << 22


@dataclass(frozen=True)
class Part:
    """One closed form for N items, and what it counts beside a model."""

    name: str
    weights: sparse.csr_array
    """[N, N] float32, from an item of the history to the item that is scored."""
    places: np.ndarray
    """[H] float32, what the item at each place of a history counts, newest first; at places beyond, nothing."""
    share: float = 1.0
    """What its sums of weights are multiplied by."""

    def votes(self, history: np.ndarray) -> np.ndarray:
        """What it adds to a model's scores, [B, N] float32.

        Args:
            history: [B, H] int rows of items, newest first; -1 for what is no item, which takes its place all the same.
        """
        request, place = np.nonzero(history[:, : len(self.places)] >= 0)
        cells = self.share * self.places[place], (request, history[request, place])
        given = sparse.coo_array(cells, (len(history), self.weights.shape[0])).tocsr()
        found = given @ self._table
        return found if isinstance(found, np.ndarray) else found.toarray()

    @functools.cached_property
    def _table(self) -> sparse.csr_array | np.ndarray:
        return self.weights.toarray() if self.weights.shape[0] <= DENSE_UP_TO else self.weights


def strongest(weights: np.ndarray, neighbours: int) -> sparse.csr_array:
    """Keeps of each row [M, M] the `neighbours` numbers that are farthest from 0."""
    size = min(neighbours, weights.shape[1])
    step = max(1, _BLOCK_CELLS // max(1, len(weights)))
    kept = np.zeros((len(weights), size), np.int32)
    for start in range(0, len(weights), step):
        block = np.abs(weights[start : start + step])
        kept[start : start + step] = np.sort(np.argpartition(-block, size - 1, axis=1)[:, :size], axis=1)
    values = np.take_along_axis(weights, kept, axis=1)
    found = sparse.csr_array((values.ravel(), kept.ravel(), np.arange(len(weights) + 1) * size), weights.shape)
    found.eliminate_zeros()
    return found


def to_rows(part: Part, row: np.ndarray, num_rows: int) -> Part:
    """The part for other rows of items.

    Args:
        part: of N items.
        row: [N] int, the new row of each; -1 for an item that has none.
        num_rows: how many rows there are.
    """
    there = row >= 0
    ones = np.ones(int(there.sum()), np.float32)
    moved = sparse.csr_array((ones, (row[there], np.flatnonzero(there))), (num_rows, len(row)))
    return replace(part, weights=(moved @ part.weights @ moved.T).tocsr())


def to_bytes(parts: Sequence[Part], item_ids: Sequence[bytes]) -> bytes:
    """The parts and the ids [N] of their items as one file."""
    arrays: dict[str, np.ndarray] = {
        "names": np.array([part.name for part in parts]),
        "shares": np.array([part.share for part in parts], np.float32),
        # Ids may end in zeros, which arrays of bytes lose, and hold no line breaks.
        "item_ids": np.frombuffer(b"\n".join(item_ids), np.uint8),
    }
    for number, part in enumerate(parts):
        columns = {"data": part.weights.data, "indices": part.weights.indices, "indptr": part.weights.indptr}
        arrays |= {f"{number}_{name}": value for name, value in {**columns, "places": part.places}.items()}
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def from_bytes(content: bytes) -> tuple[tuple[Part, ...], list[bytes]]:
    """Reads what `to_bytes` wrote."""
    with np.load(io.BytesIO(content)) as file:
        item_ids = file["item_ids"].tobytes().split(b"\n")
        parts = tuple(
            Part(
                str(name),
                sparse.csr_array(
                    tuple(file[f"{number}_{array}"] for array in ("data", "indices", "indptr")),
                    (len(item_ids), len(item_ids)),
                ),
                file[f"{number}_places"],
                float(share),
            )
            for number, (name, share) in enumerate(zip(file["names"], file["shares"]))
        )
    return parts, item_ids
