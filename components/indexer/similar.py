"""Vectors of items from who had them together, so that what is similar to an item is what is taken with it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import linalg, sparse

from components.examples.past import read_all
from components.examples.reading import ragged, scalars
from components.examples.sampling import of_users, share_of_users
from components.indexer.settings import SimilarSettings

_BATCH = 131_072
_SPARE = 16
"""Directions beyond those wanted, which make the wanted ones exact enough after few passes."""
_PASSES = 4
_TOLERANCE = 1e-4
"""How far products of a basis may be from those of an orthonormal one."""


def read_vectors(interactions: str, row_of: Mapping[bytes, int], settings: SimilarSettings, events: int) -> np.ndarray:
    """Reads the training events and makes the items' vectors, see `vectors`.

    Args:
        interactions: URI of the events' Examples; only the training events are read, those of before among them.
        row_of: Row of each of the N items; events of others count for nothing.
        settings: Window, length, popularity, and how many events are counted.
        events: How many there are.
    """
    share = 1.0 if events <= settings.max_events else share_of_users(interactions, "train", settings.max_events)
    features = {"user_id": bytes, "item_id": bytes, "history": bytes, "timestamp": int}
    sums = [sparse.csr_array((len(row_of), len(row_of)), dtype=np.float32)]
    for whole in read_all(interactions, "train", features, _BATCH):
        batch = of_users(whole, share)
        item = np.array([row_of.get(name, -1) for name in scalars(batch, "item_id")], np.int32)
        values, offsets = ragged(batch, "history")
        place = np.arange(len(values)) - np.repeat(offsets[:-1], np.diff(offsets))
        near = place < settings.window
        later, place = np.repeat(item, np.diff(offsets))[near], place[near]
        earlier = np.array([row_of.get(name, -1) for name in values[near]], np.int32)
        there = (later >= 0) & (earlier >= 0)
        sums.append(cooccurrence(later[there], earlier[there], place[there], num_items=len(row_of)))
        # To add each to the sum of all would take the more time the longer the log is.
        while len(sums) > 1 and sums[-2].nnz <= 2 * sums[-1].nnz:
            sums.append(sums.pop() + sums.pop())
    while len(sums) > 1:
        sums.append(sums.pop() + sums.pop())
    return vectors(sums[0], settings)


def cooccurrence(item: np.ndarray, earlier: np.ndarray, place: np.ndarray, num_items: int) -> sparse.csr_array:
    """How often items came near each other, in either order.

    Args:
        item: [P] int, rows of items.
        earlier: [P] int, rows of items that the same users had before.
        place: [P] int, how many events lie between the two; a pair counts 1 / (place + 1).
        num_items: N.

    Returns:
        [N, N] float32, symmetric; an item never comes with itself.
    """
    other = item != earlier
    weight = (1 / (place[other] + 1)).astype(np.float32)
    pairs = sparse.csr_array((weight, (item[other], earlier[other])), (num_items, num_items))
    return (pairs + pairs.T).tocsr()


def vectors(together: sparse.csr_array, settings: SimilarSettings) -> np.ndarray:
    """Vectors whose products are the similarities of items, smoothed by leaving out all but the strongest directions.

    With S the co-occurrence, s its sums of rows and a the popularity exponent, S_ij / sqrt(s_i s_j) is approximated by
    the products of vectors v_i and v_j, from the largest positive eigenvalues; the answer is v_i s_i^(1/2 - a), so an
    exponent below 1/2 gives back to popular items some of what dividing by their popularity took from them.

    Sources: Nikolakopoulos, Kalantzis, Gallopoulos and Garofalakis, "EigenRec", 2019, for the factors and the exponent;
    Halko, Martinsson and Tropp, "Finding structure with randomness", 2011, for how they are found, with a fixed seed.

    Args:
        together: S, [N, N] float32, symmetric.
        settings: `dim` and `popularity_exponent`.

    Returns:
        [N, F] float32, F at most `dim`. The mean square length of the items that co-occur with any is 1, other items
        have zeros.
    """
    strength = together.sum(axis=1)
    there = strength > 0
    scale = np.where(there, strength, 1).astype(np.float32)
    root = sparse.dia_array((scale[np.newaxis] ** -0.5, [0]), together.shape)
    scaled = (root @ together @ root).tocsr().astype(np.float32)

    size = min(settings.dim + _SPARE, len(strength))
    basis = np.random.default_rng(0).normal(size=(len(strength), size)).astype(np.float32)
    for _ in range(_PASSES):
        basis = orthonormal(scaled @ basis)
    values, directions = np.linalg.eigh(basis.T @ (scaled @ basis))
    best = np.argsort(-values)[: settings.dim]
    factors = basis @ directions[:, best] * np.sqrt(np.maximum(values[best], 0))
    factors *= scale[:, np.newaxis] ** (0.5 - settings.popularity_exponent)
    factors[~there] = 0
    length = np.sqrt(np.square(factors).sum() / max(1, there.sum()))
    return (factors / length if length > 0 else factors).astype(np.float32)


def orthonormal(columns: np.ndarray) -> np.ndarray:
    """An orthonormal basis [N, C] float32 of columns [N, C] float32, N at least C.

    Two Cholesky factorisations of the small product, a fraction of what QR costs where N is large, unless the columns
    depend on each other too much for that. Source: Yamamoto, Nakatsukasa, Yanagisawa and Fukaya, "Roundoff error
    analysis of the CholeskyQR2 algorithm", 2015.
    """
    basis = columns
    try:
        for _ in range(2):
            factor = linalg.cholesky(basis.T @ basis)
            basis = linalg.solve_triangular(factor, basis.T, trans="T").T
    except linalg.LinAlgError:
        return np.linalg.qr(columns)[0]
    off = np.abs(basis.T @ basis - np.eye(basis.shape[1], dtype=np.float32)).max(initial=0)
    return basis if off < _TOLERANCE else np.linalg.qr(columns)[0]
