"""A servable as the Evaluator asks it: through the very signature that is served, but at the moment of each query.

What the Indexer stored of a user is of the end of training, which may be after the query's moment: with a split that
isn't by time, and for events that share their moment with others of their user. So the lists that a servable has stored
of users are emptied once it is loaded, and the query brings what there was before it, which of it is left out of the
answer being what the servable leaves out by itself (`serving.exclude`); and who had no training events before it is
asked about without an id.
"""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf

from components import versions
from components.errors import InputError
from components.examples import context, reading
from components.examples.interactions import EXCLUDED, REJECTED
from serving import contract
from serving.custom_ops import import_custom_ops

_STORED = {f"{name}:0" for name in (contract.STORED_SPLITS, contract.EXCLUDED_SPLITS, contract.REJECTED_SPLITS)}


def check_servable(path: str, name: str) -> None:
    """Makes sure, without loading it, that a SavedModel can be judged.

    Args:
        path: the SavedModel's directory.
        name: what to call it in the message.

    Raises:
        InputError: it lacks the signature that is needed.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        with tf.io.gfile.GFile(os.path.join(path, contract.SAVED_MODEL), "rb") as file:
            saved_model = saved_model_pb2.SavedModel.FromString(file.read())
    except (tf.errors.OpError, DecodeError) as error:
        raise InputError(f"the {name} {path} is no SavedModel: {error}") from None
    signature = _signature(context_features(path))
    if not any(signature in graph.signature_def for graph in saved_model.meta_graphs):
        raise InputError(
            f"the {name} {path} has no signature {signature!r}, so it isn't a servable of this pipeline and can't be "
            "compared; remove that version from the base path, or use another model name"
        )


def served_depth(path: str, depth: int) -> int:
    """Returns `depth`, or the most items that the servable gives in one answer if that is less."""
    return min(depth, int(versions.describe(path).get("max_k", depth)))


def context_features(path: str) -> reading.Features:
    """Returns the features of a query that the servable at `path` takes beside user and history, and their types."""
    return context.feature_types(versions.describe(path).get("context", []))


def left_out(path: str) -> str | list[str]:
    """Returns what the servable at `path` leaves out of an answer by itself, see `serving.exclude`."""
    return versions.describe(path).get(contract.EXCLUDE, contract.ALL)


class Servable:
    """A loaded servable."""

    def __init__(self, path: str, depth: int):
        """Loads the SavedModel in directory `path`, which is asked for `depth` items."""
        self._context = context_features(path)
        import_custom_ops(path)
        self._model = tf.saved_model.load(path)
        self._signature = self._model.signatures[_signature(self._context)]
        for variable in self._signature.variables:
            if variable.name in _STORED:
                variable.assign(tf.zeros_like(variable))
        self._depth = depth
        self._left_out = left_out(path)

    def answer(self, batch: reading.Columns) -> np.ndarray:
        """Answers a batch of B queries.

        Args:
            batch: `user_id`, `user_type`, `history`, `seen`, the features of the servable's context and, as far as
                there are any, `EXCLUDED` and `REJECTED`.

        Returns:
            [B, depth] item ids, bytes; padding is the empty string.
        """
        return self.recommend(batch)[contract.ITEM_IDS]

    def recommend(self, batch: reading.Columns) -> dict[str, np.ndarray]:
        """Returns all that `recommend` says to a batch as `answer` takes it, by name."""
        excluded = [reading.padded(batch, name) for name in excluded_features(self._left_out, batch)]
        excluded = np.concatenate([np.zeros((batch.num_rows, 0), object), *excluded], axis=1)
        query = {**self._query(batch), contract.EXCLUDE: _strings(excluded)}
        return {name: value.numpy() for name, value in self._signature(**query, k=tf.constant(self._depth)).items()}

    def explain(self, batch: reading.Columns, item_ids: np.ndarray) -> dict[str, np.ndarray] | None:
        """Returns what the scores of items [B, C], ids in bytes, come from for the queries of a batch, by name.

        None for a servable that was indexed before there were explanations.
        """
        explain = self._model.signatures.get(contract.EXPLAIN_IN_CONTEXT if self._context else contract.EXPLAIN)
        if explain is None:
            return None
        answer = explain(**self._query(batch), candidates=_strings(item_ids))
        return {name: value.numpy() for name, value in answer.items()}

    def similar_items(self, item_ids: np.ndarray) -> np.ndarray:
        """Returns what is most like items [B], ids in bytes: [B, depth], padded with the empty string."""
        none = tf.fill([len(item_ids), 0], "")
        similar = self._model.signatures[contract.SIMILAR_ITEMS]
        answer = similar(item_id=_strings(item_ids), exclude=none, k=tf.constant(self._depth))
        return answer[contract.ITEM_IDS].numpy()

    def _query(self, batch: reading.Columns) -> dict[str, tf.Tensor]:
        known = reading.scalars(batch, "user_type") == b"known"
        query = {
            contract.USER_ID: _strings(np.where(known, reading.scalars(batch, "user_id"), b"")),
            contract.HISTORY: _strings(reading.padded(batch, "history")),
        }
        if self._context:
            rows = context.read_contexts(batch, self._context)
            serialized = [context.serialize(row, self._context) for row in rows]
            query[contract.CONTEXT] = _strings(np.array(serialized, dtype=object))
        return query


def _strings(values: np.ndarray) -> tf.Tensor:
    return tf.constant(values, tf.string, values.shape)  # the shape, because one without elements has lost its own


def excluded_features(exclude: str | list[str], batch: reading.Columns) -> list[str]:
    """Returns the features of queries whose items are left out where `exclude` is configured, of those that there are;
    with `contract.ALL` the history's are besides."""
    configured = {contract.ALL: ["seen"], contract.NOTHING: []}.get(str(exclude), [EXCLUDED])
    return [name for name in (*configured, REJECTED) if name in batch.schema.names]


def _signature(features: reading.Features) -> str:
    return contract.RECOMMEND_IN_CONTEXT if features else contract.RECOMMEND
