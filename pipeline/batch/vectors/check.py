"""Whether an exact search over the vectors that were written finds what the servable answers.

The search is NumPy's: an item's product with the user's vector, plus its bias, without what the user has seen. It is
held against `recommend`, which may have more than vectors to go by, and against `retrieve`, which has not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.batch.vectors.asking import Lists, Towers
from pipeline.batch.vectors.files import ITEMS, USERS, Vectors, read_vectors
from serving import contract

_SCORES = 1 << 24
"""Scores that are in memory at a time: 64 MiB."""
_TIE = 1e-5
"""Scores that differ by less than this share of the largest that such vectors could have are equal: float32 adds up to
no more."""
_WHY = {
    contract.LINEAR_PART: "a linear part (model.linear), whose votes are added to the vectors' scores",
    contract.SECOND_STAGE: "a second stage, which ranks what the vectors find",
    contract.DIVERSITY: "diversity (serving.diversity)",
    contract.APPROXIMATE: "an approximate index, which misses some of what an exact search finds",
}


class Agreement(NamedTuple):
    """How far a search by vectors gives the lists of a signature."""

    equal: float
    """Share of the users who get the same items in the same places, or others of the same scores, with these scores."""
    largest_difference: float
    """Of a score from that of the same item by the vectors."""


class Report(NamedTuple):
    """What the check of some users found."""

    users: int
    k: int
    servable: Agreement
    """With `recommend`."""
    towers: Agreement
    """With `retrieve`."""

    def facts(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**self._asdict(), "servable": self.servable._asdict(), "towers": self.towers._asdict()}


def check(folder: Path, towers: Towers, num_items: int, num_users: int, most: int, k: int) -> Report:
    """Asks for some of the users, evenly spread, and searches the vectors in the files for the same.

    Args:
        folder: Of the files.
        towers: The servable whose vectors they have.
        num_items: Items in the files.
        num_users: Users in the files, one at least.
        most: For how many of them.
        k: Length of a list.
    """
    items = _whole(read_vectors(folder, ITEMS), num_items)
    row_of = {item: row for row, item in enumerate(items.ids)}
    chosen = np.unique(np.linspace(0, num_users - 1, min(most, num_users)).round().astype(int))
    equal: dict[str, list[np.ndarray]] = {"recommend": [], "retrieve": []}
    difference = dict.fromkeys(equal, 0.0)
    for users in _chosen(read_vectors(folder, USERS), chosen, max(1, _SCORES // num_items)):
        scores = products(items, users)
        left = scores.copy()
        for row, seen in enumerate(towers.seen(users.ids)):
            left[row, [row_of[item] for item in seen if item in row_of]] = -np.inf
        for name, lists in (("recommend", towers.recommend(users.ids, k)), ("retrieve", towers.retrieve(users.ids, k))):
            rows = np.array([[row_of.get(item, -1) for item in row] for row in lists.item_ids])
            same, apart = compare(scores, left, rows, lists, tolerances(items, users))
            equal[name].append(same)
            difference[name] = max(difference[name], apart)
    found = {name: Agreement(float(np.concatenate(same).mean()), difference[name]) for name, same in equal.items()}
    return Report(len(chosen), k, found["recommend"], found["retrieve"])


def products(items: Vectors, users: Vectors) -> np.ndarray:
    """Scores [B, N] float32 by the vectors alone: products, and the biases that are not a part of the vectors."""
    scores = users.vectors @ items.vectors.T
    return scores if items.bias is None else scores + items.bias


def tolerances(items: Vectors, users: Vectors) -> np.ndarray:
    """By how much scores of each user [B] may differ and still count as equal."""
    largest = np.sqrt((np.square(items.vectors).sum(axis=1) + (0 if items.bias is None else items.bias**2)).max())
    length = np.sqrt(np.square(users.vectors).sum(axis=1) + (0 if items.bias is None else 1))
    return _TIE * largest * length


def compare(
    scores: np.ndarray, left: np.ndarray, rows: np.ndarray, lists: Lists, tolerance: np.ndarray
) -> tuple[np.ndarray, float]:
    """Holds lists against a search.

    Args:
        scores: [B, N], by the vectors.
        left: [B, N], the same with -inf for what each user has seen.
        rows: [B, k] rows of the lists' items, -1 for padding.
        lists: The lists.
        tolerance: [B], what counts as equal.

    Returns:
        Which lists are equal [B], and the largest difference of a score.
    """
    k, count = rows.shape[1], min(rows.shape[1], left.shape[1])
    best = -np.sort(np.partition(-left, count - 1, axis=1)[:, :count], axis=1)
    best = np.pad(best, [[0, 0], [0, k - count]], constant_values=-np.inf)
    there = rows >= 0
    found = np.where(there, np.take_along_axis(left, np.maximum(rows, 0), axis=1), -np.inf)
    same = (_close(found, best, tolerance) & _close(lists.scores, best, tolerance)).all(axis=1)
    own = np.take_along_axis(scores, np.maximum(rows, 0), axis=1)
    return same, float(np.abs(own - lists.scores, where=there, out=np.zeros_like(own)).max(initial=0))


def explain(report: Report, beyond: Sequence[str]) -> str:
    """What the report comes to, in a sentence or two; `beyond` is what the servable has beside its vectors."""
    whole, alone = report.servable, report.towers
    asked = f"{report.users:,} users, the best {report.k}"
    text = f"{asked}: the vectors give {_told('the model', whole)}"
    if whole.equal == 1 == alone.equal:
        return text
    if beyond:
        text += f", for the model has more than vectors: {'; '.join(_WHY.get(name, name) for name in beyond)}"
    return f"{text}. They give {_told('the towers alone', alone)}"


def _told(whose: str, agreement: Agreement) -> str:
    share = np.floor(1_000 * agreement.equal) / 10  # nothing is rounded up to all
    return f"{share:g} % of the lists of {whose} (largest difference of a score {agreement.largest_difference:.2g})"


def _close(one: np.ndarray, other: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
    """Which [B, k] are equal, infinities too, or differ by no more than the rows' tolerance [B]."""
    with np.errstate(invalid="ignore"):
        return (one == other) | (np.abs(one - other) <= tolerance[:, np.newaxis])


def _whole(batches: Iterator[Vectors], count: int) -> Vectors:
    """All batches, of which there is one at least, in one of `count` rows."""
    whole = Vectors([], np.empty(0), None)
    for batch in batches:
        if not whole.ids:
            bias = None if batch.bias is None else np.empty(count, np.float32)
            whole = Vectors([], np.empty((count, batch.vectors.shape[1]), np.float32), bias)
        place = slice(len(whole.ids), len(whole.ids) + len(batch.ids))
        whole.vectors[place] = batch.vectors
        if whole.bias is not None:
            whole.bias[place] = batch.bias
        whole.ids.extend(batch.ids)
    return whole


def _chosen(batches: Iterator[Vectors], chosen: np.ndarray, size: int) -> Iterator[Vectors]:
    """The rows `chosen`, ascending, at most `size` at a time."""
    start = 0
    for batch in batches:
        own = chosen[(chosen >= start) & (chosen < start + len(batch.ids))] - start
        for first in range(0, len(own), size):
            rows = own[first : first + size]
            yield Vectors([batch.ids[row] for row in rows], np.asarray(batch.vectors[rows]), None)
        start += len(batch.ids)
