"""How like the model that was judged a model is that is shipped instead of it.

It has learned from more events, so its answers differ. But figures of the one say something of the other only as long
as they are alike: a training that went wrong shows here and nowhere else, for all events have been learned from and
there are none left to judge by.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from components import versions
from components.errors import InputError
from components.examples.reading import Source, padded, ragged, read_batches
from components.servable_validator.settings import ServableValidatorSettings
from serving import contract
from serving.custom_ops import import_custom_ops

K = 10
_QUERIES = 256
"""Histories that both are asked by."""


@dataclass(frozen=True)
class Likeness:
    """What a comparison found."""

    queries: int
    overlap: float
    """Share of the judged model's answers that are the shipped one's too, beyond what chance would give: 1 for the
    same items, about 0 for any."""
    drift: float
    """How many times as far apart as the judged model's the shipped one's scores of the same items lie."""
    twice: int
    """Answers of the shipped model that have an item twice."""
    no_numbers: int
    """Those with a score that is none."""

    def failures(self, settings: ServableValidatorSettings) -> Iterator[str]:
        """What is not as it must be, a line each."""
        if self.twice:
            yield f"the shipped model has an item twice in {self.twice} of {self.queries} answers"
        if self.no_numbers:
            yield f"the shipped model has scores that are no numbers in {self.no_numbers} of {self.queries} answers"
        if self.overlap < settings.min_overlap:
            yield (
                f"the shipped model gives other answers than the judged one: {self.overlap:.2f} of the items are the "
                f"same, beyond chance, less than the {settings.min_overlap:g} of validation.min_overlap"
            )
        most = settings.max_score_drift
        if most is not None and not 1 / most <= self.drift <= most:
            yield (
                f"the shipped model's scores lie {self.drift:.2g} times as far apart as the judged one's; "
                f"validation.max_score_drift allows {most:g} times as far, or as near"
            )

    def __str__(self) -> str:
        return f"{self.overlap:.2f} of the judged model's answers, scores {self.drift:.2f} times as far apart"


def compare(shipped: str, judged: str, examples: Source) -> Likeness:
    """Asks both models by histories of the evaluation, without users, and with all of the history left out.

    Args:
        shipped: The SavedModel's directory.
        judged: Likewise.
        examples: The interactions.
    """
    histories = read_histories(examples)
    models = [_load(path) for path in (shipped, judged)]
    answers = [_recommend(model, histories) for model in models]
    ids, reference = (answer[contract.ITEM_IDS] for answer in answers)
    num_items = int(versions.describe(judged).get("num_items", 0))
    both = np.concatenate([ids, reference], axis=1)
    scores, expected = (_score(model, histories, both) for model in models)
    there = (both != b"") & (scores > contract.NO_SCORE) & (expected > contract.NO_SCORE)
    mine = answers[0][contract.SCORES]
    return Likeness(
        len(histories),
        overlap(ids, reference, num_items),
        drift(np.where(there, scores, np.nan), np.where(there, expected, np.nan)),
        int(sum(len(set(row)) < len(row) for row in ([item for item in row if item] for row in ids.tolist()))),
        int((~np.isfinite(mine)).any(axis=1).sum()),
    )


def overlap(ids: np.ndarray, reference: np.ndarray, num_items: int) -> float:
    """The share of a model's answers that are in those of another, beyond chance (as Cohen's kappa).

    Args:
        ids: [B, K] item ids, bytes; padding is the empty string.
        reference: [B, K], likewise, of the other.
        num_items: N, among which chance chooses.

    Example:
        >>> ids, reference = np.array([[b"a", b"b"]]), np.array([[b"b", b"c"]])
        >>> overlap(ids, reference, 4), overlap(ids, reference, 100)
        (0.0, 0.4897959183673469)
    """
    rows = [({*row} - {b""}, {*other} - {b""}) for row, other in zip(ids.tolist(), reference.tolist())]
    size = sum(len(other) for _, other in rows)
    common = sum(len(row & other) for row, other in rows) / size if size else 1.0
    chance = min(1.0, size / len(rows) / num_items) if size and num_items else 0.0
    return (common - chance) / (1 - chance) if chance < 1 else common


def drift(scores: np.ndarray, reference: np.ndarray) -> float:
    """How many times as far apart scores of items lie as others do, by their deviations within a query.

    Where a query's scores are as a whole says nothing: training leaves that open, and no order depends on it.

    Args:
        scores: [B, C] float32, NaN where there is none.
        reference: [B, C], likewise.

    Example:
        >>> drift(np.array([[5.0, 9.0]]), np.array([[0.0, 2.0]]))
        2.0
    """
    wide, before = (
        float(np.mean([row[~np.isnan(row)].std() for row in table if not np.isnan(row).all()] or [0.0]))
        for table in (scores, reference)
    )
    return wide / before if before else (1.0 if not wide else float("inf"))


def read_histories(examples: Source) -> np.ndarray:
    """Histories of the evaluation, evenly spread over its first that have any: [B, H] bytes, newest first, padded with
    the empty string; one that is empty where all are."""
    for batch in read_batches(examples, "eval", {"history": bytes}):
        rows = np.flatnonzero(np.diff(ragged(batch, "history")[1]))
        if rows.size:
            chosen = np.unique(np.linspace(0, len(rows) - 1, min(_QUERIES, len(rows))).astype(int))
            return padded(batch, "history")[rows[chosen]]
    return np.zeros((1, 0), object)


def _load(path: str) -> Any:
    try:
        import_custom_ops(path)
        return tf.saved_model.load(path)
    except (OSError, tf.errors.OpError) as error:
        raise InputError(f"{path}: can't be loaded to be compared: {error}") from error


def _recommend(model: Any, histories: np.ndarray) -> dict[str, np.ndarray]:
    asked = _strings(histories)
    answer = model.signatures[contract.RECOMMEND](
        user_id=tf.fill([len(histories)], ""), history=asked, exclude=asked, k=tf.constant(K)
    )
    return {name: value.numpy() for name, value in answer.items()}


def _score(model: Any, histories: np.ndarray, items: np.ndarray) -> np.ndarray:
    answer = model.signatures[contract.SCORE](
        user_id=tf.fill([len(histories)], ""), history=_strings(histories), candidates=_strings(items)
    )
    return answer[contract.SCORES].numpy()


def _strings(values: np.ndarray) -> tf.Tensor:
    return tf.constant(values, tf.string, values.shape)  # the shape, because one without elements has lost its own
