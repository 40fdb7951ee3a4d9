"""One loaded version of a model: a SavedModel in a session of its own, which gives its memory back when closed."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Optional

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving import contract
from serving.custom_ops import import_custom_ops
from serving.protos.server_config_pb2 import BatchingParameters
from serving.server import metrics, session, tensors
from serving.server.batching import Batcher, Run
from serving.server.session import SessionOptions
from serving.server.status import StatusError, code_of, invalid

_LOGGER = logging.getLogger("serving.server")
_MAX_WARMUP_REQUESTS = 1000  # TensorFlow Serving's limit
_QUICK_SECONDS = 0.005
_INSTANT_SECONDS = 0.00045
_FEW_VALUES = 1024  # in and out: more take longer to read and write than the model runs
_NEVER_QUICK_SECONDS = 0.1  # on the CPU, for one that was taken for quick
_STALL_SECONDS = 0.5  # that all others waited for such a one, while the process was busy
_LOOPS = {"Enter", "StatelessWhile", "While"}
_DECODERS = {"DecodeCSV", "DecodePaddedRaw", "DecodeProtoV2", "DecodeRaw", "ParseTensor", "StringToNumber"}
"""Ops that find numbers in texts, whose size tells nothing of them."""


@dataclass(frozen=True)
class _Input:
    """An input of a signature, ready to be fed."""

    feed: Any
    dtype: int
    shape: Optional[tuple[int, ...]]


class Servable:
    """A SavedModel that answers Predict.

    A session rather than `tf.saved_model.load`: it runs TF1 and TF2 exports alike, cancels at a deadline, raises
    TensorFlow's own error codes, and `close` frees the variables and tables at once.

    Args:
        path: the version's folder, with `saved_model.pb` in it.
        options: threads of the session.
        warm_ups: how often to run each recorded request, so that the first real one isn't slow; 0 for not at all.
        batching: how requests share a run; None, each has its own.

    Raises:
        OSError: there is no SavedModel.
        tf.errors.OpError: it is damaged.
        StatusError: its warm-up requests fail, or a newer version of this project made it.
    """

    def __init__(
        self,
        path: str,
        options: SessionOptions,
        warm_ups: int = 1,
        batching: Optional[BatchingParameters] = None,
    ):
        _import_custom_ops(path)
        self._session, meta_graph = session.load(path, options)
        self._batcher: Optional[Batcher] = None
        try:
            self.signatures: dict[str, meta_graph_pb2.SignatureDef] = {}
            for name, signature in meta_graph.signature_def.items():
                self.signatures[name] = meta_graph_pb2.SignatureDef()
                self.signatures[name].CopyFrom(signature)
            self._inputs = {name: self._bind_inputs(signature) for name, signature in self.signatures.items()}
            self._outputs: dict[tuple[str, tuple[str, ...]], tuple[list[str], list[Any]]] = {}
            self._unforeseen = _unforeseen(meta_graph)
            self._quick: set[tuple[str, int, int]] = set()
            self._instant: set[tuple[str, int, int]] = set()
            if warm_ups and os.path.exists(os.path.join(path, contract.WARMUP)):
                self._warm_up(path, warm_ups)
            if batching is not None:
                self._batcher = Batcher(batching)
                self._warn_of_scalars(path)
        except BaseException:
            self.close()
            raise

    def run(
        self,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str] = (),
        timeout: Optional[float] = None,
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
            signature_name: its name; empty for `serving_default`.
            inputs: arrays by the signature's input names.
            output_filter: names of the outputs to compute; all if empty.
            timeout: seconds; the work is cancelled then.

        Returns:
            Arrays by output name, byte strings as objects.

        Raises:
            StatusError: the request doesn't fit the signature, or the model refuses or fails.
        """
        names, arrays, key, run = self._prepare(signature_name, inputs, output_filter)
        if self._batcher is None:
            return dict(zip(names, run(arrays, timeout)))
        return dict(zip(names, self._batcher.run(key, arrays, run, timeout)))

    @property
    def batches(self) -> bool:
        """Whether requests share a run."""
        return self._batcher is not None

    @property
    def waiting(self) -> Optional[int]:
        """Rows that wait for their batch; None without batching."""
        return None if self._batcher is None else self._batcher.waiting

    def submit(
        self,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str],
        timeout: Optional[float],
    ) -> Optional[tuple[list[str], Future[list[np.ndarray]]]]:
        """As `run`, but doesn't wait; for versions with batching.

        Returns:
            Names and future arrays of the outputs, see `Batcher.submit`; None for what must be `run`.
        """
        assert self._batcher is not None
        names, arrays, key, run = self._prepare(signature_name, inputs, output_filter)
        future = self._batcher.submit(key, arrays, run, timeout)
        return None if future is None else (names, future)

    def is_instant(self, signature_name: str, size: int, magnitude: int, alone: bool) -> bool:
        """Whether a request is done sooner than a thread is woken for it, going by the last one of its kind.

        One that is `alone` in the server holds nobody up, so there it need only be quick.

        Args:
            signature_name: its name; empty for `serving_default`.
            size: how many values it has.
            magnitude: of the largest one, see `tensors.magnitude`: what a model does may depend on a number.
            alone: whether no other request is under way.
        """
        kinds = self._quick if alone else self._instant
        return size <= _FEW_VALUES and (signature_name or contract.DEFAULT, size.bit_length(), magnitude) in kinds

    def _prepare(
        self, signature_name: str, inputs: Mapping[str, np.ndarray], output_filter: Sequence[str]
    ) -> tuple[list[str], list[np.ndarray], Hashable, Run]:
        """Names of the outputs, the inputs as `Run` takes them, what has to be equal for a shared run, and the run."""
        name = signature_name or contract.DEFAULT
        if name not in self.signatures:
            raise StatusError(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
        feeds = self._feeds(self._inputs[name], inputs)
        names, fetches = self._fetches(name, tuple(output_filter))

        def run(arrays: Sequence[np.ndarray], timeout: Optional[float]) -> list[np.ndarray]:
            return self._run(name, dict(zip(feeds, arrays)), fetches, timeout)

        return names, list(feeds.values()), (name, *names), run

    def _run(
        self, name: str, feeds: Mapping[Any, np.ndarray], fetches: Sequence[Any], timeout: Optional[float]
    ) -> list[np.ndarray]:
        if timeout is not None and timeout <= 0:
            raise StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        # Waking TensorFlow's threads costs as much as a small model. This thread can do the work itself where the last
        # request of that size was done before a deadline could have mattered: TensorFlow cancels only its own threads.
        size = sum(array.size for array in feeds.values())
        magnitudes = [tensors.magnitude(array) for array in feeds.values()]
        kind = name, size.bit_length(), -1 if -1 in magnitudes else max(magnitudes, default=0)
        quick = kind in self._quick
        # Of this thread's own work the time on the CPU counts: others wait for the GIL, too, when it comes back.
        clock = time.thread_time if quick else time.perf_counter
        started, at, busy = clock(), time.perf_counter(), time.process_time()
        results: list[np.ndarray] = []
        try:
            results = self._session.run(feeds, fetches, timeout, here=quick)
        except tf.errors.OpError as error:
            raise StatusError(code_of(error.error_code), str(error.message)) from None
        except UnicodeDecodeError as error:  # of TensorFlow's message, which quotes the request
            raise invalid(error.object.decode("utf-8", "replace")) from None
        finally:
            taken = clock() - started
            # TensorFlow's threads may have done the work of one op.
            stall = min(time.perf_counter() - at, time.process_time() - busy) if quick else 0.0
            if quick and (taken > _NEVER_QUICK_SECONDS or stall > _STALL_SECONDS):
                self._unforeseen.add(name)
                self._quick = {known for known in self._quick if known[0] != name}
                self._instant = {known for known in self._instant if known[0] != name}
            if name in self._unforeseen or kind[2] < 0 or taken > _QUICK_SECONDS:
                self._quick.discard(kind)
            else:
                self._quick.add(kind)
            # By the time on the clock, for TensorFlow may share the work of one op among its threads. But that tells
            # nothing on a busy machine, so what was instant once remains it until it has taken twice that of the CPU.
            few = size <= _FEW_VALUES and sum(array.size for array in results) <= _FEW_VALUES
            if not (quick and few) or clock() - started > 2 * _INSTANT_SECONDS:
                self._instant.discard(kind)
            elif time.perf_counter() - at <= _INSTANT_SECONDS:
                self._instant.add(kind)
        return results

    def close(self) -> None:
        """Frees the model's memory; no request may be running, but batches may that all have left."""
        if self._batcher is not None:
            self._batcher.close()
        self._inputs, self._outputs = {}, {}
        self._session.close()

    def _bind_inputs(self, signature: meta_graph_pb2.SignatureDef) -> dict[str, _Input]:
        bound = {}
        for name, info in signature.inputs.items():
            shape = None if info.tensor_shape.unknown_rank else tuple(dim.size for dim in info.tensor_shape.dim)
            bound[name] = _Input(self._session.endpoint(info.name), info.dtype, shape)
        return bound

    def _feeds(self, expected: Mapping[str, _Input], inputs: Mapping[str, np.ndarray]) -> dict[Any, np.ndarray]:
        if inputs.keys() != expected.keys():
            raise invalid(_wrong_inputs(set(inputs), set(expected)))
        feeds = {}
        for name, wanted in expected.items():
            array = inputs[name]
            if array.dtype != tensors.numpy_type(wanted.dtype):
                sent = "string" if array.dtype == np.object_ else array.dtype.name
                raise invalid(f'Input "{name}" must be {tensors.dtype_name(wanted.dtype)} but {sent} was sent')
            shape = wanted.shape
            if shape is not None and (
                len(shape) != array.ndim or any(w not in (-1, s) for w, s in zip(shape, array.shape))
            ):
                raise invalid(
                    f'Input "{name}" must have shape {_shape_text(shape)} (? is any size) but'
                    f" {_shape_text(array.shape)} was sent"
                )
            feeds[wanted.feed] = array
        return feeds

    def _fetches(self, name: str, output_filter: tuple[str, ...]) -> tuple[list[str], list[Any]]:
        found = self._outputs.get((name, output_filter))
        if found is None:
            outputs = self.signatures[name].outputs
            for alias in output_filter:
                if alias not in outputs:
                    raise invalid(
                        f"output tensor alias not found in signature: {alias} Outputs expected to be in the set"
                        f" {{{','.join(sorted(outputs))}}}."
                    )
            if len(set(output_filter)) < len(output_filter):
                raise invalid(f"duplicate output tensor alias: {', '.join(output_filter)}")
            names = list(output_filter) or sorted(outputs)
            found = names, [self._endpoint(outputs[alias].name) for alias in names]
            if len(self._outputs) < 1000:  # clients choose filters, they must not fill the memory
                self._outputs[name, output_filter] = found
        return found

    def _endpoint(self, tensor_name: str) -> Any:
        try:
            return self._session.endpoint(tensor_name)
        except (KeyError, ValueError):  # `__saved_model_init_op` has an operation for an output
            raise invalid(
                f"Tensor {tensor_name}:0, specified in either feed_devices or fetch_devices was not found in the Graph"
            ) from None

    def _warm_up(self, path: str, times: int) -> None:
        """Runs the recorded requests, each so often; one that fails is a broken model."""
        from tensorflow_serving.apis import prediction_log_pb2

        from serving.server import inference  # which imports this module

        started = time.perf_counter()
        count, status = 0, "UNKNOWN"
        try:
            records = tf.data.TFRecordDataset(os.path.join(path, contract.WARMUP)).take(_MAX_WARMUP_REQUESTS)
            for record in records.as_numpy_iterator():
                log = prediction_log_pb2.PredictionLog.FromString(record)
                for _ in range(times):
                    inference.replay(self, log)
                count += 1
            status = "OK"
        except StatusError as error:
            status = error.code.name
            raise StatusError(error.code, f"warm-up request {count} failed: {error.message}") from None
        finally:
            metrics.warmed_up(path, status, count, time.perf_counter() - started)

    def _warn_of_scalars(self, path: str) -> None:
        names = [name for name, inputs in self._inputs.items() if any(i.shape == () for i in inputs.values())]
        if names:
            _LOGGER.warning(
                "%s: %s take scalars: here requests with equal ones share a batch, tensorflow_model_server refuses"
                " them when batching is on; recommend_examples takes its k by the row",
                path,
                ", ".join(sorted(names)),
            )


def _import_custom_ops(path: str) -> None:
    try:
        import_custom_ops(path)
    except contract.NewerFormat as error:
        raise StatusError(grpc.StatusCode.FAILED_PRECONDITION, str(error)) from None


def _unforeseen(meta_graph: meta_graph_pb2.MetaGraphDef) -> set[str]:
    """The signatures whose time can't be told from their inputs: beneath them are loops, or numbers hidden in texts."""
    graph = meta_graph.graph_def
    functions = {function.signature.name: function.node_def for function in graph.library.function}
    found: dict[str, bool] = {}

    def loops(nodes: Iterable[Any]) -> bool:
        return any(node.op in _LOOPS | _DECODERS or any(map(function_loops, _called(node))) for node in nodes)

    def function_loops(name: str) -> bool:
        if name not in found:
            found[name] = False  # for one that calls itself
            found[name] = loops(functions.get(name, ()))
        return found[name]

    nodes = {node.name: node for node in graph.node}

    def beneath(names: Iterable[str]) -> list[Any]:
        seen: dict[str, Any] = {}
        waiting = list(names)
        while waiting:
            name = waiting.pop().lstrip("^").partition(":")[0]
            if name not in seen and name in nodes:
                seen[name] = nodes[name]
                waiting += nodes[name].input
        return list(seen.values())

    return {
        name
        for name, signature in meta_graph.signature_def.items()
        if loops(beneath(info.name for info in signature.outputs.values()))
    }


def _called(node: Any) -> Iterator[str]:
    yield node.op
    for value in node.attr.values():
        yield value.func.name
        for function in value.list.func:
            yield function.name


def _wrong_inputs(sent: set[str], expected: set[str]) -> str:
    """TensorFlow Serving's text for inputs that aren't the signature's."""

    def text(names: set[str]) -> str:
        return "{" + ",".join(sorted(names)) + "}"

    if len(sent) != len(expected):
        return (
            f"input size does not match signature: {len(sent)}!={len(expected)} len({text(sent)}) !="
            f" len({text(expected)}). Sent extra: {text(sent - expected)}."
            f" Missing but required: {text(expected - sent)}."
        )
    extra = ",".join(sorted(sent - expected))
    return (
        f"input tensor alias not found in signature: {extra}. Inputs expected to be in the set {text(expected)},"
        f" received {text(sent)}."
    )


def _shape_text(shape: Sequence[int]) -> str:
    return "[" + ",".join("?" if size < 0 else str(size) for size in shape) + "]"
