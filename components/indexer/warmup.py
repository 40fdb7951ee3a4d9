"""Requests that a model server sends itself before it serves a version, so that no real one meets a cold graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from components.indexer.index import Index
from serving import contract

_DTYPES = {
    contract.K: tf.int32,
    contract.BOOST_BY: tf.float32,
    contract.DIVERSITY: tf.float32,
    contract.TASK_WEIGHTS: tf.float32,
    contract.EXCLUDE_OWNERS: tf.bool,
}
"""Types of the inputs that are no texts."""


def write_warmup(index: Index, model_name: str, default_k: int, signatures: Sequence[str], path: str) -> None:
    """Writes a PredictionLog for each of the signatures and kinds of users."""
    item, user = index.candidate_ids[:1].tolist(), index.user_ids[:1].tolist() or [b""]
    none = np.full((1, 0), b"", object)
    values: dict[str, Any] = {
        contract.USER_ID: user,
        contract.HISTORY: none,
        contract.EXCLUDE: none,
        contract.K: np.int32(default_k),
        contract.CONTEXT: index.user_context[:1].tolist() or [b""],
        contract.ALLOW: [item],
        contract.FILTER: none,
        contract.BOOST: none,
        contract.BOOST_BY: none,
        contract.DIVERSITY: [0.5],
        contract.TASKS: none,
        contract.TASK_WEIGHTS: none,
        contract.LEAVE_OUT: [contract.NOTHING],
        contract.ITEM_ID: item,
        contract.CANDIDATES: [item],
        contract.EXCLUDE_OWNERS: [True],
        contract.EXAMPLES: [tf.train.Example().SerializeToString()],
    }
    requests = [(name, {key: values[key] for key in contract.SIGNATURES[name].inputs}) for name in signatures]
    nobody = {**dict(requests)[contract.RECOMMEND], contract.USER_ID: [b""]}
    requests.append((contract.RECOMMEND, nobody))
    requests.append((contract.RECOMMEND, {**nobody, contract.HISTORY: [item], contract.EXCLUDE: [item]}))
    with tf.io.TFRecordWriter(path) as writer:
        for signature, inputs in requests:
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = model_name
            request.model_spec.signature_name = signature
            for name, value in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value, dtype=_DTYPES.get(name, tf.string)))
            writer.write(log.SerializeToString())
