"""The users inside the graph: whom an item is for, and who is like whom.

A score tells what comes before what for one user. To set users beside each other it must mean the same for all of
them, which a product doesn't: whoever has a long query vector has high scores for much. So an audience goes by
log p(item | user) = s(user, item) - log sum_j exp s(user, j), j over all items. That is what the towers are fitted to,
a softmax over the items, corrected for how they were sampled (Yi et al., RecSys 2019, see `pipeline.model.losses`); and
to normalise over the side that is not being ranked is the remedy of Smith et al., "Offline bilingual word vectors,
orthogonal transformations and the inverted softmax", ICLR 2017, against vectors that are near to everything.
docs/quality.md has it beside plain scores, z-scores and ranks.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from components.indexer.attributes import Attributes
from components.indexer.gather import Stored
from components.indexer.index import Index
from components.indexer.items import Items
from components.indexer.lookup import line_numbers, lines
from components.indexer.queries import Lists, Queries
from components.indexer.rules import Request, Rules
from components.indexer.settings import Compact
from components.indexer.top_k import TopK
from components.indexer.vectors import Vectors
from components.progress import progress
from serving import contract

_SCORES = 1 << 24
"""Scores that are in memory at a time as the users' vectors are made: 64 MiB."""
_MOST_USERS = 512
_FILTERS = "features of users in model.query_features"


class Audience(tf.Module):
    """The U users by the vectors that the query tower makes of their stored histories, ids and features.

    Args:
        index: Whose users they are, and who had what.
        items: The items.
        queries: What makes the vectors.
        attributes: What users can be filtered by.
        files: Text files with the ids (`users`) and the attributes' conditions (`user_conditions`), one a line.
        compact: How the vectors are stored.
    """

    def __init__(
        self,
        index: Index,
        items: Items,
        queries: Queries,
        attributes: Attributes,
        files: Mapping[str, str],
        compact: Compact,
    ) -> None:
        super().__init__()
        self._items = items
        vectors, log_partition = user_vectors(queries, items, index.user_ids)
        # One product with [embedding, 1] gives the scores, less the item's bias.
        columns = -log_partition[:, np.newaxis]
        self._users = Vectors(queries.users, lines(files["users"]), vectors, columns, compact, "audience")
        self._rules = Rules(attributes, line_numbers(files["user_conditions"]), self._users.num_rows, _FILTERS)
        self._top_k = TopK(self._users, 0)
        self.max_k = self._top_k.max_k
        owners = owners_of(Stored(index.history_values, index.history_splits), len(index.item_ids))
        self._owners = Lists(owners, "owners_splits")
        self._rejecters = None
        if index.rejected is not None:
            self._rejecters = Lists(owners_of(index.rejected, len(index.item_ids)), "rejecters_splits")

    def of(
        self,
        item_id: tf.Tensor,
        exclude: tf.Tensor,
        exclude_owners: tf.Tensor,
        k: tf.Tensor,
        allow: tf.Tensor | None = None,
        conditions: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """The k users with the highest log p(item | user): `user_ids` and `scores` [B, k], `known` [B].

        Args:
            item_id: [B] string.
            exclude: [B, E] string, ids of users.
            exclude_owners: [B] bool, whether those who had the item are left out too.
            k: [] int32.
            allow: [B, A] string, ids of the only users that may come, if there are any.
            conditions: [B, F] string, what all users must fulfil, see `components.indexer.rules`; as `allow` or None.
        """
        row = self._items.rows(item_id)
        known, rows = row >= 0, tf.maximum(row, 0)
        with_one = tf.pad(self._items.table.gather(rows), [[0, 0], [0, 1]], constant_values=1.0)
        scores = self._users.table.products(with_one) + self._items.biases(rows)[:, tf.newaxis]
        scores = tf.where(known[:, tf.newaxis], scores, -np.inf)
        scores = _without(scores, self._owners, tf.where(known & exclude_owners, rows, self._items.count))
        if self._rejecters is not None:
            scores = _without(scores, self._rejecters, rows)
        if allow is not None:
            none = tf.fill([tf.size(row), 0], "")
            request = Request(allow, conditions, none, tf.zeros(tf.shape(none)), tf.zeros(tf.shape(row)))
            scores = self._rules.apply(scores, self._rules.checked(request), self._users.rows(allow))
        return self._answer(scores, self._users.rows(exclude), k, known)

    def similar(self, user_id: tf.Tensor, exclude: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
        """The k users whose vectors point most nearly the same way (cosine) as those of users [B], but for these and
        the users `exclude` [B, E]: `user_ids` and `scores` [B, k], `known` [B]."""
        row = self._users.rows(user_id)
        known = row >= 0
        scores = tf.where(known[:, tf.newaxis], self._users.cosines(tf.maximum(row, 0)), -np.inf)
        return self._answer(scores, tf.concat([row[:, tf.newaxis], self._users.rows(exclude)], axis=1), k, known)

    def _answer(self, scores: tf.Tensor, excluded: tf.Tensor, k: tf.Tensor, known: tf.Tensor) -> dict[str, tf.Tensor]:
        user_ids, scores = self._top_k.top_k(scores, excluded, self._top_k.checked_k(k))
        return {contract.USER_IDS: user_ids, contract.SCORES: scores, contract.KNOWN: known}


def _without(scores: tf.Tensor, users: Lists, item: tf.Tensor) -> tf.Tensor:
    """Scores [B, R], -inf for those users whom the lists have for items at rows [B]."""
    cells = users.cells(item)
    return tf.tensor_scatter_nd_update(scores, cells, tf.fill([tf.shape(cells)[0]], -np.inf))


def user_vectors(queries: Queries, items: Items, user_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Asks as `recommend` does for users by their ids alone, and scores all items by the towers.

    Args:
        queries: The users.
        items: The items.
        user_ids: [U] bytes.

    Returns:
        Query vectors [U, D] and the logarithms of the sums of exp(score) over all items [U], float32.
    """

    def ask(user_id: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        nothing = tf.fill(tf.shape(user_id), "")
        _, _, asked = queries.ask(user_id, nothing[:, tf.newaxis], nothing)
        # The towers' scores alone, whatever else `recommend` adds for one user.
        one = tf.ones([tf.size(user_id), 1])
        scores = items.table.products(tf.concat([asked.query, one, tf.zeros_like(one)], axis=1))
        return asked.query, tf.reduce_logsumexp(scores[:, : items.count], axis=1)

    traced = tf.function(ask, [tf.TensorSpec([None], tf.string)], autograph=False)
    size = max(1, min(_MOST_USERS, _SCORES // items.num_rows))
    found = [(np.zeros([0, items.dim], np.float32), np.zeros(0, np.float32))]
    for start in range(0, len(user_ids), size):
        vectors, log_partition = traced(tf.constant(user_ids[start : start + size].tolist(), tf.string))
        found.append((vectors.numpy(), log_partition.numpy()))
        if start // size % 100 == 99:
            progress(f"{start:,} of {len(user_ids):,} users have their vectors")
    vectors, log_partition = (np.concatenate(parts) for parts in zip(*found))
    return vectors, log_partition


def owners_of(stored: Stored, num_items: int) -> Stored:
    """Turns lists of items of U users round: lists of the rows of users of `num_items` items."""
    whose = np.repeat(np.arange(len(stored.splits) - 1, dtype=np.int32), np.diff(stored.splits))
    counts = np.bincount(stored.values, minlength=num_items)
    splits = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Stored(whose[np.argsort(stored.values, kind="stable")], splits)
