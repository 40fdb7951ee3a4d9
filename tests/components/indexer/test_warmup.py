"""The requests that a server sends itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from components.indexer.warmup import write_warmup
from serving import contract
from tests.components.indexer.three import INDEX


@pytest.mark.parametrize("in_context", [False, True])
def test_each_signature_is_asked_with_all_of_its_inputs(tmp_path: Path, in_context: bool) -> None:
    signatures = contract.signatures(in_context, of_users=True, for_tasks=True)
    path = str(tmp_path / "requests")
    write_warmup(INDEX, "m", 5, signatures, path)
    asked: dict[str, list[dict[str, np.ndarray]]] = {}
    for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        assert request.model_spec.name == "m"
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        asked.setdefault(request.model_spec.signature_name, []).append(inputs)
    assert set(asked) == set(signatures)
    for name, requests in asked.items():
        assert all(set(inputs) == set(contract.SIGNATURES[name].inputs) for inputs in requests)
    # A known user, nobody, and nobody with a history: each takes another way through the graph.
    who = [(inputs["user_id"].tolist(), inputs["history"].tolist()) for inputs in asked["recommend"]]
    assert who == [([b"u"], [[]]), ([b""], [[]]), ([b""], [[b"a"]])]
    assert {int(inputs["k"]) for inputs in asked["recommend"]} == {5}
    assert asked["recommend_with_rules"][0]["diversity"].dtype == np.float32
    assert asked["recommend_for_tasks"][0]["task_weights"].dtype == np.float32
