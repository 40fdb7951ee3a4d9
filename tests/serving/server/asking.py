"""Requests to a server by TensorFlow Serving's own messages and by plain HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from tests.serving.fixtures import MODEL


def predict_request(signature="recommend", model=MODEL, version=None, **inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def recommend_inputs(**changes):
    empty = np.zeros((1, 0), "S1")
    return {"user_id": ["ann"], "history": empty, "exclude": empty, "k": np.int32(2), **changes}


def call(server, method, path, body=None):
    """Status and parsed JSON of a HTTP request."""
    host, port = server.rest_target.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    try:
        connection.request(method, path, body.encode() if isinstance(body, str) else body)
        response = connection.getresponse()
        assert response.headers["Content-Type"].startswith("application/json")
        return response.status, json.loads(response.read())
    finally:
        connection.close()


PREDICT = f"/v1/models/{MODEL}:predict"


def raw(server, method, path, body=None, **headers):
    """Status, headers and bytes of a HTTP request."""
    host, port = server.rest_target.split(":")
    with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=10)) as connection:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
