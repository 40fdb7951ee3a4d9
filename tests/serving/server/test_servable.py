"""A loaded version: warm-up, batches and deadlines, on the tiny servable."""

from __future__ import annotations

import json
import logging
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.example import example_pb2
from tensorflow_serving.apis import prediction_log_pb2

from serving import contract
from serving.protos.server_config_pb2 import BatchingParameters
from serving.server import servable as servables
from serving.server import session, tensors
from serving.server.servable import Servable
from serving.server.session import SessionOptions
from serving.server.status import StatusError
from tests.serving import tiny_servable

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

OPTIONS = SessionOptions(1, 1)
NONE = np.empty((1, 0), object)


def parameters(rows: int) -> BatchingParameters:
    """A batch runs when it has so many rows, and not before."""
    return text_format.Parse(
        f"max_batch_size {{ value: {rows} }} batch_timeout_micros {{ value: 60000000 }}"
        " num_batch_threads { value: 1 }",
        BatchingParameters(),
    )


def column(*values: Any) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def example(user: bytes, *history: bytes) -> bytes:
    message = example_pb2.Example()
    message.features.feature["user_id"].bytes_list.value.append(user)
    message.features.feature["history"].bytes_list.value.extend(history)
    return message.SerializeToString()


def recommend(user: bytes) -> dict[str, np.ndarray]:
    return {"user_id": column(user), "history": NONE, "exclude": NONE, "k": np.array(2, np.int32)}


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of inputs' rows of each run of a model."""
    found: list[int] = []
    run = Servable._run

    def counted(self: Servable, name: str, feeds: Any, *rest: Any) -> Any:
        found.append(max(len(array) for array in feeds.values() if array.ndim))
        return run(self, name, feeds, *rest)

    monkeypatch.setattr(Servable, "_run", counted)
    return found


def test_requests_share_a_run_and_get_their_own_answers(servable: Path, runs: list[int]):
    batched = Servable(str(servable), OPTIONS, warm_ups=0, batching=parameters(3))
    asked = [recommend(b"ann"), dict(reversed(recommend(b"nobody").items())), recommend(b"bob, jr")]
    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(batched.run, "recommend", inputs, (), 30.0) for inputs in asked]
        # Other outputs are a batch of their own.
        scores = [pool.submit(batched.run, "recommend", inputs, ("scores",), 30.0) for inputs in asked]
        answers = [{name: array.tolist() for name, array in future.result(30).items()} for future in futures]
        assert answers == [
            {"item_ids": [[b"3", b"4"]], "scores": [[998.0, 997.0]], "source": [b"user"]},
            {"item_ids": [[b"1", b"2"]], "scores": [[1020.0, 1019.0]], "source": [b"popular"]},
            {"item_ids": [[b"two words", "ä".encode()]], "scores": [[999.0, 999.0]], "source": [b"user"]},
        ]
        for future, answer in zip(scores, answers):
            assert {name: array.tolist() for name, array in future.result(30).items()} == {"scores": answer["scores"]}
    assert runs == [3, 3]
    batched.close()


def test_a_broken_example_costs_its_neighbours_nothing(servable: Path, runs: list[int]):
    batched = Servable(str(servable), OPTIONS, warm_ups=0, batching=parameters(3))
    with ThreadPoolExecutor(3) as pool:
        good, broken, other = [
            pool.submit(batched.run, "serving_default", {"examples": column(text)}, (), 30.0)
            for text in (example(b"ann"), b"\xffno example", example(b"", b"5"))
        ]
        assert good.result(30)["item_ids"].tolist() == [[b"3", b"4", b"5"]]
        assert other.result(30)["item_ids"].tolist() == [[b"4", b"6", b"3"]]
        with pytest.raises(StatusError, match="Could not parse example input") as error:
            broken.result(30)
    assert error.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert runs == [3, 1, 1, 1]
    batched.close()


def test_a_deadline_ends_the_run_of_a_batch(servable: Path):
    batched = Servable(str(servable), OPTIONS, warm_ups=0, batching=BatchingParameters())
    with pytest.raises(StatusError) as error:
        batched.run("slow", {"seconds": np.array(60.0)}, (), 0.2)
    assert error.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    batched.close()


def test_only_signatures_with_a_loop_never_count_as_quick(servable: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(servables, "_QUICK_SECONDS", 60.0)
    version = Servable(str(servable), OPTIONS, warm_ups=0)
    version.run("double", {"x": np.ones((1, 2), np.float32)})
    version.run("slow", {"seconds": np.array(0.0)})
    assert version.is_instant("double", 2, 1, alone=True)
    assert not version.is_instant("slow", 1, 0, alone=True)
    version.close()


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of what is rare: a string alone, a time that goes by a number, numbers in texts, and three methods."""
    path = tmp_path_factory.mktemp("odd") / "1"
    module = tf.Module()

    def signature(function: Any, *specs: Any) -> Any:
        return tf.function(function).get_concrete_function(*specs)

    text = tf.TensorSpec([], tf.string, "text")
    examples = tf.TensorSpec([None], tf.string, "inputs")
    lengths = lambda inputs: tf.cast(tf.strings.length(inputs), tf.float32)  # noqa: E731
    signatures = {
        "echo": signature(lambda text: {"text": text + "!"}, text),
        "count": signature(
            lambda n: {"sum": tf.reduce_sum(tf.range(n, dtype=tf.int64))}, tf.TensorSpec([], tf.int64, "n")
        ),
        "parse": signature(lambda text: {"number": tf.strings.to_number(text)}, text),
        "regress": signature(lambda inputs: {"outputs": lengths(inputs)}, examples),
        "classify": signature(lambda inputs: {"scores": lengths(inputs)[:, None]}, examples),
    }
    tf.saved_model.save(module, str(path), signatures=signatures)
    return path


def test_a_string_alone(odd: Path):
    version = Servable(str(odd), OPTIONS)
    found = version.run("echo", {"text": np.array(b"hi", object)})["text"]
    assert (found.shape, found.item()) == ((), b"hi!")
    version.close()


def test_what_is_quick_with_a_small_number_is_not_taken_for_quick_with_a_large_one(
    odd: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(servables, "_QUICK_SECONDS", 1.0)
    version = Servable(str(odd), OPTIONS)
    count = lambda n: version.run("count", {"n": np.array(n)})["sum"].item()  # noqa: E731
    assert count(9) == 36
    assert version.is_instant("count", 1, tensors.magnitude([15]), alone=True)
    assert not version.is_instant("count", 1, tensors.magnitude([16]), alone=True)
    version.run("parse", {"text": np.array(b"1", object)})
    assert not version.is_instant("parse", 1, 1, alone=True)
    # One that surprises is never trusted again.
    monkeypatch.setattr(servables, "_NEVER_QUICK_SECONDS", 0.0)
    assert count(9) == 36
    monkeypatch.undo()
    assert count(9) == 36
    assert not version.is_instant("count", 1, tensors.magnitude([9]), alone=True)
    version.close()


def test_what_stalls_the_others_is_never_trusted_again_whichever_thread_did_the_work(
    odd: Path, monkeypatch: pytest.MonkeyPatch
):
    version = Servable(str(odd), OPTIONS)
    run, works = session.Session.run, [False]

    def spread(*arguments: Any, **options: Any) -> Any:
        if works[0]:
            helper = threading.Thread(target=lambda: sum(range(3_000_000)))
            helper.start()
            helper.join()
        return run(*arguments, **options)

    monkeypatch.setattr(session.Session, "run", spread)
    monkeypatch.setattr(servables, "_STALL_SECONDS", 0.01)
    count = lambda n: version.run("count", {"n": np.array(n)})["sum"].item()  # noqa: E731
    monkeypatch.setattr(servables, "_QUICK_SECONDS", 1.0)
    assert count(4) == 6
    assert version.is_instant("count", 1, tensors.magnitude([4]), alone=True)
    works[0] = True
    assert count(7) == 21
    works[0] = False
    assert count(4) == 6
    assert not version.is_instant("count", 1, tensors.magnitude([4]), alone=True)
    version.close()


def test_an_operation_is_no_output(servable: Path):
    version = Servable(str(servable), OPTIONS, warm_ups=0)
    with pytest.raises(StatusError, match=r"Tensor NoOp:0, .* was not found in the Graph") as error:
        version.run("__saved_model_init_op", {})
    assert error.value.code is grpc.StatusCode.INVALID_ARGUMENT
    version.close()


def test_warm_up_by_all_kinds_of_requests(odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = shutil.copytree(odd, tmp_path / "1")
    found: list[str] = []
    run = Servable._run

    def noted(self: Servable, name: str, *rest: Any) -> Any:
        found.append(name)
        return run(self, name, *rest)

    monkeypatch.setattr(Servable, "_run", noted)

    def record(*logs: prediction_log_pb2.PredictionLog) -> None:
        (path / contract.WARMUP).parent.mkdir(exist_ok=True)
        with tf.io.TFRecordWriter(str(path / contract.WARMUP)) as file:
            for log in logs:
                file.write(log.SerializeToString())

    regress, classify, both = (prediction_log_pb2.PredictionLog() for _ in range(3))
    for name, request in (("regress", regress.regress_log.request), ("classify", classify.classify_log.request)):
        request.model_spec.signature_name = name
        request.input.example_list.examples.add()
    multiple = both.multi_inference_log.request
    multiple.input.example_list.examples.add()
    for method in ("classify", "regress"):
        task = multiple.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = "m", method
    record(regress, classify, both)
    Servable(str(path), OPTIONS).close()
    assert found == ["regress", "classify", "classify", "regress"]
    found.clear()
    record(regress)
    Servable(str(path), OPTIONS, warm_ups=3).close()
    assert found == ["regress"] * 3
    classify.classify_log.request.model_spec.signature_name = "echo"
    record(regress, classify)
    with pytest.raises(StatusError, match="warm-up request 1 failed: No classification inputs found"):
        Servable(str(path), OPTIONS)
    session = prediction_log_pb2.PredictionLog()
    session.session_run_log.SetInParent()
    record(session)
    with pytest.raises(StatusError, match="Unsupported log_type for warmup: session_run_log"):
        Servable(str(path), OPTIONS)


def test_what_the_real_server_would_refuse_is_said(servable: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, "serving.server"):
        Servable(str(servable), OPTIONS, warm_ups=0, batching=BatchingParameters()).close()
    (record,) = caplog.records
    assert "recommend, recommend_in_context, similar_items, slow take scalars" in record.getMessage()


def test_warm_up(servable: Path, tmp_path: Path, runs: list[int]):
    path = str(shutil.copytree(servable, tmp_path / "1"))
    tiny_servable.write_warmup(f"{path}/{contract.WARMUP}", ["recommend", "nope"])
    with pytest.raises(StatusError, match='warm-up request 1 failed: Serving signature key "nope" not found'):
        Servable(path, OPTIONS)
    assert runs == [1]  # the good one
    Servable(path, OPTIONS, warm_ups=0).close()
    assert runs == [1]


def test_warm_up_is_not_batched(servable: Path, runs: list[int]):
    Servable(str(servable), OPTIONS, batching=parameters(3)).close()  # nobody would fill the batch
    assert runs
    assert set(runs) == {1}


def test_servables_from_before_there_were_formats(servable: Path, tmp_path: Path):
    path = shutil.copytree(servable, tmp_path / "1")
    manifest = contract.read_manifest(path)
    assert manifest.pop("format") == contract.FORMAT
    (path / contract.MANIFEST).write_text(json.dumps(manifest))
    version = Servable(str(path), OPTIONS, warm_ups=0)
    assert version.run("recommend", recommend(b"ann"))["item_ids"].tolist() == [[b"3", b"4"]]
    version.close()


def test_servables_of_a_newer_version(servable: Path, tmp_path: Path):
    path = shutil.copytree(servable, tmp_path / "1")
    (path / contract.MANIFEST).write_text(json.dumps({"format": contract.FORMAT + 1}))
    with pytest.raises(StatusError, match="made by a newer version of this project") as error:
        Servable(str(path), OPTIONS)
    assert error.value.code is grpc.StatusCode.FAILED_PRECONDITION
