"""What is recommended, alike and how it scores: the parts of the servable put together, apart from its signatures."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import tensorflow as tf

from components.indexer.approximate import ApproximateIndex
from components.indexer.attributes import Attributes
from components.indexer.audience import Audience
from components.indexer.explaining import explanation
from components.indexer.index import Index
from components.indexer.items import Items
from components.indexer.lookup import line_numbers
from components.indexer.queries import Had, Queries
from components.indexer.ranking import Asked, SecondStage
from components.indexer.rules import Request, Rules
from components.indexer.settings import IndexerSettings
from components.indexer.similarity import Similarity
from components.indexer.tasks import Tasks
from components.indexer.top_k import TopK
from serving import contract


class Retrieval(tf.Module):
    """Answers requests by the rules of the serving contract.

    Args:
        query_part: Of the Trainer's SavedModel, loaded; the rest of it is not exported.
        max_history: The most items of a history that the query part takes.
        index: What it is asked about.
        files: Text files with the N item ids (`items`), the U users' (`users`) and the conditions of both kinds of
            attributes (`conditions`, `user_conditions`), one a line, in the order of these.
        settings: `cold_start`, diversity, `similar`, `index`, `audience` and `compact`.
        ranking: The towers' ranking part and how many candidates it ranks, where there is a second stage.
        user_attributes: What users can be filtered by.
        tasks: What each of the towers' tasks counts by default, by its name.
    """

    def __init__(
        self,
        query_part: Any,
        max_history: int,
        index: Index,
        files: Mapping[str, str],
        settings: IndexerSettings,
        ranking: tuple[Any, int] | None,
        user_attributes: Attributes = Attributes(),  # noqa: B008  # frozen
        tasks: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self.tasks = Tasks(tasks)
        self.items = Items(index, files["items"], settings.compact)
        self.rules = Rules(index.attributes, line_numbers(files["conditions"]), self.items.num_rows)
        self._queries = Queries(query_part, max_history, index, files["users"], self.items, settings, self.tasks)
        self._second_stage = SecondStage(*ranking, self.items.table, index.bias, index.popularity) if ranking else None
        self._similarity = Similarity(index, self.items, settings)
        self._top_k = TopK(self.items, settings.diversity_candidates)
        self.max_k = self._top_k.max_k
        self._diversity = settings.diversity
        self._has_linear = bool(index.linear)
        self._approximate = None
        if settings.index.type == "scann":
            self._approximate = ApproximateIndex(index, self.items, self._second_stage, settings.index)
        self.audience: Audience | None = None
        if settings.audience:
            self.audience = Audience(index, self.items, self._queries, user_attributes, files, settings.compact)
        # What several signatures share is traced once, or it would be in the graph, and take its time to load, once for
        # each. Not as attributes: all of a module's functions are traced again when it is saved.
        shared = (
            self._queries.ask,
            self.items.scores,
            self._exact,
            self._score,
            self._explain,
            self._top_k.top_k,
            self.rules.checked,
            self.rules.apply,
        )
        self._shared = SimpleNamespace(
            **{function.__name__.strip("_"): tf.function(function, autograph=False) for function in shared}
        )

    def recommend(
        self,
        user_id: tf.Tensor,
        history: tf.Tensor,
        exclude: tf.Tensor,
        context: tf.Tensor | None,
        k: tf.Tensor,
        request: Request | None = None,
        own_k: tf.Tensor | None = None,
        exactly: bool = False,
        shares: tf.Tensor | None = None,
        leave_out: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """The k best items of each row: `item_ids` and `scores` [B, k], `source` [B].

        Args:
            user_id: [B] string.
            history: [B, H] string, newest first.
            exclude: [B, E] string.
            context: [B] string, serialized tf.Examples; None for nothing known of the moment.
            k: [] int32.
            request: Rules, none of which is refused.
            own_k: [B] int32, for a row that needs only its first ones.
            exactly: Whether all items are looked at though there is an approximate index.
            shares: [B, T] float32, what each task counts, of 1 in all; None for what it does by default.
            leave_out: [B] string, none of which is refused, see `contract.LEAVE_OUT`; None for what is configured.
        """
        source, had, asked = self._shared.ask(user_id, history, *self._about(user_id, context, shares))
        excluded = tf.concat([self._left_out(had, leave_out), self.items.rows(exclude)], axis=1)
        diversity = tf.fill(tf.shape(user_id), self._diversity) if self._diversity else None
        if request is not None:
            diversity = tf.where(request.diversity == contract.AS_CONFIGURED, self._diversity, request.diversity)

        def exact() -> tuple[tf.Tensor, tf.Tensor]:
            return self._shared.exact(asked, excluded, k, request, diversity, own_k)

        if self._approximate is None or exactly:
            item_ids, scores = exact()
        else:
            item_ids, scores = self._approximate.top_k(asked, excluded, k, request, diversity, exact)
        return {contract.ITEM_IDS: item_ids, contract.SCORES: scores, contract.SOURCE: source}

    def similar(
        self, item_id: tf.Tensor, exclude: tf.Tensor, k: tf.Tensor, request: Request | None = None
    ) -> dict[str, tf.Tensor]:
        """The k items that are most like items [B] but for these: `item_ids` and `scores` [B, k], `known` [B]."""
        row = self.items.rows(item_id)
        known = row >= 0
        scores = tf.where(known[:, tf.newaxis], self._similarity.scores(tf.maximum(row, 0)), -np.inf)
        excluded = tf.concat([row[:, tf.newaxis], self.items.rows(exclude)], axis=1)
        diversity = None
        if request is not None:
            scores = self._shared.apply(scores, request, self.items.rows(request.allow))
            diversity = tf.maximum(request.diversity, 0.0)
        item_ids, scores = self._shared.top_k(scores, excluded, k, diversity)
        return {contract.ITEM_IDS: item_ids, contract.SCORES: scores, contract.KNOWN: known}

    def score(
        self, user_id: tf.Tensor, history: tf.Tensor, candidates: tf.Tensor, context: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Scores [B, C] of the candidates as `recommend` would rank them, -inf for an item that the index lacks."""
        about = self._about(user_id, context)
        return {contract.SCORES: self._shared.score(user_id, history, candidates, *about)}

    def retrieve(
        self, user_id: tf.Tensor, history: tf.Tensor, exclude: tf.Tensor, context: tf.Tensor, k: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """`recommend` by the vectors of the towers alone and without a rule: all of the other parts left out."""
        source, had, asked = self._shared.ask(user_id, history, *self._about(user_id, context))
        excluded = tf.concat([self._left_out(had), self.items.rows(exclude)], axis=1)
        item_ids, scores = self._shared.top_k(self.items.scores(asked._replace(votes={})), excluded, k)
        return {contract.ITEM_IDS: item_ids, contract.SCORES: scores, contract.SOURCE: source}

    def embed_items(self, item_id: tf.Tensor) -> dict[str, tf.Tensor]:
        """Vectors [N, D] and biases [N] of items [N], 0 for those that the index lacks, and which it has [N]."""
        row = self.items.rows(item_id)
        known, row = row >= 0, tf.maximum(row, 0)
        return {
            contract.EMBEDDING: tf.where(known[:, tf.newaxis], self.items.table.gather(row), 0.0),
            contract.BIAS: tf.where(known, self.items.biases(row), 0.0),
            contract.KNOWN: known,
        }

    def embed_queries(self, user_id: tf.Tensor, history: tf.Tensor, context: tf.Tensor) -> dict[str, tf.Tensor]:
        """Vectors [B, D] of requests, which of them are ranked by these [B], and ids of what each has seen [B, S]."""
        _, had, asked = self._shared.ask(user_id, history, *self._about(user_id, context))
        return {
            contract.EMBEDDING: asked.query,
            contract.KNOWN: asked.personal,
            contract.SEEN: self.items.ids_of_all(self._queries.left_out(had)),
        }

    @property
    def beyond_vectors(self) -> list[str]:
        """Names of what `recommend` has and `retrieve` hasn't, as the contract has them."""
        parts = {
            contract.LINEAR_PART: self._has_linear,
            contract.SECOND_STAGE: self._second_stage is not None,
            contract.DIVERSITY: self._diversity > 0,
            contract.APPROXIMATE: self._approximate is not None,
        }
        return [name for name, there in parts.items() if there]

    def explain(
        self,
        user_id: tf.Tensor,
        history: tf.Tensor,
        candidates: tf.Tensor,
        context: tf.Tensor | None = None,
        shares: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """What the scores [B, C] that `score` gives come from, see `explaining.explanation`; `shares` as in
        `recommend`."""
        return self._shared.explain(user_id, history, candidates, *self._about(user_id, context, shares))

    def checked(self, request: Request) -> Request:
        """The rules, if none of them is to be refused."""
        return self._shared.checked(request)

    def checked_leave_out(self, leave_out: tf.Tensor) -> tf.Tensor:
        """What requests [B] leave out, if none of them is to be refused."""
        wrong = refused_leave_out(leave_out)
        message = f"leave_out is {contract.ALL} or {contract.NOTHING}, or empty for what is configured; not"
        check = tf.debugging.Assert(~tf.reduce_any(wrong), [message, tf.boolean_mask(leave_out, wrong)], summarize=10)
        with tf.control_dependencies([check]):
            return tf.identity(leave_out)

    def checked_k(self, k: tf.Tensor) -> tf.Tensor:
        """`k`, if it is one that the contract allows."""
        return self._top_k.checked_k(k)

    def _about(
        self, user_id: tf.Tensor, context: tf.Tensor | None, shares: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Context and shares of a request; what it leaves out is filled in."""
        if len(self.tasks) and shares is None:
            shares = self.tasks.default(user_id)  # here, so that one graph serves those who give them as well
        return _given(context, user_id), shares

    def _left_out(self, had: Had, wish: tf.Tensor | None = None) -> tf.Tensor:
        """`Queries.left_out` at rows of the items that can be answered."""
        return self.items.candidates(self._queries.left_out(had, wish))

    def _score(
        self,
        user_id: tf.Tensor,
        history: tf.Tensor,
        candidates: tf.Tensor,
        context: tf.Tensor,
        shares: tf.Tensor | None,
    ) -> tf.Tensor:
        _, had, asked = self._shared.ask(user_id, history, context, shares)
        scores = self._ranked(self._shared.scores(asked), self._left_out(had), asked)
        row = self.items.rows(candidates)
        picked = tf.gather(scores, tf.maximum(row, 0), batch_dims=1)
        return tf.where(row >= 0, picked, -np.inf)

    def _explain(
        self,
        user_id: tf.Tensor,
        history: tf.Tensor,
        candidates: tf.Tensor,
        context: tf.Tensor,
        shares: tf.Tensor | None,
    ) -> dict[str, tf.Tensor]:
        _, had, asked = self._shared.ask(user_id, history, context, shares)
        basis = self._queries.basis(user_id, history, context, shares)
        retrieved = self._shared.scores(asked)
        scores = retrieved, self._ranked(retrieved, self._left_out(had), asked)
        return explanation(self._queries, self.items, asked, basis, self.items.rows(candidates), *scores)

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
        scores = self._shared.scores(asked)
        if request is not None:
            scores = self._shared.apply(scores, request, self.items.rows(request.allow))
        return self._shared.top_k(self._ranked(scores, excluded, asked), excluded, k, diversity, own_k)

    def _ranked(self, scores: tf.Tensor, excluded: tf.Tensor, asked: Asked) -> tf.Tensor:
        """Scores [B, R] as the second stage has them, if there is one; the rows `excluded` are no candidates."""
        if self._second_stage is None:
            return scores
        best, rows = self._top_k.best(self._top_k.left(scores, excluded), self._second_stage.candidates)
        return self._second_stage.apply(scores, best, rows, asked)


def refused_leave_out(leave_out: tf.Tensor) -> tf.Tensor:
    """Which of the requests [B] leave out what can't be."""
    return tf.reduce_all(leave_out[:, tf.newaxis] != ["", contract.ALL, contract.NOTHING], axis=1)


def _given(context: tf.Tensor | None, user_id: tf.Tensor) -> tf.Tensor:
    """The context, or that of as many requests without one."""
    return tf.fill(tf.shape(user_id), "") if context is None else context
