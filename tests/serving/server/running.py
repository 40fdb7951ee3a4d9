"""A server process of a test's own, and questions to it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import grpc
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.server.process import environment
from tests.serving.fixtures import MODEL


def publish(source: Path, folder: Path, version: int) -> None:
    """Puts a version in place as the Pusher does: by rename."""
    folder.mkdir(exist_ok=True)
    shutil.copytree(source, folder / ".publish", copy_function=os.link)
    (folder / ".publish").rename(folder / str(version))


def wait_until(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


class Asked:
    """The server asked by TensorFlow Serving's own stubs."""

    def __init__(self, target: str):
        self._channel = grpc.insecure_channel(target)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._channel.close()

    def states(self, name=MODEL):
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = name
        found = self._models.GetModelStatus(request, timeout=20).model_version_status
        return {status.version: status.State.Name(status.state) for status in found}

    def version(self, name=MODEL, label=None, signature="double", values=(1.0, 2.0)):
        """The version that answers, or the name of the code that says why not."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = name, signature
        if label is not None:
            request.model_spec.version_label = label
        x = request.inputs["x"]
        x.dtype = 1
        for size in (1, 2):
            x.tensor_shape.dim.add(size=size)
        x.float_val.extend(values)
        try:
            return self._predictions.Predict(request, timeout=20).model_spec.version.value
        except grpc.RpcError as error:
            return error.code().name

    def reload(self, config):
        request = model_management_pb2.ReloadConfigRequest(config=config)
        return self._models.HandleReloadConfigRequest(request, timeout=60).status

    def slow(self, seconds):
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = MODEL, "slow"
        request.inputs["seconds"].dtype = 2
        request.inputs["seconds"].double_val.append(seconds)
        return self._predictions.Predict.future(request, timeout=60)


def run_server(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serving.server", *flags],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
