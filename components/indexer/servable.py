"""The servable: top-k over the catalogue, with exclusions, exact and in native ops unless ScaNN is asked for.

Every signature of the serving contract (docs/architecture.md) is a method of `Servable`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import tensorflow as tf

from components.indexer.approximate import ScannSearch
from components.indexer.compact import Table
from components.indexer.diversity import diverse
from components.indexer.index import Index
from components.indexer.lookup import _line_numbers, _lines
from components.indexer.ranking import Asked, SecondStage
from components.indexer.rules import Request, Rules
from components.indexer.settings import IndexerSettings
from components.indexer.top_k import _BLOCK, _among, _best
from serving import contract

MINIMUM_MAX_K = 1_000
"""Every servable takes a k of up to this, or of up to its number of items."""
_BLOCKS_FROM = 8_192
"""From so many items on the best are looked for in blocks, see `_best`."""
_WIDEST = 4
"""A request that needs more than one item in so many as candidates is answered by looking at all."""


def _strings(*shape: int | None, name: str) -> tf.TensorSpec:
    return tf.TensorSpec(shape, tf.string, name=name)


_K = tf.TensorSpec([], tf.int32, name=contract.K)
_USERS = _strings(None, name=contract.USER_ID)
_HISTORY = _strings(None, None, name=contract.HISTORY)
_EXCLUDE = _strings(None, None, name=contract.EXCLUDE)
_CANDIDATES = _strings(None, None, name=contract.CANDIDATES)
_CONTEXT = _strings(None, name=contract.CONTEXT)
_RULES = (
    _strings(None, None, name=contract.ALLOW),
    _strings(None, None, name=contract.FILTER),
    _strings(None, None, name=contract.BOOST),
    tf.TensorSpec([None, None], tf.float32, name=contract.BOOST_BY),
    tf.TensorSpec([None], tf.float32, name=contract.DIVERSITY),
)


class Servable(tf.Module):
    """The serving contract.

    Args:
        query_part: Of the Trainer's SavedModel, loaded; the rest of it is not exported.
        max_history: The most items of a history that the query part takes.
        index: What it is asked about.
        files: Text files with the N item ids (`items`), the U users' (`users`) and the attributes' V conditions
            (`conditions`), one a line, in the order of `index`.
        settings: `default_k`, `cold_start`, diversity and `compact`.
        in_context: Whether the towers take a request's context.
        ranking: The towers' ranking part and how many candidates it ranks, where there is a second stage.
    """

    def __init__(
        self,
        query_part: Any,
        max_history: int,
        index: Index,
        files: Mapping[str, str],
        settings: IndexerSettings,
        in_context: bool,
        ranking: tuple[Any, int] | None = None,
    ) -> None:
        super().__init__()
        self._query_part = query_part
        self._max_history = max_history
        self._in_context = in_context
        self._items = _line_numbers(files["items"])
        self._users = _line_numbers(files["users"])
        # From the same file, so that the ids are stored once.
        self._item_ids = _lines(files["items"])
        self._display = None
        if not np.array_equal(index.display, index.item_ids):
            self._display = tf.Variable(index.display.tolist(), trainable=False, name="display", dtype=tf.string)
        self._num_items = len(index.item_ids)
        self._num_rows = self._num_items
        if self._num_items >= _BLOCKS_FROM:
            self._num_rows += -self._num_items % _BLOCK  # rows of no item, which `_top_k` leaves out
        spare = [[0, self._num_rows - self._num_items], [0, 0]]
        embedding = np.pad(index.embedding, spare)
        # One product with [embedding, 1, 0] gives the scores, one with [0, 0, 1] the popularity.
        columns = np.pad(np.stack([index.bias, index.popularity], axis=1), spare)
        self._table = Table(embedding, settings.compact, "items", columns)
        self._search: Any = None
        if settings.index.type == "scann":
            with_bias = np.concatenate([index.embedding, index.bias[:, np.newaxis]], axis=1)
            self._search = ScannSearch(with_bias, settings.index)
            self._candidates = settings.index.candidates
            popular = np.argsort(-index.popularity, kind="stable").astype(np.int32)
            self._popular = tf.Variable(popular, trainable=False, name="popular")
        self._history_items = Table(index.history_embedding, settings.compact, "history_items")
        self._history_known = tf.Variable(index.history_known, trainable=False, name="history_known")
        self._user_embeddings = None
        if len(index.user_embedding):
            # The last row is of a user who is not known.
            self._user_embeddings = Table(np.pad(index.user_embedding, [[0, 1], [0, 0]]), settings.compact, "users")
        self._second_stage = SecondStage(*ranking, self._table, index.bias, index.popularity) if ranking else None
        self._dim = embedding.shape[1]
        length = np.maximum(np.linalg.norm(embedding, axis=1), 1e-12)
        # To be read as a whole and never gathered from, see `Table.gather`.
        self._inverse_length = tf.Variable(1 / length, trainable=False, name="inverse_length")
        self._cooccurrence = None
        if len(index.cooccurrence):
            self._cooccurrence = Table(np.pad(index.cooccurrence, spare), settings.compact, "cooccurrence")
        self._embedding_weight = settings.similar.embedding_weight
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
        self._rules = Rules(index.attributes, _line_numbers(files["conditions"]), self._num_rows)
        self._diversity, self._diversity_candidates = settings.diversity, settings.diversity_candidates
        self.max_k = max(self._num_items, MINIMUM_MAX_K)
        # What several signatures share is traced once, or it would be in the graph, and take its time to load, once for
        # each. Not as attributes: all of a module's functions are traced again when it is saved.
        shared = (self._ask, self._score_all, self._exact, self._top_k, self._rules.checked, self._rules.apply)
        self._shared = SimpleNamespace(
            **{function.__name__.strip("_"): tf.function(function, autograph=False) for function in shared}
        )

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

    @tf.function(input_signature=[_USERS, _HISTORY, _EXCLUDE, _CONTEXT, *_RULES, _K], autograph=False)
    def recommend_with_rules(
        self,
        user_id: tf.Tensor,
        history: tf.Tensor,
        exclude: tf.Tensor,
        context: tf.Tensor,
        allow: tf.Tensor,
        filter: tf.Tensor,
        boost: tf.Tensor,
        boost_by: tf.Tensor,
        diversity: tf.Tensor,
        k: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """`recommend` among the items that the rules leave, see `components.indexer.rules`; a context may be empty."""
        request = self._shared.checked(Request(allow, filter, boost, boost_by, diversity))
        return self._recommend(user_id, history, exclude, context, self._checked(k), request)

    def _recommend(
        self,
        user_id: tf.Tensor,
        history: tf.Tensor,
        exclude: tf.Tensor,
        context: tf.Tensor,
        k: tf.Tensor,
        request: Request | None = None,
        own_k: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """The k best for each row under its rules; a row that needs only the first `own_k` [B] says so."""
        source, seen, asked = self._shared.ask(user_id, history, context)
        excluded = tf.concat([seen, self._items.lookup(exclude)], axis=1)
        diversity = tf.fill(tf.shape(user_id), self._diversity) if self._diversity else None
        if request is not None:
            diversity = tf.where(request.diversity == contract.AS_CONFIGURED, self._diversity, request.diversity)

        def exact() -> tuple[tf.Tensor, tf.Tensor]:
            return self._shared.exact(asked, excluded, k, request, diversity, own_k)

        item_ids, scores = (
            exact() if self._search is None else self._nearly(asked, excluded, k, request, diversity, exact)
        )
        return {contract.ITEM_IDS: item_ids, contract.SCORES: scores, contract.SOURCE: source}

    def recommend_exactly(
        self, user_id: tf.Tensor, history: tf.Tensor, exclude: tf.Tensor, k: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """`recommend` by looking at all items, also where it doesn't: what an approximate index is judged by."""
        source, seen, asked = self._ask(user_id, history, tf.fill(tf.shape(user_id), ""))
        excluded = tf.concat([seen, self._items.lookup(exclude)], axis=1)
        diversity = tf.fill(tf.shape(user_id), self._diversity) if self._diversity else None
        item_ids, scores = self._exact(asked, excluded, k, None, diversity, None)
        return {contract.ITEM_IDS: item_ids, contract.SCORES: scores, contract.SOURCE: source}

    def _exact(
        self,
        asked: Asked,
        excluded: tf.Tensor,
        k: tf.Tensor,
        request: Request | None,
        diversity: tf.Tensor | None,
        own_k: tf.Tensor | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Ids and scores [B, k] of the best of all items."""
        scores = self._table.products(self._weighted(asked))
        if request is not None:
            scores = self._shared.apply(scores, request, self._items.lookup(request.allow))
        return self._shared.top_k(self._ranked(scores, excluded, asked), excluded, k, diversity, own_k)

    def _nearly(
        self,
        asked: Asked,
        excluded: tf.Tensor,
        k: tf.Tensor,
        request: Request | None,
        diversity: tf.Tensor | None,
        exact: Callable[[], tuple[tf.Tensor, tf.Tensor]],
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Ids and scores [B, k] of the best of ScaNN's candidates, or what `exact` gives.

        Rules and diversity choose from all of the catalogue, wherever their items stand, and so do requests to which
        too few candidates are left, or which need a great part of the catalogue as candidates.
        """
        wanted = k if self._second_stage is None else tf.maximum(k, self._second_stage.candidates)
        width = wanted + tf.shape(excluded)[1] + self._candidates
        plain = width * _WIDEST <= self._num_items
        if diversity is not None:
            plain &= ~tf.reduce_any(diversity > 0)
        if request is not None:
            for conditions in (request.allow, request.filter, request.boost):
                plain &= tf.reduce_all(conditions == "")

        def candidates() -> tuple[tf.Tensor, tf.Tensor]:
            return self._among_candidates(asked, excluded, k, wanted, width)

        shape = tf.stack([tf.shape(excluded)[0], k])
        scores, rows = tf.cond(plain, candidates, lambda: (tf.fill(shape, -np.inf), tf.zeros(shape, tf.int32)))
        found = tf.reduce_all(tf.math.is_finite(scores))
        return tf.cond(found, lambda: (self._item_ids.lookup(tf.cast(rows, tf.int64)), scores), exact)

    def _among_candidates(
        self, asked: Asked, excluded: tf.Tensor, k: tf.Tensor, wanted: tf.Tensor, width: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores and rows [B, k] of the best of about `width` candidates; with a second stage, of the best `wanted`."""
        one = tf.ones([tf.shape(asked.query)[0], 1])
        rows = self._search.search(tf.concat([asked.query, one], axis=1), width)
        rows = tf.pad(rows, [[0, 0], [0, width - tf.shape(rows)[1]]], constant_values=-1)
        rows = tf.where(asked.personal[:, tf.newaxis], rows, self._popular[:width])
        scores = self._table.pairs(self._weighted(asked), tf.maximum(rows, 0))
        scores = tf.where((rows < 0) | _among(rows, excluded), -np.inf, scores)
        scores, place = tf.math.top_k(scores, wanted)
        rows = tf.gather(rows, place, batch_dims=1)
        if self._second_stage is not None:
            count = self._second_stage.candidates
            places = tf.repeat(tf.range(count)[tf.newaxis], tf.shape(rows)[0], axis=0)
            scores = self._second_stage.apply(scores, scores[:, :count], rows[:, :count], asked, places)
            scores, place = tf.math.top_k(scores, k)
            rows = tf.gather(rows, place, batch_dims=1)
        return scores, rows

    @tf.function(input_signature=[_strings(None, name=contract.EXAMPLES)], autograph=False)
    def recommend_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """`recommend` for requests that share a batch: one serialized tf.Example a row, each with its own k.

        They have `user_id`, `history` (newest first), `exclude`, `k` (int64), the rules `allow`, `filter`, `boost`,
        `boost_by` (a float for each boost) and `diversity` (float), and the features of the context, all optional. The
        answer is as wide as the largest k; what is beyond a row's own k is padding. A k or a rule that would be refused
        elsewhere must not cost the other rows their answers: its row is padding, and its `source` is empty.
        """
        parsed = tf.io.parse_example(
            examples,
            {
                contract.USER_ID: tf.io.FixedLenFeature([], tf.string, default_value=""),
                contract.HISTORY: tf.io.VarLenFeature(tf.string),
                contract.EXCLUDE: tf.io.VarLenFeature(tf.string),
                contract.K: tf.io.FixedLenFeature([], tf.int64, default_value=self._default_k),
                contract.ALLOW: tf.io.VarLenFeature(tf.string),
                contract.FILTER: tf.io.VarLenFeature(tf.string),
                contract.BOOST: tf.io.RaggedFeature(tf.string),
                contract.BOOST_BY: tf.io.RaggedFeature(tf.float32),
                contract.DIVERSITY: tf.io.FixedLenFeature([], tf.float32, default_value=self._diversity),
            },
        )
        boost = parsed[contract.BOOST].to_tensor("")
        request = Request(
            tf.sparse.to_dense(parsed[contract.ALLOW], ""),
            tf.sparse.to_dense(parsed[contract.FILTER], ""),
            boost,
            parsed[contract.BOOST_BY].to_tensor(0.0, shape=tf.shape(boost)),
            parsed[contract.DIVERSITY],
        )
        accepted = (parsed[contract.K] >= 1) & (parsed[contract.K] <= self.max_k)
        accepted &= tf.equal(parsed[contract.BOOST].row_lengths(), parsed[contract.BOOST_BY].row_lengths())
        accepted &= ~self._rules.refused(request)
        k = tf.cast(tf.where(accepted, parsed[contract.K], 0), tf.int32)
        answer = self._recommend(
            parsed[contract.USER_ID],
            tf.sparse.to_dense(parsed[contract.HISTORY], ""),
            tf.sparse.to_dense(parsed[contract.EXCLUDE], ""),
            examples,
            tf.reduce_max(tf.concat([k, [0]], axis=0)),
            request,
            k,
        )
        wanted = tf.range(tf.shape(answer[contract.SCORES])[1]) < k[:, tf.newaxis]
        return {
            contract.ITEM_IDS: tf.where(wanted, answer[contract.ITEM_IDS], ""),
            contract.SCORES: tf.where(wanted, answer[contract.SCORES], -np.inf),
            contract.SOURCE: tf.where(accepted, answer[contract.SOURCE], ""),
        }

    @tf.function(input_signature=[_strings(None, name=contract.ITEM_ID), _EXCLUDE, _K], autograph=False)
    def similar_items(self, item_id: tf.Tensor, exclude: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
        """The k items that come with it most (see `components.indexer.similar`) or, with `similar.method: embedding`,
        whose embeddings point most nearly the same way (cosine); the item itself is left out."""
        return self._similar(item_id, exclude, k)

    @tf.function(input_signature=[_strings(None, name=contract.ITEM_ID), _EXCLUDE, *_RULES, _K], autograph=False)
    def similar_items_with_rules(
        self,
        item_id: tf.Tensor,
        exclude: tf.Tensor,
        allow: tf.Tensor,
        filter: tf.Tensor,
        boost: tf.Tensor,
        boost_by: tf.Tensor,
        diversity: tf.Tensor,
        k: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """`similar_items` among the items that the rules leave, see `components.indexer.rules`."""
        request = self._shared.checked(Request(allow, filter, boost, boost_by, diversity))
        return self._similar(item_id, exclude, k, request)

    def _similar(
        self, item_id: tf.Tensor, exclude: tf.Tensor, k: tf.Tensor, request: Request | None = None
    ) -> dict[str, tf.Tensor]:
        row = self._items.lookup(item_id)
        known = row >= 0
        start = tf.maximum(row, 0)
        inverse_length = self._inverse_length.read_value()
        embedding = self._table.gather(start) * tf.gather(inverse_length, start)[:, tf.newaxis]
        scores = self._table.products(tf.pad(embedding, [[0, 0], [0, 2]])) * inverse_length
        if self._cooccurrence is not None:
            scores = self._cooccurrence.products(self._cooccurrence.gather(start)) + self._embedding_weight * scores
        scores = tf.where(known[:, tf.newaxis], scores, -np.inf)
        excluded = tf.concat([row[:, tf.newaxis], self._items.lookup(exclude)], axis=1)
        if request is not None:
            scores = self._shared.apply(scores, request, self._items.lookup(request.allow))
        diversity = None if request is None else tf.maximum(request.diversity, 0.0)
        item_ids, scores = self._shared.top_k(scores, excluded, self._checked(k), diversity)
        return {contract.ITEM_IDS: item_ids, contract.SCORES: scores, contract.KNOWN: known}

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
        scores, seen, asked = self._shared.score_all(user_id, history, context)
        scores = self._ranked(scores, seen, asked)
        row = self._items.lookup(candidates)
        picked = tf.gather(scores, tf.maximum(row, 0), batch_dims=1)
        return {contract.SCORES: tf.where(row >= 0, picked, -np.inf)}

    @tf.function(input_signature=[_USERS], autograph=False)
    def by_user(self, user_id: tf.Tensor) -> dict[str, tf.Tensor]:
        """`recommend` by the user's id alone, at the default k."""
        nothing = tf.fill([tf.size(user_id), 0], "")
        answer = self.recommend(user_id, nothing, nothing, tf.constant(self._default_k))
        return {name: answer[name] for name in (contract.ITEM_IDS, contract.SCORES)}

    @tf.function(input_signature=[_strings(None, name=contract.EXAMPLES)], autograph=False)
    def serving_default(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """`recommend` for serialized tf.Examples, at the default k.

        They have `user_id`, `history`, `seen` and the features of the context, all optional.
        """
        parsed = tf.io.parse_example(
            examples,
            {
                contract.USER_ID: tf.io.FixedLenFeature([], tf.string, default_value=""),
                contract.HISTORY: tf.io.VarLenFeature(tf.string),
                "seen": tf.io.VarLenFeature(tf.string),
            },
        )
        answer = self._recommend(
            parsed[contract.USER_ID],
            tf.sparse.to_dense(parsed[contract.HISTORY], ""),
            tf.sparse.to_dense(parsed["seen"], ""),
            examples,
            tf.constant(self._default_k),
        )
        return {name: answer[name] for name in (contract.ITEM_IDS, contract.SCORES)}

    @tf.function(input_signature=[_strings(None, name=contract.ITEM_ID)], autograph=False)
    def describe(self, item_id: tf.Tensor) -> dict[str, tf.Tensor]:
        """What a person is shown of each item: `display` [B], and whether the index knows it: `known` [B]."""
        row = self._items.lookup(item_id)
        known = row >= 0
        shown = item_id if self._display is None else tf.gather(self._display, tf.maximum(row, 0))
        return {contract.DISPLAY: tf.where(known, shown, ""), contract.KNOWN: known}

    def signatures(self) -> dict[str, Any]:
        """The signatures by name."""
        names = [name for name in contract.SIGNATURES if self._in_context or name not in contract.IN_CONTEXT]
        return {name: getattr(self, name) for name in names}

    def _score_all(
        self, user_id: tf.Tensor, history: tf.Tensor, context: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, Asked]:
        """Scores of all rows [B, R], rows of what was seen [B, S], -1 for padding, and who asks."""
        _, seen, asked = self._ask(user_id, history, context)
        return self._table.products(self._weighted(asked)), seen, asked

    def _weighted(self, asked: Asked) -> tf.Tensor:
        """Queries [B, D + 2] for the columns of the items' table: embedding, bias and popularity."""
        weight = tf.cast(asked.personal, tf.float32)[:, tf.newaxis]
        return tf.concat([asked.query, weight, 1 - weight], axis=1)

    def _ask(self, user_id: tf.Tensor, history: tf.Tensor, context: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, Asked]:
        """Sources of the answers [B], rows of what was seen [B, S], -1 for padding, and who asks."""
        requested = self._items.lookup(history)
        user = self._users.lookup(user_id)
        known = user >= 0
        user_row = tf.where(known, user, self._num_users)
        stored = self._stored_rows(user_row)
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
        query = self._query_part.combine(items, trained, users, contexts)
        personal = tf.ones_like(known) if self._cold_start == "model" else known | has_request
        query = tf.where(personal[:, tf.newaxis], query, 0.0)
        source = tf.where(known, "user", tf.where(has_request, "history", "popular"))
        return source, tf.concat([requested, stored], axis=1), Asked(query, items, trained, personal)

    def _ranked(self, scores: tf.Tensor, excluded: tf.Tensor, asked: Asked) -> tf.Tensor:
        """Scores [B, R] as the second stage has them, if there is one; the rows `excluded` are no candidates."""
        if self._second_stage is None:
            return scores
        return self._second_stage.apply(
            scores, *self._best(self._left(scores, excluded), self._second_stage.candidates), asked
        )

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

    def _top_k(
        self,
        scores: tf.Tensor,
        excluded: tf.Tensor,
        k: tf.Tensor,
        diversity: tf.Tensor | None = None,
        own_k: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Ids and scores [B, k] of the best of `scores` [B, R] without the rows `excluded` [B, X], -1 for none."""
        scores = self._left(scores, excluded)
        count = tf.minimum(k, self._num_items)
        if diversity is None:
            scores, rows = self._best(scores, count)
        else:
            scores, rows = tf.cond(
                tf.reduce_any(diversity > 0),
                lambda: self._diverse(scores, count, diversity, k if own_k is None else own_k),
                lambda: self._best(scores, count),
            )
        item_ids = tf.where(tf.math.is_inf(scores), "", self._item_ids.lookup(tf.cast(rows, tf.int64)))
        padding = [[0, 0], [0, k - count]]
        return tf.pad(item_ids, padding, constant_values=""), tf.pad(scores, padding, constant_values=-np.inf)

    def _left(self, scores: tf.Tensor, excluded: tf.Tensor) -> tf.Tensor:
        """Scores [B, R] with -inf in the rows `excluded` [B, X], -1 for none, and in those of no item."""
        if self._num_rows > self._num_items:
            spare = tf.range(self._num_items, self._num_rows, dtype=tf.int64)[tf.newaxis]
            excluded = tf.concat([excluded, tf.repeat(spare, tf.shape(scores)[0], axis=0)], axis=1)
        place = tf.where(excluded >= 0)
        cells = tf.stack([place[:, 0], tf.gather_nd(excluded, place)], axis=1)
        return tf.tensor_scatter_nd_update(scores, cells, tf.fill([tf.shape(cells)[0]], -np.inf))

    def _best(self, scores: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores and rows [B, count] of the best of `scores` [B, R]."""
        return _best(scores, count) if self._num_items >= _BLOCKS_FROM else tuple(tf.math.top_k(scores, count))

    def _diverse(
        self, scores: tf.Tensor, count: tf.Tensor, diversity: tf.Tensor, own_k: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores and rows [B, count] of a diverse choice of each row's best, at least of its `own_k` ([B] or one)."""
        pool = tf.broadcast_to(tf.maximum(own_k, self._diversity_candidates), tf.shape(diversity))
        scores, rows = self._best(scores, tf.minimum(tf.reduce_max(pool), self._num_items))
        directions = self._table.gather(rows) * tf.gather(self._inverse_length.read_value(), rows)[:, :, tf.newaxis]
        places = diverse(scores, directions, diversity, pool, count)
        return tf.gather(scores, places, batch_dims=1), tf.gather(rows, places, batch_dims=1)


def _widen(values: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Rows [B, W] to [B, width] with -1 on the right."""
    return tf.pad(values, [[0, 0], [0, width - tf.shape(values)[1]]], constant_values=-1)
