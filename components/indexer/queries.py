"""From a request to a query: who asks, what they had, and what the towers make of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from components.indexer.compact import Table
from components.indexer.gather import Stored
from components.indexer.index import Index
from components.indexer.items import Items
from components.indexer.linear import Linear
from components.indexer.lookup import line_numbers
from components.indexer.ranking import Asked
from components.indexer.settings import IndexerSettings
from components.indexer.tasks import Tasks
from serving import contract


class Had(NamedTuple):
    """Rows among all items that B users had, int64, -1 for padding: each [B, any number]."""

    requested: tf.Tensor
    """The request's history."""
    stored: tf.Tensor
    """The stored one, all of its items."""
    excluded: tf.Tensor | None
    """The items of the types of events that are left out; None where it doesn't go by types."""
    rejected: tf.Tensor | None
    """What the user rejected; None where the log has no negative events."""


class Basis(NamedTuple):
    """What the queries of B requests are made of."""

    source: tf.Tensor
    """[B] string."""
    had: Had
    rows: tf.Tensor
    """[B, H] int64, rows of the history's items among all, newest first; -1 for padding and for what is no item."""
    items: tf.Tensor
    """[B, H, D] float32, what these are embedded as."""
    trained: tf.Tensor
    """[B, H] bool, which of them training saw."""
    users: tf.Tensor
    """[B, D] float32, what the users' ids add."""
    contexts: tf.Tensor
    """[B, 2] string, serialized Examples: what is stored and what the request brings."""
    personal: tf.Tensor
    """[B] bool; who is not gets what is popular."""
    shares: tuple[tf.Tensor, ...]
    """What each task counts, [B, T] float32; of a model without tasks nothing."""


class Queries(tf.Module):
    """The U users, their stored histories and features, and the query part of the towers.

    Args:
        query_part: Of the Trainer's SavedModel, loaded.
        max_history: The most items of a history that the query part takes.
        index: The users, and what items are in a history.
        file: Text file with the users' ids, one a line, in the order of `index`.
        items: The items.
        settings: `cold_start`, `exclude` and `compact`.
        tasks: Those of the towers.
    """

    def __init__(
        self,
        query_part: Any,
        max_history: int,
        index: Index,
        file: str,
        items: Items,
        settings: IndexerSettings,
        tasks: Tasks,
    ) -> None:
        super().__init__()
        self._tasks = tasks
        self._query_part = query_part
        self._max_history = max_history
        self._items = items
        self.users = line_numbers(file)
        self._num_users = len(index.user_ids)
        self._history_items = Table(index.history_embedding, settings.compact, "history_items")
        self._history_known = tf.Variable(index.history_known, trainable=False, name="history_known")
        self._linear = Linear(index.linear, items.num_rows, settings.compact)
        self._dim = index.embedding.shape[1]
        self._user_embeddings = None
        if len(index.user_embedding):
            # The last row is of a user who is not known.
            self._user_embeddings = Table(np.pad(index.user_embedding, [[0, 1], [0, 0]]), settings.compact, "users")
        self._history = Lists(Stored(index.history_values, index.history_splits), contract.STORED_SPLITS)
        self._exclude = settings.exclude
        self._excluded = None if index.excluded is None else Lists(index.excluded, contract.EXCLUDED_SPLITS)
        self._rejected = None if index.rejected is None else Lists(index.rejected, contract.REJECTED_SPLITS)
        # The last row is of a user who is not known.
        contexts = [*index.user_context.tolist(), b""]
        self._user_context = tf.Variable(contexts, trainable=False, name="user_context", dtype=tf.string)
        self._cold_start = settings.cold_start

    def ask(
        self, user_id: tf.Tensor, history: tf.Tensor, context: tf.Tensor, shares: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, Had, Asked]:
        """Sources of the answers [B], what the users had, and who asks.

        Args:
            user_id: [B] string.
            history: [B, H] string, newest first.
            context: [B] string, serialized tf.Examples or empty.
            shares: [B, T], what each task counts; None for what it does by default, and for a model without tasks.
        """
        basis = self.basis(user_id, history, context, shares)
        query = self._query_part.combine(basis.items, basis.trained, basis.users, basis.contexts, *basis.shares)
        query = tf.where(basis.personal[:, tf.newaxis], query, 0.0)
        votes = self._linear.votes(basis.rows)
        return basis.source, basis.had, Asked(query, basis.items, basis.trained, basis.personal, votes)

    def left_out(self, had: Had, wish: tf.Tensor | None = None) -> tf.Tensor:
        """Rows among all items [B, S] int64 of those that an answer is without, -1 for padding.

        Args:
            had: What the users had.
            wish: [B] string, what each request says of it, see `contract.LEAVE_OUT`; None for what is configured.
        """
        everything = [had.requested, had.stored]
        by_types = [] if had.excluded is None else [had.excluded]
        always = [] if had.rejected is None else [had.rejected]
        if wish is None:
            configured = everything if self._exclude == contract.ALL else by_types
            return tf.concat([*configured, *always, tf.zeros_like(had.stored[:, :0])], axis=1)
        is_all = wish == contract.ALL
        is_configured = wish == ""
        if self._exclude == contract.ALL:
            is_all |= is_configured
        return tf.concat(
            [
                *(tf.where(is_all[:, tf.newaxis], rows, -1) for rows in everything),
                *(tf.where((is_all | is_configured)[:, tf.newaxis], rows, -1) for rows in by_types),
                *always,
            ],
            axis=1,
        )

    def explain(self, basis: Basis, embedding: tf.Tensor) -> dict[str, tf.Tensor]:
        """What the products of the queries with items [B, C, D] come from, as the query part's `explain` says."""
        asked = basis.items, basis.trained, basis.users, basis.contexts, embedding
        return self._query_part.explain(*asked, *basis.shares)

    def shares(self, basis: Basis, rows: tf.Tensor) -> tf.Tensor:
        """What each item of the histories adds by its votes to the scores of items at `rows` [B, C], [B, C, H]."""
        return self._linear.shares(basis.rows, rows)

    def basis(
        self, user_id: tf.Tensor, history: tf.Tensor, context: tf.Tensor, shares: tf.Tensor | None = None
    ) -> Basis:
        """What the queries are made of; the arguments are those of `ask`."""
        requested = self._items.rows_of_all(history)
        user = self.users.lookup(user_id)
        known = user >= 0
        user_row = tf.where(known, user, self._num_users)
        stored = self._history.rows(user_row)
        has_request = tf.reduce_any(requested >= 0, axis=1)
        # An item that nobody knows takes its place in a history, padding doesn't.
        listed = tf.ragged.boolean_mask(requested, history != "").to_tensor(-1)[:, : self._max_history]
        latest = stored[:, : self._max_history]
        width = tf.maximum(tf.shape(listed)[1], tf.shape(latest)[1])
        chosen = tf.where(has_request[:, tf.newaxis], _widen(listed, width), _widen(latest, width))
        rows = tf.maximum(chosen, 0)
        items, trained = self._history_items.gather(rows), (chosen >= 0) & tf.gather(self._history_known, rows)
        users = tf.zeros([tf.size(user), self._dim])
        if self._user_embeddings is not None:
            users = self._user_embeddings.gather(user_row)

        # What the request says of a feature counts more than what is stored.
        contexts = tf.stack([tf.gather(self._user_context, user_row), context], axis=1)
        personal = tf.ones_like(known) if self._cold_start == "model" else known | has_request
        source = tf.where(known, "user", tf.where(has_request, "history", "popular"))
        excluded, rejected = (
            None if lists is None else lists.rows(user_row) for lists in (self._excluded, self._rejected)
        )
        had = Had(requested, stored, excluded, rejected)
        given: tuple[tf.Tensor, ...] = ()
        if len(self._tasks):
            given = (self._tasks.default(user_id) if shares is None else shares,)
        return Basis(source, had, chosen, items, trained, users, contexts, personal, given)


class Lists(tf.Module):
    """Lists of rows, as many as there are users or items, and after the last an empty one.

    Args:
        stored: The lists.
        splits_name: Of the variable that says where each begins.
    """

    def __init__(self, stored: Stored, splits_name: str) -> None:
        super().__init__()
        # A gather needs one row at least; no list has the row of an empty table.
        values = stored.values if len(stored.values) else np.zeros(1, np.int32)
        self._values = tf.Variable(values, trainable=False, name=splits_name.replace("splits", "values"))
        self._splits = tf.Variable(np.append(stored.splits, stored.splits[-1]), trainable=False, name=splits_name)

    def rows(self, at: tf.Tensor) -> tf.Tensor:
        """The lists [B, S] int64 at places [B], padded with -1."""
        start = tf.gather(self._splits, at)
        length = tf.gather(self._splits, at + 1) - start
        place = tf.range(tf.reduce_max(tf.concat([length, [0]], axis=0)))
        present = place < length[:, tf.newaxis]
        rows = tf.gather(self._values, tf.where(present, start[:, tf.newaxis] + place, 0))
        return tf.where(present, tf.cast(rows, tf.int64), -1)

    def cells(self, at: tf.Tensor) -> tf.Tensor:
        """The same lists without padding: [V, 2] int64, from 0 to B - 1 whose, and what."""
        place = tf.ragged.range(tf.gather(self._splits, at), tf.gather(self._splits, at + 1))
        return tf.stack([place.value_rowids(), tf.cast(tf.gather(self._values, place.values), tf.int64)], axis=1)


def _widen(values: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Rows [B, W] to [B, width] with -1 on the right."""
    return tf.pad(values, [[0, 0], [0, width - tf.shape(values)[1]]], constant_values=-1)
