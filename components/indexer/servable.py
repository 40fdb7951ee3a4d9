"""The servable: exact top-k over the catalogue, with exclusions, in native ops.

Every signature of the serving contract (docs/architecture.md) is a method of `Servable`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from components.indexer.settings import IndexerSettings

MINIMUM_MAX_K = 1_000
"""Every servable takes a k of up to this, or of up to its number of items."""
_BLOCK = 128
_BLOCKS_FROM = 8_192
"""From so many items on the best are looked for in blocks, see `_best`."""


@dataclass(frozen=True)
class Index:
    """What the towers and the data come to: N items and U users as arrays."""

    item_ids: np.ndarray
    """[N] bytes, unique."""
    display: np.ndarray
    """[N] bytes."""
    embedding: np.ndarray
    """[N, D] float32."""
    bias: np.ndarray
    """[N] float32."""
    popularity: np.ndarray
    """[N] float32, training events of each item."""
    user_ids: np.ndarray
    """[U] bytes, unique: users of the training events."""
    user_context: np.ndarray
    """[U] bytes: serialized Examples of the users' features, as of their newest training event."""
    history_values: np.ndarray
    """[V] int32, rows of items: all users' stored histories, one after the other, newest first."""
    history_splits: np.ndarray
    """[U + 1] int64: user u's history is `history_values[history_splits[u]:history_splits[u + 1]]`."""

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def _strings(*shape: int | None, name: str) -> tf.TensorSpec:
    return tf.TensorSpec(shape, tf.string, name=name)


_K = tf.TensorSpec([], tf.int32, name="k")
_USERS = _strings(None, name="user_id")
_HISTORY = _strings(None, None, name="history")
_EXCLUDE = _strings(None, None, name="exclude")
_CANDIDATES = _strings(None, None, name="candidates")
_CONTEXT = _strings(None, name="context")


class Servable(tf.Module):
    """The serving contract.

    Args:
        towers: The Trainer's SavedModel, loaded; only its `query` signature is used.
        index: What it is asked about.
        item_file: A text file with the N item ids, one a line, in the order of `index`.
        user_file: The same of the U users.
        settings: `default_k` and `cold_start`.
        in_context: Whether the towers take a request's context.
    """

    def __init__(
        self,
        towers: Any,
        index: Index,
        item_file: str,
        user_file: str,
        settings: IndexerSettings,
        in_context: bool,
    ) -> None:
        super().__init__()
        self._towers = towers
        self._in_context = in_context
        self._items = _line_numbers(item_file)
        self._users = _line_numbers(user_file)
        self._item_ids = tf.Variable(index.item_ids.tolist(), trainable=False, name="item_ids", dtype=tf.string)
        self._display = tf.Variable(index.display.tolist(), trainable=False, name="display", dtype=tf.string)
        self._num_items = len(index.item_ids)
        self._num_rows = self._num_items
        if self._num_items >= _BLOCKS_FROM:
            self._num_rows += -self._num_items % _BLOCK  # rows of no item, which `_top_k` leaves out
        # One product with [embedding, 1, 0] gives the scores, one with [0, 0, 1] the popularity.
        table = np.concatenate([index.embedding, index.bias[:, np.newaxis], index.popularity[:, np.newaxis]], axis=1)
        table = np.pad(table, [[0, self._num_rows - self._num_items], [0, 0]])
        self._table = tf.Variable(table, trainable=False, name="items")
        length = np.maximum(np.linalg.norm(table[:, :-2], axis=1), 1e-12)
        self._inverse_length = tf.Variable(1 / length, trainable=False, name="inverse_length")
        # A gather needs one row at least; no user has the row of an empty table.
        self._history_values = tf.Variable(
            index.history_values if len(index.history_values) else np.zeros(1, np.int32),
            trainable=False,
            name="history_values",
        )
        self._history_splits = tf.Variable(
            np.append(index.history_splits, index.history_splits[-1]), trainable=False, name="history_splits"
        )
        # The last row is of a user who is not known.
        contexts = [*index.user_context.tolist(), b""]
        self._user_context = tf.Variable(contexts, trainable=False, name="user_context", dtype=tf.string)
        self._num_users = len(index.user_ids)
        self._default_k = settings.default_k
        self._cold_start = settings.cold_start
        self.max_k = max(self._num_items, MINIMUM_MAX_K)

    @tf.function(input_signature=[_USERS, _HISTORY, _EXCLUDE, _K], autograph=False)
    def recommend(
        self, user_id: tf.Tensor, history: tf.Tensor, exclude: tf.Tensor, k: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """The k best items for each user, best first: `item_ids`, `scores` [B, k] and `source` [B]."""
        return self._recommend(user_id, history, exclude, tf.fill(tf.shape(user_id), ""), self._checked(k))

    @tf.function(input_signature=[_USERS, _HISTORY, _EXCLUDE, _CONTEXT, _K], autograph=False)
    def recommend_in_context(
        self, user_id: tf.Tensor, history: tf.Tensor, exclude: tf.Tensor, context: tf.Tensor, k: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """`recommend` with what is known of the moment: `context` [B] are serialized tf.Examples."""
        return self._recommend(user_id, history, exclude, context, self._checked(k))

    def _recommend(
        self, user_id: tf.Tensor, history: tf.Tensor, exclude: tf.Tensor, context: tf.Tensor, k: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        scores, source, seen = self._score_all(user_id, history, context)
        excluded = tf.concat([seen, self._items.lookup(exclude)], axis=1)
        item_ids, scores = self._top_k(scores, excluded, k)
        return {"item_ids": item_ids, "scores": scores, "source": source}

    @tf.function(input_signature=[_strings(None, name="examples")], autograph=False)
    def recommend_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """`recommend` for requests that share a batch: one serialized tf.Example a row, each with its own k.

        They have `user_id`, `history` (newest first), `exclude`, `k` (int64) and the features of the context, all
        optional. The answer is as wide as the largest k; what is beyond a row's own k is padding. A k that `recommend`
        would refuse must not cost the other rows their answers: its row is padding, and its `source` is empty.
        """
        parsed = tf.io.parse_example(
            examples,
            {
                "user_id": tf.io.FixedLenFeature([], tf.string, default_value=""),
                "history": tf.io.VarLenFeature(tf.string),
                "exclude": tf.io.VarLenFeature(tf.string),
                "k": tf.io.FixedLenFeature([], tf.int64, default_value=self._default_k),
            },
        )
        accepted = (parsed["k"] >= 1) & (parsed["k"] <= self.max_k)
        k = tf.cast(tf.where(accepted, parsed["k"], 0), tf.int32)
        answer = self._recommend(
            parsed["user_id"],
            tf.sparse.to_dense(parsed["history"], ""),
            tf.sparse.to_dense(parsed["exclude"], ""),
            examples,
            tf.reduce_max(tf.concat([k, [0]], axis=0)),
        )
        wanted = tf.range(tf.shape(answer["scores"])[1]) < k[:, tf.newaxis]
        return {
            "item_ids": tf.where(wanted, answer["item_ids"], ""),
            "scores": tf.where(wanted, answer["scores"], -np.inf),
            "source": tf.where(accepted, answer["source"], ""),
        }

    @tf.function(input_signature=[_strings(None, name="item_id"), _EXCLUDE, _K], autograph=False)
    def similar_items(self, item_id: tf.Tensor, exclude: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
        """The k items whose embeddings point most nearly the same way (cosine), the item itself left out."""
        row = self._items.lookup(item_id)
        known = row >= 0
        start = tf.maximum(row, 0)
        # Of a variable that was once gathered from, TensorFlow copies all at each later read: gather from what is read.
        table, inverse_length = self._table.read_value(), self._inverse_length.read_value()
        embedding = tf.gather(table, start)[:, :-2] * tf.gather(inverse_length, start)[:, tf.newaxis]
        scores = tf.matmul(tf.pad(embedding, [[0, 0], [0, 2]]), table, transpose_b=True) * inverse_length
        scores = tf.where(known[:, tf.newaxis], scores, -np.inf)
        excluded = tf.concat([row[:, tf.newaxis], self._items.lookup(exclude)], axis=1)
        item_ids, scores = self._top_k(scores, excluded, self._checked(k))
        return {"item_ids": item_ids, "scores": scores, "known": known}

    @tf.function(input_signature=[_USERS, _HISTORY, _CANDIDATES], autograph=False)
    def score(self, user_id: tf.Tensor, history: tf.Tensor, candidates: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores [B, C] of the candidates as `recommend` would rank them, -inf for an item that the index lacks."""
        return self._score(user_id, history, candidates, tf.fill(tf.shape(user_id), ""))

    @tf.function(input_signature=[_USERS, _HISTORY, _CANDIDATES, _CONTEXT], autograph=False)
    def score_in_context(
        self, user_id: tf.Tensor, history: tf.Tensor, candidates: tf.Tensor, context: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """`score` with what is known of the moment: `context` [B] are serialized tf.Examples."""
        return self._score(user_id, history, candidates, context)

    def _score(
        self, user_id: tf.Tensor, history: tf.Tensor, candidates: tf.Tensor, context: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        scores, _, _ = self._score_all(user_id, history, context)
        row = self._items.lookup(candidates)
        picked = tf.gather(scores, tf.maximum(row, 0), batch_dims=1)
        return {"scores": tf.where(row >= 0, picked, -np.inf)}

    @tf.function(input_signature=[_USERS], autograph=False)
    def by_user(self, user_id: tf.Tensor) -> dict[str, tf.Tensor]:
        """`recommend` by the user's id alone, at the default k."""
        nothing = tf.fill([tf.size(user_id), 0], "")
        answer = self.recommend(user_id, nothing, nothing, tf.constant(self._default_k))
        return {name: answer[name] for name in ("item_ids", "scores")}

    @tf.function(input_signature=[_strings(None, name="examples")], autograph=False)
    def serving_default(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """`recommend` for serialized tf.Examples, at the default k.

        They have `user_id`, `history`, `seen` and the features of the context, all optional.
        """
        parsed = tf.io.parse_example(
            examples,
            {
                "user_id": tf.io.FixedLenFeature([], tf.string, default_value=""),
                "history": tf.io.VarLenFeature(tf.string),
                "seen": tf.io.VarLenFeature(tf.string),
            },
        )
        answer = self._recommend(
            parsed["user_id"],
            tf.sparse.to_dense(parsed["history"], ""),
            tf.sparse.to_dense(parsed["seen"], ""),
            examples,
            tf.constant(self._default_k),
        )
        return {name: answer[name] for name in ("item_ids", "scores")}

    @tf.function(input_signature=[_strings(None, name="item_id")], autograph=False)
    def describe(self, item_id: tf.Tensor) -> dict[str, tf.Tensor]:
        """What a person is shown of each item: `display` [B], and whether the index knows it: `known` [B]."""
        row = self._items.lookup(item_id)
        known = row >= 0
        return {"display": tf.where(known, tf.gather(self._display, tf.maximum(row, 0)), ""), "known": known}

    def signatures(self) -> dict[str, Any]:
        """The signatures by name."""
        names = ["recommend", "recommend_examples", "similar_items", "score", "by_user", "serving_default", "describe"]
        if self._in_context:
            names += ["recommend_in_context", "score_in_context"]
        return {name: getattr(self, name) for name in names}

    def _score_all(
        self, user_id: tf.Tensor, history: tf.Tensor, context: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Scores of all rows [B, R], their source [B], and rows of what was seen [B, S], -1 for padding."""
        requested = self._items.lookup(history)
        user = self._users.lookup(user_id)
        known = user >= 0
        user_row = tf.where(known, user, self._num_users)
        stored = self._stored_rows(user_row)
        has_request = tf.reduce_any(requested >= 0, axis=1)
        stored_ids = tf.where(stored >= 0, tf.gather(self._item_ids, tf.maximum(stored, 0)), "")
        width = tf.maximum(tf.shape(history)[1], tf.shape(stored_ids)[1])
        chosen = tf.where(has_request[:, tf.newaxis], _widen(history, width), _widen(stored_ids, width))

        # What the request says of a feature counts more than what is stored.
        contexts = tf.stack([tf.gather(self._user_context, user_row), context], axis=1)
        query = self._towers.signatures["query"](user_id=user_id, history=chosen, context=contexts)["embedding"]
        personal = tf.ones_like(known) if self._cold_start == "model" else known | has_request
        weight = tf.cast(personal, tf.float32)[:, tf.newaxis]
        query = tf.where(personal[:, tf.newaxis], query, 0.0)
        scores = tf.matmul(tf.concat([query, weight, 1 - weight], axis=1), self._table, transpose_b=True)
        source = tf.where(known, "user", tf.where(has_request, "history", "popular"))
        return scores, source, tf.concat([requested, stored], axis=1)

    def _stored_rows(self, user: tf.Tensor) -> tf.Tensor:
        """Stored histories [B, S] int64 of user rows [B], padded with -1; the row after the last has none."""
        start = tf.gather(self._history_splits, user)
        length = tf.gather(self._history_splits, user + 1) - start
        place = tf.range(tf.reduce_max(tf.concat([length, [0]], axis=0)))
        present = place < length[:, tf.newaxis]
        rows = tf.gather(self._history_values, tf.where(present, start[:, tf.newaxis] + place, 0))
        return tf.where(present, tf.cast(rows, tf.int64), -1)

    def _checked(self, k: tf.Tensor) -> tf.Tensor:
        """`k`, if it is one that the contract allows."""
        with tf.control_dependencies(
            [
                tf.debugging.assert_greater_equal(k, 1, "k must be at least 1"),
                tf.debugging.assert_less_equal(k, self.max_k, f"k must be at most {self.max_k}"),
            ]
        ):
            return tf.identity(k)

    def _top_k(self, scores: tf.Tensor, excluded: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Ids and scores [B, k] of the best of `scores` [B, R] without the rows `excluded` [B, X], -1 for none."""
        if self._num_rows > self._num_items:
            spare = tf.range(self._num_items, self._num_rows, dtype=tf.int64)[tf.newaxis]
            excluded = tf.concat([excluded, tf.repeat(spare, tf.shape(scores)[0], axis=0)], axis=1)
        count = tf.minimum(k, self._num_items)
        place = tf.where(excluded >= 0)
        cells = tf.stack([place[:, 0], tf.gather_nd(excluded, place)], axis=1)
        scores = tf.tensor_scatter_nd_update(scores, cells, tf.fill([tf.shape(cells)[0]], -np.inf))
        scores, rows = _best(scores, count) if self._num_items >= _BLOCKS_FROM else tf.math.top_k(scores, count)
        item_ids = tf.where(tf.math.is_inf(scores), "", tf.gather(self._item_ids, rows))
        padding = [[0, 0], [0, k - count]]
        return tf.pad(item_ids, padding, constant_values=""), tf.pad(scores, padding, constant_values=-np.inf)


def _best(scores: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`tf.math.top_k` of `scores` [B, R], R a multiple of `_BLOCK`, in a fraction of its time.

    The `count` best lie in the `count` blocks with the highest maxima, also where scores are equal: who is in another
    block has a better one, or an equal one that comes earlier, in each of these.
    """
    blocks = tf.reshape(scores, [-1, scores.shape[1] // _BLOCK, _BLOCK])
    _, best = tf.math.top_k(tf.reduce_max(blocks, axis=2), tf.minimum(count, blocks.shape[1]))
    best = tf.sort(best, axis=1)  # of equal scores the earliest counts
    scores, place = tf.math.top_k(
        tf.reshape(tf.gather(blocks, best, batch_dims=1), [tf.shape(best)[0], tf.shape(best)[1] * _BLOCK]), count
    )
    return scores, tf.gather(best, place // _BLOCK, batch_dims=1) * _BLOCK + place % _BLOCK


def _line_numbers(file: str) -> tf.lookup.StaticHashTable:
    """Text of a line to its number, -1 for any other text."""
    initializer = tf.lookup.TextFileInitializer(
        file, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
    )
    return tf.lookup.StaticHashTable(initializer, default_value=-1)


def _widen(values: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """[B, W] strings to [B, width] with padding on the right."""
    return tf.pad(values, [[0, 0], [0, width - tf.shape(values)[1]]], constant_values="")
