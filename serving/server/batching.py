"""Requests that wait for each other and run as one, as TensorFlow Serving's --enable_batching.

Follows batching_session.cc and TensorFlow's shared_batch_scheduler.h, texts of the errors included, with three
differences in the requests' favour: those that don't fit together (other widths without `pad_variable_length_inputs`,
other scalars) share no batch instead of failing; strings are padded with "" and not with their own first element; and
when a batch fails its requests run one by one, so that only those fail that are at fault.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Hashable, Sequence
from queue import Empty, SimpleQueue
from typing import Callable, Optional

import grpc
import numpy as np

from serving.protos.server_config_pb2 import BatchingParameters
from serving.server import metrics
from serving.server.status import StatusError, invalid

Arrays = Sequence[np.ndarray]
Run = Callable[[Arrays, Optional[float]], list[np.ndarray]]
"""Runs a signature on its inputs within so many seconds."""


class _Request:
    """One request in a batch; its thread sleeps until there is something in `wake`."""

    __slots__ = ("deadline", "done", "enqueued", "error", "inputs", "outputs", "rows", "wake")

    def __init__(self, inputs: Arrays, rows: int, deadline: float):
        self.inputs = inputs
        self.rows = rows
        self.deadline = deadline
        self.enqueued = time.monotonic()
        self.wake: SimpleQueue[None] = SimpleQueue()
        self.done = False
        self.outputs: list[np.ndarray] = []
        self.error: Optional[Exception] = None


class _Batch:
    """Requests that run together, in the thread of one of them."""

    __slots__ = ("due", "key", "ready", "requests", "rows", "run", "runner")

    def __init__(self, key: Hashable, run: Run, due: float):
        self.key = key
        self.run = run
        self.due = due
        self.requests: list[_Request] = []
        self.rows = 0
        self.ready = False
        self.runner: Optional[_Request] = None


class Batcher:
    """The batches of one model version; thread-safe, and without threads of its own.

    Args:
        parameters: as in --batching_parameters_file; what is left out has TensorFlow Serving's default.
    """

    def __init__(self, parameters: BatchingParameters):
        def value(name: str, default: int) -> int:
            return int(getattr(parameters, name).value) if parameters.HasField(name) else default

        self._largest_request = value("max_batch_size", 1000)
        self._largest_batch = self._largest_request
        if parameters.enable_large_batch_splitting.value:
            self._largest_batch = value("max_execution_batch_size", self._largest_batch)
        self._timeout = value("batch_timeout_micros", 0) / 1e6
        self._max_enqueued = value("max_enqueued_batches", 10)
        self._free = value("num_batch_threads", os.cpu_count() or 1)
        self._pool = parameters.thread_pool_name.value
        self._sizes = list(parameters.allowed_batch_sizes)
        self._pad = parameters.pad_variable_length_inputs
        self._lock = threading.Lock()
        self._queues: dict[Hashable, deque[_Batch]] = {}  # none of them empty
        self._ready: deque[_Batch] = deque()  # wait for one that runs to end

    def run(self, key: Hashable, inputs: Arrays, run: Run, timeout: Optional[float]) -> list[np.ndarray]:
        """Runs a request in a batch with others of the same `key`.

        Args:
            key: what is run, such as signature and outputs.
            inputs: arrays [B, ...] of the same B, and scalars.
            run: runs it.
            timeout: seconds.

        Returns:
            Arrays [B, ...].

        Raises:
            StatusError: it failed, waited too long, or there is no room for it.
        """
        sizes = {len(array) for array in inputs if array.ndim}
        if not sizes or sizes == {0}:
            return run(inputs, timeout)
        if len(sizes) > 1:
            raise invalid("Batching Run() input tensors must have equal 0th-dimension size")
        (rows,) = sizes
        if rows > self._largest_request:
            raise invalid(f"Task size {rows} is larger than maximum input batch size {self._largest_request}")
        kind = (key, *(self._kind(array) for array in inputs))
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        parts = []
        for start in range(0, rows, self._largest_batch):
            part = [array[start : start + self._largest_batch] if array.ndim else array for array in inputs]
            parts.append(self._run(kind, _Request(part, min(rows - start, self._largest_batch), deadline), run))
        if len(parts) == 1:
            return parts[0]
        try:
            return [np.concatenate(outputs) for outputs in zip(*parts)]
        except ValueError:
            raise invalid("the parts of a request that was split have outputs of different shapes") from None

    def _kind(self, array: np.ndarray) -> Hashable:
        """What has to be equal for two inputs to share a batch."""
        if array.ndim == 0:
            return array.item()
        return array.ndim if self._pad else array.shape[1:]

    def _run(self, kind: Hashable, request: _Request, run: Run) -> list[np.ndarray]:
        batch = self._enqueue(kind, request, run)
        while not request.done:
            if batch.runner is request:
                self._execute(batch)
                break
            first = not batch.ready and batch.requests[0] is request  # looks after the batch until it is ready
            until = min(request.deadline, batch.due) if first else request.deadline
            try:
                request.wake.get(timeout=None if math.isinf(until) else max(0.0, until - time.monotonic()))
            except Empty:
                self._time_is_up(batch, request)
        if request.error is not None:
            raise request.error
        return request.outputs

    def _enqueue(self, kind: Hashable, request: _Request, run: Run) -> _Batch:
        with self._lock:
            queue = self._queues.get(kind)
            batch = queue[-1] if queue else None
            if queue and queue[-1].rows + request.rows > self._largest_batch:
                if len(queue) >= self._max_enqueued:
                    raise StatusError(
                        grpc.StatusCode.UNAVAILABLE,
                        "The batch scheduling queue to which this task was submitted is full; currently"
                        f" {len(queue)} batches enqueued and max_enqueued_batches is {self._max_enqueued}",
                    )
                self._make_ready(queue[-1])
                batch = None
            if batch is None:
                batch = _Batch(kind, run, request.enqueued + self._timeout)
                self._queues.setdefault(kind, deque()).append(batch)
            batch.requests.append(request)
            batch.rows += request.rows
            if batch.rows == self._largest_batch or not self._timeout:
                self._make_ready(batch)
            return batch

    def _make_ready(self, batch: _Batch) -> None:
        """Starts the batch, or lets it wait for its turn; meanwhile others may still join it. Needs the lock."""
        if not batch.ready:
            batch.ready = True
            self._ready.append(batch)
            if self._free:
                self._free -= 1
                self._start(self._ready.popleft())

    def _start(self, batch: _Batch) -> None:
        """Closes the batch and wakes who runs it. Needs the lock."""
        self._forget(batch)
        # The one with the latest deadline, which is that of the run: all others can leave at their own.
        batch.runner = max(batch.requests, key=lambda request: request.deadline)
        batch.runner.wake.put(None)

    def _forget(self, batch: _Batch) -> None:
        queue = self._queues[batch.key]
        queue.remove(batch)
        if not queue:
            del self._queues[batch.key]

    def _time_is_up(self, batch: _Batch, request: _Request) -> None:
        """A request has slept until its deadline, or until its batch is due."""
        with self._lock:
            if request.done or batch.runner is request:
                return
            if time.monotonic() < request.deadline:
                self._make_ready(batch)
                return
            if batch.runner is not None:
                raise StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
            batch.requests.remove(request)
            batch.rows -= request.rows
            if batch.requests:
                batch.requests[0].wake.put(None)  # may have become the first
            else:
                self._forget(batch)
                if batch.ready:
                    self._ready.remove(batch)
        raise StatusError(grpc.StatusCode.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue")

    def _execute(self, batch: _Batch) -> None:
        try:
            now = time.monotonic()
            for request in batch.requests:
                metrics.queued(self._pool, request.rows, now - request.enqueued)
            if not self._try(batch.requests, batch.run) and len(batch.requests) > 1:
                for request in batch.requests:
                    self._try([request], batch.run)
        finally:
            with self._lock:
                if self._ready:
                    self._start(self._ready.popleft())
                else:
                    self._free += 1
            for request in batch.requests:
                request.done = True
                request.wake.put(None)

    def _try(self, requests: Sequence[_Request], run: Run) -> bool:
        """Runs requests together and gives them their outputs, or the error; tells whether it went well."""
        rows = sum(request.rows for request in requests)
        padding = next((size for size in self._sizes if size >= rows), rows) - rows
        deadline = max(request.deadline for request in requests)
        error: Optional[Exception] = None
        try:
            inputs = [self._merge(column, padding) for column in zip(*(request.inputs for request in requests))]
            outputs = run(inputs, None if math.isinf(deadline) else deadline - time.monotonic())
            metrics.batch_ran(rows + padding, padding)
            _check(outputs, rows + padding)
            start = 0
            for request in requests:
                request.outputs = [array[start : start + request.rows] for array in outputs]
                start += request.rows
        except Exception as caught:  # must reach the threads that wait
            error = caught
        for request in requests:
            request.error = error
        return error is None

    def _merge(self, arrays: Sequence[np.ndarray], padding: int) -> np.ndarray:
        """One input of a batch; its last request's first row is repeated to fill it up."""
        if arrays[0].ndim == 0 or (len(arrays) == 1 and not padding):
            return arrays[0]
        if self._pad:
            shape = tuple(max(sizes) for sizes in zip(*(array.shape[1:] for array in arrays)))
            arrays = [_widened(array, shape) for array in arrays]
        return np.concatenate([*arrays, np.repeat(arrays[-1][:1], padding, axis=0)])


def _widened(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An array [B, ...] padded at its ends to [B, *shape], numbers with its first one."""
    if array.shape[1:] == shape:
        return array
    wide = np.empty((len(array), *shape), array.dtype)
    wide[...] = b"" if array.dtype.hasobject else (array.flat[0] if array.size else 0)
    wide[tuple(slice(size) for size in array.shape)] = array
    return wide


def _check(outputs: Arrays, rows: int) -> None:
    for array in outputs:
        if array.ndim == 0:
            raise StatusError(grpc.StatusCode.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
        if len(array) != rows:
            raise StatusError(
                grpc.StatusCode.FAILED_PRECONDITION,
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input"
                " tensors",
            )
