"""The servable: every signature of the serving contract (docs/architecture.md) is a method of `Servable`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow as tf

from components.indexer.attributes import Attributes
from components.indexer.index import Index
from components.indexer.retrieval import Retrieval, refused_leave_out
from components.indexer.rules import Request
from components.indexer.settings import IndexerSettings
from serving import contract


def _strings(*shape: int | None, name: str) -> tf.TensorSpec:
    return tf.TensorSpec(shape, tf.string, name=name)


_K = tf.TensorSpec([], tf.int32, name=contract.K)
_USERS = _strings(None, name=contract.USER_ID)
_HISTORY = _strings(None, None, name=contract.HISTORY)
_EXCLUDE = _strings(None, None, name=contract.EXCLUDE)
_CANDIDATES = _strings(None, None, name=contract.CANDIDATES)
_CONTEXT = _strings(None, name=contract.CONTEXT)
_ITEMS = _strings(None, name=contract.ITEM_ID)
_EXAMPLES = _strings(None, name=contract.EXAMPLES)
_EXCLUDE_OWNERS = tf.TensorSpec([None], tf.bool, name=contract.EXCLUDE_OWNERS)
_RULES = (
    _strings(None, None, name=contract.ALLOW),
    _strings(None, None, name=contract.FILTER),
    _strings(None, None, name=contract.BOOST),
    tf.TensorSpec([None, None], tf.float32, name=contract.BOOST_BY),
    tf.TensorSpec([None], tf.float32, name=contract.DIVERSITY),
)
_LEAVE_OUT = _strings(None, name=contract.LEAVE_OUT)
_TASKS = (
    _strings(None, None, name=contract.TASKS),
    tf.TensorSpec([None, None], tf.float32, name=contract.TASK_WEIGHTS),
)


def _signature(*inputs: tf.TensorSpec) -> Callable[[Callable[..., Any]], Any]:
    """Makes a signature of a method. Its scores are finite: what has none gets `contract.NO_SCORE`, for JSON's sake.

    Where the servable is a shard the answer says so: so a client notices shards that don't belong together.
    """

    def made(method: Callable[..., dict[str, tf.Tensor]]) -> Any:
        @functools.wraps(method)
        def finite(*arguments: Any) -> dict[str, tf.Tensor]:
            answer = method(*arguments)
            if contract.SCORES in answer:
                answer = {**answer, contract.SCORES: tf.maximum(answer[contract.SCORES], contract.NO_SCORE)}
            if arguments[0].shard:
                answer = {**answer, contract.SHARD: tf.fill(tf.shape(arguments[1])[:1], arguments[0].shard)}
            return answer

        return tf.function(finite, input_signature=inputs, autograph=False)

    return made


class Servable(tf.Module):
    """The serving contract: exact and in native ops, unless ScaNN is asked for.

    Args:
        query_part: Of the Trainer's SavedModel, loaded; the rest of it is not exported.
        max_history: The most items of a history that the query part takes.
        index: What it is asked about.
        files: See `Retrieval`.
        settings: How it answers and is stored.
        in_context: Whether the towers take a request's context.
        ranking: The towers' ranking part and how many candidates it ranks, where there is a second stage.
        user_attributes: What users can be filtered by.
        tasks: What each of the towers' tasks counts by default, by its name.
        shard: Which shard it is, as `contract.Shard` writes it, if the index is that of one.
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
        user_attributes: Attributes = Attributes(),  # noqa: B008  # frozen
        tasks: Mapping[str, float] = MappingProxyType({}),
        shard: str = "",
    ) -> None:
        super().__init__()
        self.shard = shard
        self._retrieval = Retrieval(query_part, max_history, index, files, settings, ranking, user_attributes, tasks)
        self._display = None
        if not np.array_equal(index.display, index.candidate_ids):
            self._display = tf.Variable(index.display.tolist(), trainable=False, name=contract.DISPLAY, dtype=tf.string)
        self._in_context = in_context
        self._default_k = settings.default_k
        self._diversity = settings.diversity
        self.max_k = self._retrieval.max_k
        self._audience: Any = self._retrieval.audience
        self.max_k_of_users = self._audience.max_k if self._audience else None
        self._for_tasks = bool(tasks)
        # A module's functions are traced when it is saved, whether they are signatures or not.
        there = contract.signatures(in_context, self._audience is not None, self._for_tasks)
        for name in contract.SIGNATURES.keys() - there:
            setattr(self, name, None)

    @property
    def beyond_vectors(self) -> list[str]:
        """What decides an answer beside the towers' vectors, by the contract's names."""
        return self._retrieval.beyond_vectors

    def signatures(self) -> dict[str, Any]:
        """The signatures by name."""
        names = contract.signatures(self._in_context, self._audience is not None, self._for_tasks)
        return {name: getattr(self, name) for name in names}

    @_signature(_USERS, _HISTORY, _EXCLUDE, _K)
    def recommend(
        self, user_id: tf.Tensor, history: tf.Tensor, exclude: tf.Tensor, k: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """The k best items for each user, best first: `item_ids`, `scores` [B, k] and `source` [B]."""
        return self._retrieval.recommend(user_id, history, exclude, None, self._retrieval.checked_k(k))

    def recommend_exactly(
        self, user_id: tf.Tensor, history: tf.Tensor, exclude: tf.Tensor, k: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """`recommend` by looking at all items, also where it doesn't: what an approximate index is judged by."""
        return self._retrieval.recommend(user_id, history, exclude, None, k, exactly=True)

    @_signature(_USERS, _HISTORY, _EXCLUDE, _CONTEXT, _K)
    def recommend_in_context(
        self, user_id: tf.Tensor, history: tf.Tensor, exclude: tf.Tensor, context: tf.Tensor, k: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """`recommend` with what is known of the moment: `context` [B] are serialized tf.Examples."""
        return self._retrieval.recommend(user_id, history, exclude, context, self._retrieval.checked_k(k))

    @_signature(_USERS, _HISTORY, _EXCLUDE, _CONTEXT, *_RULES, _K)
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
        request = self._retrieval.checked(Request(allow, filter, boost, boost_by, diversity))
        return self._retrieval.recommend(user_id, history, exclude, context, self._retrieval.checked_k(k), request)

    @_signature(_EXAMPLES)
    def recommend_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """`recommend` for requests that share a batch: one serialized tf.Example a row, each with its own k.

        They have `user_id`, `history` (newest first), `exclude`, `k` (int64), the rules `allow`, `filter`, `boost`,
        `boost_by` (a float for each boost) and `diversity` (float), and the features of the context, all optional. The
        answer is as wide as the largest k; what is beyond a row's own k is padding. A k or a rule that would be refused
        elsewhere must not cost the other rows their answers: its row is padding, and its `source` is empty.
        """
        return self._by_examples(examples)

    def _features(self, for_tasks: bool, leaving_out: bool) -> dict[str, Any]:
        """What requests as Examples hold."""
        own = {contract.LEAVE_OUT: tf.io.FixedLenFeature([], tf.string, default_value="")} if leaving_out else {}
        weights = {contract.TASKS: tf.string, contract.TASK_WEIGHTS: tf.float32} if for_tasks else {}
        return {
            **own,
            **{name: tf.io.RaggedFeature(dtype) for name, dtype in weights.items()},
            contract.USER_ID: tf.io.FixedLenFeature([], tf.string, default_value=""),
            contract.HISTORY: tf.io.VarLenFeature(tf.string),
            contract.EXCLUDE: tf.io.VarLenFeature(tf.string),
            contract.K: tf.io.FixedLenFeature([], tf.int64, default_value=self._default_k),
            contract.ALLOW: tf.io.VarLenFeature(tf.string),
            contract.FILTER: tf.io.VarLenFeature(tf.string),
            contract.BOOST: tf.io.RaggedFeature(tf.string),
            contract.BOOST_BY: tf.io.RaggedFeature(tf.float32),
            contract.DIVERSITY: tf.io.FixedLenFeature([], tf.float32, default_value=self._diversity),
        }

    def _by_examples(
        self, examples: tf.Tensor, for_tasks: bool = False, leaving_out: bool = False
    ) -> dict[str, tf.Tensor]:
        """`recommend_examples`, also for requests with weights of tasks, and for those that say what is left out."""
        parsed = tf.io.parse_example(examples, self._features(for_tasks, leaving_out))
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
        accepted &= ~self._retrieval.rules.refused(request)
        shares = None
        if for_tasks:
            tasks = parsed[contract.TASKS].to_tensor("")
            weight = parsed[contract.TASK_WEIGHTS].to_tensor(0.0, shape=tf.shape(tasks))
            accepted &= tf.equal(parsed[contract.TASKS].row_lengths(), parsed[contract.TASK_WEIGHTS].row_lengths())
            accepted &= ~self._retrieval.tasks.refused(tasks, weight)
            if self._for_tasks:
                shares = self._retrieval.tasks.shares(tasks, weight)
        leave_out = parsed.get(contract.LEAVE_OUT)
        if leave_out is not None:
            accepted &= ~refused_leave_out(leave_out)
        k = tf.cast(tf.where(accepted, parsed[contract.K], 0), tf.int32)
        answer = self._retrieval.recommend(
            parsed[contract.USER_ID],
            tf.sparse.to_dense(parsed[contract.HISTORY], ""),
            tf.sparse.to_dense(parsed[contract.EXCLUDE], ""),
            examples,
            tf.reduce_max(tf.concat([k, [0]], axis=0)),
            request,
            k,
            shares=shares,
            leave_out=leave_out,
        )
        wanted = tf.range(tf.shape(answer[contract.SCORES])[1]) < k[:, tf.newaxis]
        return {
            contract.ITEM_IDS: tf.where(wanted, answer[contract.ITEM_IDS], ""),
            contract.SCORES: tf.where(wanted, answer[contract.SCORES], -np.inf),
            contract.SOURCE: tf.where(accepted, answer[contract.SOURCE], ""),
        }

    @_signature(_ITEMS, _EXCLUDE, _K)
    def similar_items(self, item_id: tf.Tensor, exclude: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
        """The k items that come with it most (see `components.indexer.similar`) or, with `similar.method: embedding`,
        whose embeddings point most nearly the same way (cosine); the item itself is left out."""
        return self._retrieval.similar(item_id, exclude, self._retrieval.checked_k(k))

    @_signature(_ITEMS, _EXCLUDE, *_RULES, _K)
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
        request = self._retrieval.checked(Request(allow, filter, boost, boost_by, diversity))
        return self._retrieval.similar(item_id, exclude, self._retrieval.checked_k(k), request)

    @_signature(_USERS, _HISTORY, _CANDIDATES)
    def score(self, user_id: tf.Tensor, history: tf.Tensor, candidates: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores [B, C] of the candidates as `recommend` ranks them, `NO_SCORE` for an item that the index lacks."""
        return self._retrieval.score(user_id, history, candidates)

    @_signature(_USERS, _HISTORY, _CANDIDATES, _CONTEXT)
    def score_in_context(
        self, user_id: tf.Tensor, history: tf.Tensor, candidates: tf.Tensor, context: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """`score` with what is known of the moment: `context` [B] are serialized tf.Examples."""
        return self._retrieval.score(user_id, history, candidates, context)

    @_signature(_USERS, _HISTORY, _CANDIDATES)
    def explain(self, user_id: tf.Tensor, history: tf.Tensor, candidates: tf.Tensor) -> dict[str, tf.Tensor]:
        """What the scores of the candidates come from, see `components.indexer.explaining`."""
        return self._retrieval.explain(user_id, history, candidates)

    @_signature(_USERS, _HISTORY, _CANDIDATES, _CONTEXT)
    def explain_in_context(
        self, user_id: tf.Tensor, history: tf.Tensor, candidates: tf.Tensor, context: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """`explain` with what is known of the moment: `context` [B] are serialized tf.Examples."""
        return self._retrieval.explain(user_id, history, candidates, context)

    @_signature(_USERS)
    def by_user(self, user_id: tf.Tensor) -> dict[str, tf.Tensor]:
        """`recommend` by the user's id alone, at the default k."""
        nothing = tf.fill([tf.size(user_id), 0], "")
        answer = self.recommend(user_id, nothing, nothing, tf.constant(self._default_k))
        return {name: answer[name] for name in (contract.ITEM_IDS, contract.SCORES)}

    @_signature(_EXAMPLES)
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
        answer = self._retrieval.recommend(
            parsed[contract.USER_ID],
            tf.sparse.to_dense(parsed[contract.HISTORY], ""),
            tf.sparse.to_dense(parsed["seen"], ""),
            examples,
            tf.constant(self._default_k),
        )
        return {name: answer[name] for name in (contract.ITEM_IDS, contract.SCORES)}

    @_signature(_ITEMS)
    def describe(self, item_id: tf.Tensor) -> dict[str, tf.Tensor]:
        """What a person is shown of each item: `display` [B], and whether the index knows it: `known` [B]."""
        row = self._retrieval.items.rows(item_id)
        known = row >= 0
        shown = item_id if self._display is None else tf.gather(self._display, tf.maximum(row, 0))
        return {contract.DISPLAY: tf.where(known, shown, ""), contract.KNOWN: known}

    @_signature(_ITEMS)
    def embed_items(self, item_id: tf.Tensor) -> dict[str, tf.Tensor]:
        """The candidate tower's vectors as they are stored: `embedding` [N, D], `bias` [N] and `known` [N].

        An item that the index lacks has zeros. An item's product with a query of `embed_queries`, plus its bias, is its
        score in `retrieve`.
        """
        return self._retrieval.embed_items(item_id)

    @_signature(_USERS, _HISTORY, _CONTEXT)
    def embed_queries(self, user_id: tf.Tensor, history: tf.Tensor, context: tf.Tensor) -> dict[str, tf.Tensor]:
        """The query tower's vectors: `embedding` [B, D]; a context may be empty.

        `known` [B] is false where no vector ranks: `recommend` has popular items for such a request. `seen` [B, S] are
        the items that it leaves out by itself, padded with the empty string, wherever that stands.
        """
        return self._retrieval.embed_queries(user_id, history, context)

    @_signature(_USERS, _HISTORY, _EXCLUDE, _CONTEXT, _K)
    def retrieve(
        self, user_id: tf.Tensor, history: tf.Tensor, exclude: tf.Tensor, context: tf.Tensor, k: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """`recommend` by the towers' vectors alone, all items looked at; a context may be empty."""
        return self._retrieval.retrieve(user_id, history, exclude, context, self._retrieval.checked_k(k))

    @_signature(_ITEMS, _EXCLUDE, _EXCLUDE_OWNERS, _K)
    def audience(
        self, item_id: tf.Tensor, exclude: tf.Tensor, exclude_owners: tf.Tensor, k: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """The k users whom an item is most for, see `components.indexer.audience`: `user_ids`, `scores` [B, k] and
        `known` [B]; without the users `exclude` and, where `exclude_owners`, those who had the item."""
        return self._audience.of(item_id, exclude, exclude_owners, k)

    @_signature(_ITEMS, _EXCLUDE, _EXCLUDE_OWNERS, *_RULES[:2], _K)
    def audience_with_rules(
        self,
        item_id: tf.Tensor,
        exclude: tf.Tensor,
        exclude_owners: tf.Tensor,
        allow: tf.Tensor,
        filter: tf.Tensor,
        k: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """`audience` among the users that the rules leave: the ids `allow`, and conditions on their features."""
        return self._audience.of(item_id, exclude, exclude_owners, k, allow, filter)

    @_signature(_USERS, _EXCLUDE, _K)
    def similar_users(self, user_id: tf.Tensor, exclude: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
        """The k users whose query vectors point most nearly the same way (cosine); the user is left out."""
        return self._audience.similar(user_id, exclude, k)

    @_signature(_USERS, _HISTORY, _EXCLUDE, _CONTEXT, *_RULES, *_TASKS, _K)
    def recommend_for_tasks(
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
        tasks: tf.Tensor,
        task_weights: tf.Tensor,
        k: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """`recommend_with_rules` by tasks of the weights given, see `components.indexer.tasks`."""
        request = self._retrieval.checked(Request(allow, filter, boost, boost_by, diversity))
        shares, k = self._retrieval.tasks.checked(tasks, task_weights), self._retrieval.checked_k(k)
        return self._retrieval.recommend(user_id, history, exclude, context, k, request, shares=shares)

    @_signature(_EXAMPLES)
    def recommend_examples_for_tasks(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """`recommend_examples` for requests that may also have `tasks` and `task_weights`, as many of both."""
        return self._by_examples(examples, for_tasks=True)

    @_signature(_USERS, _HISTORY, _CANDIDATES, _CONTEXT, *_TASKS)
    def explain_for_tasks(
        self,
        user_id: tf.Tensor,
        history: tf.Tensor,
        candidates: tf.Tensor,
        context: tf.Tensor,
        tasks: tf.Tensor,
        task_weights: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """`explain` for tasks of the weights given; a context may be empty."""
        shares = self._retrieval.tasks.checked(tasks, task_weights)
        return self._retrieval.explain(user_id, history, candidates, context, shares)

    @_signature(_USERS, _HISTORY, _EXCLUDE, _CONTEXT, *_RULES, *_TASKS, _LEAVE_OUT, _K)
    def recommend_leaving_out(
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
        tasks: tf.Tensor,
        task_weights: tf.Tensor,
        leave_out: tf.Tensor,
        k: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """`recommend_for_tasks`, of a model without tasks for none, where each request says what is left out: of the
        user's items all or nothing, or with an empty string what is configured."""
        request = self._retrieval.checked(Request(allow, filter, boost, boost_by, diversity))
        shares, k = self._retrieval.tasks.checked(tasks, task_weights), self._retrieval.checked_k(k)
        return self._retrieval.recommend(
            user_id,
            history,
            exclude,
            context,
            k,
            request,
            shares=shares if self._for_tasks else None,
            leave_out=self._retrieval.checked_leave_out(leave_out),
        )

    @_signature(_EXAMPLES)
    def recommend_examples_leaving_out(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """`recommend_examples_for_tasks`, where the Examples may also have `leave_out`."""
        return self._by_examples(examples, for_tasks=True, leaving_out=True)
