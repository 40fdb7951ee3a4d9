"""Asks the models and the baselines the same queries, and keeps of the answers what metrics need."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from scipy import sparse

from components.closed_forms.histories import Ragged
from components.evaluator import baselines
from components.evaluator.baselines.base import Baseline
from components.evaluator.baselines.popularity import Popularity
from components.evaluator.items import load_items
from components.evaluator.servable import Servable, excluded_features
from components.examples import reading
from components.examples.interactions import EXCLUDED, REJECTED
from components.metrics.history_overlap import categories_of
from components.metrics.ranks import label_ranks
from components.progress import progress
from serving import contract

QUERY_FEATURES: reading.Features = dict.fromkeys(
    ("user_id", "item_id", "user_type", "history", "seen", EXCLUDED, REJECTED), bytes
)
_UNKNOWN = -2
"""Row of a relevant item that no answer can have; -1 is the padding of answers."""


@dataclasses.dataclass(frozen=True)
class JudgedModel:
    """A model that takes part in the evaluation."""

    path: str
    """Directory of the SavedModel."""
    depth: int
    """How many items it is asked for."""


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a model answered to B queries."""

    ranks: np.ndarray
    """[B] int64, of the relevant items, from 0; the depth of the evaluation, or more, where it was missed."""
    rows: np.ndarray
    """[B, K] int32, the first recommended items; -1 for padding and for what is no item of the catalogue."""
    left_out: np.ndarray
    """[B] bool, whether the relevant item is one that no answer can hold, because the user had it; the same for every
    model."""
    past: sparse.csr_array | None
    """[B, F] ones for the categories of what the user had, the same for every model; None where items have none."""

    def take(self, queries: np.ndarray) -> Answers:
        """Returns the answers to some of the queries, by their numbers."""
        past = None if self.past is None else self.past[queries]
        return Answers(self.ranks[queries], self.rows[queries], self.left_out[queries], past)


class Models:
    """The models and baselines, loaded, and the items that they recommend."""

    def __init__(self, models: Mapping[str, JudgedModel], fitted: str, depth: int, kept: int, exclude: str | list[str]):
        """Loads them.

        Args:
            models: name to model.
            fitted: directory with the saved items and baselines.
            depth: how many items the baselines answer with.
            kept: how many recommended items are kept of each answer (K).
            exclude: what the baselines leave out of their answers: what the candidate does, see `serving.exclude`.
        """
        self.items = load_items(fitted)
        self._baselines = baselines.load(fitted)
        self._servables = {name: Servable(model.path, model.depth) for name, model in models.items()}
        self._depth = depth
        self._kept = kept
        self._exclude = exclude
        self._asked = 0

    def ask(self, batch: reading.Columns, size: int) -> dict[str, Answers]:
        """Asks all of them.

        Args:
            batch: queries with the `QUERY_FEATURES` and the features of the context.
            size: how many queries go into one request.

        Returns:
            The answers by model and baseline.
        """
        requests = [self._ask(batch.slice(start, size)) for start in range(0, batch.num_rows, size)]
        self._asked += batch.num_rows
        progress(f"{self._asked:,} queries answered")
        past = [next(iter(answers.values())).past for answers in requests]
        categories = None if past[0] is None else sparse.vstack(past, format="csr")
        return {
            name: Answers(
                np.concatenate([answers[name].ranks for answers in requests]),
                np.concatenate([answers[name].rows for answers in requests]),
                np.concatenate([answers[name].left_out for answers in requests]),
                categories,
            )
            for name in requests[0]
        }

    def _ask(self, batch: reading.Columns) -> dict[str, Answers]:
        labels = reading.scalars(batch, "item_id")
        past, features = self._items_of(batch, ["history", "seen"]), self.items.features
        names = excluded_features(self._exclude, batch)
        excluded = self._items_of(batch, ["history", *names] if self._exclude == contract.ALL else names)
        left_out = _any_of(batch, labels, names if self._exclude != contract.ALL else ["history", *names])
        categories = None
        if features is not None:
            categories = categories_of(past[0], _row_numbers(past[1]), batch.num_rows, features)
        answers = {}
        for name, servable in self._servables.items():
            ids = servable.answer(batch)
            ranks = label_ranks(ids, labels)
            ranks[ranks == ids.shape[1]] = self._depth  # the model may answer fewer items than are asked of others
            answers[name] = Answers(ranks, self.items.rows(ids[:, : self._kept]), left_out, categories)

        label_rows = self.items.rows(labels)
        label_rows[label_rows < 0] = _UNKNOWN
        for name, baseline in self._baselines.items():
            rows = answer(baseline, past, excluded, self._depth)
            answers[name] = Answers(label_ranks(rows, label_rows), rows[:, : self._kept], left_out, categories)
        return answers

    def _items_of(self, batch: reading.Columns, names: Sequence[str]) -> Ragged:
        """The items of features of each query, as the baselines want them, in the features' order: what a user had,
        newest first, is `history` and `seen`, which goes further back."""
        columns = [reading.ragged(batch, name) for name in names]
        query = np.concatenate([np.zeros(0, np.int64), *(_row_numbers(offsets) for _, offsets in columns)])
        rows = np.concatenate([np.zeros(0, np.int32), *(self.items.rows(values) for values, _ in columns)])
        return distinct(query, rows, batch.num_rows, self.items.num_trained)


def _any_of(batch: reading.Columns, labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Which of labels [B] is in one of the features of its query, bool [B]."""
    found = np.zeros(len(labels), bool)
    for name in names:
        values, offsets = reading.ragged(batch, name)
        query = _row_numbers(offsets)
        found[query[values == labels[query]]] = True
    return found


def answer(baseline: Baseline, past: Ragged, excluded: Ragged, depth: int) -> np.ndarray:
    """Returns the baseline's best items for B histories, [B, depth] int32 rows, best first; padding is -1.

    Args:
        baseline: whom to ask.
        past: the histories: distinct rows of items, newest first.
        excluded: distinct rows of the items that are left out of each answer.
        depth: how many items are wanted.
    """
    values, offsets = excluded
    query = _row_numbers(offsets)
    if isinstance(baseline, Popularity):
        return _alike(baseline.popularity, query, values, len(offsets) - 1, depth)
    scores = baseline.scores(past)
    scores[query, values] = -np.inf
    # Of equal scores TensorFlow takes the smaller row, which is the more popular item.
    best, rows = (part.numpy() for part in tf.math.top_k(scores, min(depth, scores.shape[1])))
    rows = np.where(np.isneginf(best), -1, rows)
    return np.pad(rows, [(0, 0), (0, depth - rows.shape[1])], constant_values=-1)


def _alike(scores: np.ndarray, query: np.ndarray, values: np.ndarray, count: int, depth: int) -> np.ndarray:
    """Returns what `answer` does where scores [N] are the same for all queries: no matrix of them is needed."""
    most = int(np.bincount(query, minlength=1).max(initial=0))
    best = tf.math.top_k(scores, min(depth + most, len(scores))).indices.numpy()
    place = np.full(len(scores), -1, np.int32)
    place[best] = np.arange(len(best))
    left_out = np.zeros((count, len(best)), bool)
    among = place[values] >= 0
    left_out[query[among], place[values[among]]] = True
    first = np.argsort(left_out, axis=1, kind="stable")[:, :depth]
    rows = np.where(np.take_along_axis(left_out, first, axis=1), -1, best[first])
    return np.pad(rows, [(0, 0), (0, depth - rows.shape[1])], constant_values=-1)


def distinct(query: np.ndarray, rows: np.ndarray, num_queries: int, num_items: int) -> Ragged:
    """Gathers each query's items, each once, where it comes first.

    Args:
        query: [V] int, from 0 to `num_queries` - 1: whose item it is.
        rows: [V] int rows of items; those outside 0 to `num_items` - 1 are left out.
        num_queries: B.
        num_items: N.

    Returns:
        Rows of all queries one after the other, and offsets [B + 1].
    """
    known = np.flatnonzero((rows >= 0) & (rows < num_items))
    _, first = np.unique(query[known] * num_items + rows[known], return_index=True)
    kept = known[first]
    kept = kept[np.lexsort((kept, query[kept]))]
    counts = np.bincount(query[kept], minlength=num_queries)
    return rows[kept], np.concatenate([[0], np.cumsum(counts)])


def _row_numbers(offsets: np.ndarray) -> np.ndarray:
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
