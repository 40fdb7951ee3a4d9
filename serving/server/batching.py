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
from concurrent import futures
from typing import Callable, Optional

import grpc
import numpy as np

from serving.protos.server_config_pb2 import BatchingParameters
from serving.server import metrics
from serving.server.status import StatusError, invalid

Arrays = Sequence[np.ndarray]
Run = Callable[[Arrays, Optional[float]], list[np.ndarray]]
"""Runs a signature on its inputs within so many seconds."""


class _Request(futures.Future[list[np.ndarray]]):
    """One request; who no longer waits for it cancels it, and it makes room if its batch hasn't started."""

    def __init__(self, batcher: Batcher, inputs: Arrays, rows: int, deadline: float):
        super().__init__()
        self._batcher = batcher
        self.inputs = inputs
        self.rows = rows
        self.deadline = deadline
        self.enqueued = time.monotonic()
        self.batch: Optional[_Batch] = None

    def cancel(self) -> bool:
        self._batcher.leave(self)
        return super().cancel()


class _Batch:
    """Requests that run together from `due` on."""

    __slots__ = ("due", "kind", "requests", "rows", "run")

    def __init__(self, kind: Hashable, run: Run, due: float):
        self.kind = kind
        self.run = run
        self.due = due
        self.requests: list[_Request] = []
        self.rows = 0

    @property
    def deadline(self) -> float:
        """That of the run: the latest one, all others can leave at their own."""
        return max(request.deadline for request in self.requests)


class Batcher:
    """The batches of one model version, and the threads that run them; thread-safe.

    Args:
        parameters: as in --batching_parameters_file; what is left out has TensorFlow Serving's default, but
            num_batch_threads, which is half of the CPUs: a run takes more than one, and fewer batches are larger.
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
        self._pool = parameters.thread_pool_name.value
        self._sizes = list(parameters.allowed_batch_sizes)
        self._pad = parameters.pad_variable_length_inputs
        self._changed = threading.Condition()
        self._closed = False
        self._waiting = 0  # rows
        self._queues: dict[Hashable, deque[_Batch]] = {}  # those that wait, by what may share one; none of them empty
        self._threads = [
            threading.Thread(target=self._work, name="batch", daemon=True)
            for _ in range(value("num_batch_threads", max(1, (os.cpu_count() or 1) // 2)))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Rows that wait."""
        return self._waiting

    def close(self) -> None:
        """Runs what waits and ends the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def run(self, key: Hashable, inputs: Arrays, run: Run, timeout: Optional[float]) -> list[np.ndarray]:
        """Runs a request in a batch with others of the same `key`, and waits for it.

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
        rows = self._rows(inputs)
        if rows == 0:
            return run(inputs, timeout)
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        parts = []
        for start in range(0, rows, self._largest_batch):
            part = [array[start : start + self._largest_batch] if array.ndim else array for array in inputs]
            request = _Request(self, part, min(rows - start, self._largest_batch), deadline)
            parts.append(_result(self._enqueue(key, request, run)))
        if len(parts) == 1:
            return parts[0]
        try:
            return [np.concatenate(outputs) for outputs in zip(*parts)]
        except ValueError:
            raise invalid("the parts of a request that was split have outputs of different shapes") from None

    def submit(
        self, key: Hashable, inputs: Arrays, run: Run, timeout: Optional[float]
    ) -> Optional[futures.Future[list[np.ndarray]]]:
        """As `run`, but doesn't wait; who stops to wait for the result, at the deadline at the latest, cancels it.

        Returns:
            The future result; None for what isn't one request of a batch and must be `run`.
        """
        rows = self._rows(inputs)
        if not 0 < rows <= self._largest_batch:
            return None
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        return self._enqueue(key, _Request(self, inputs, rows, deadline), run)

    def _rows(self, inputs: Arrays) -> int:
        """How many rows a request has; 0 if there is nothing to batch."""
        sizes = {len(array) for array in inputs if array.ndim}
        if len(sizes) > 1:
            raise invalid("Batching Run() input tensors must have equal 0th-dimension size")
        rows = sizes.pop() if sizes else 0
        if rows > self._largest_request:
            raise invalid(f"Task size {rows} is larger than maximum input batch size {self._largest_request}")
        return rows

    def _kind(self, array: np.ndarray) -> Hashable:
        """What has to be equal for two inputs to share a batch."""
        if array.ndim == 0:
            return array.item()
        return array.ndim if self._pad else array.shape[1:]

    def _enqueue(self, key: Hashable, request: _Request, run: Run) -> _Request:
        kind = (key, *map(self._kind, request.inputs))
        with self._changed:
            # Requests that can't share a batch have queues of their own, but together no more room than if they could.
            if self._waiting + request.rows > self._max_enqueued * self._largest_batch:
                raise self._full(sum(map(len, self._queues.values())))
            queue = self._queues.get(kind)
            batch = queue[-1] if queue else None
            if queue and queue[-1].rows + request.rows > self._largest_batch:
                if len(queue) >= self._max_enqueued:
                    raise self._full(len(queue))
                self._make_ready(queue[-1], request.enqueued)
                batch = None
            if batch is None:
                batch = _Batch(kind, run, request.enqueued + self._timeout)
                self._queues.setdefault(kind, deque()).append(batch)
                self._changed.notify()
            batch.requests.append(request)
            batch.rows += request.rows
            self._waiting += request.rows
            request.batch = batch
            if batch.rows == self._largest_batch:
                self._make_ready(batch, request.enqueued)
            return request

    def _make_ready(self, batch: _Batch, now: float) -> None:
        """The batch need not wait for its time; until a thread takes it others may still join it. Needs the lock."""
        if batch.due > now:
            batch.due = now
            self._changed.notify()

    def leave(self, request: _Request) -> None:
        """Takes a request out of its batch, unless that has started."""
        with self._changed:
            batch = request.batch
            if batch is not None and batch in self._queues.get(batch.kind, ()) and request in batch.requests:
                batch.requests.remove(request)
                batch.rows -= request.rows
                self._waiting -= request.rows
                if not batch.requests:
                    self._forget(batch)

    def _full(self, batches: int) -> StatusError:
        return StatusError(
            grpc.StatusCode.UNAVAILABLE,
            "The batch scheduling queue to which this task was submitted is full; currently"
            f" {batches} batches enqueued and max_enqueued_batches is {self._max_enqueued}",
        )

    def _forget(self, batch: _Batch) -> None:
        self._waiting -= batch.rows
        queue = self._queues[batch.kind]
        queue.remove(batch)
        if not queue:
            del self._queues[batch.kind]

    def _work(self) -> None:
        while self._execute_next():  # of its own, so that a thread that waits keeps nothing of its last batch alive
            pass

    def _execute_next(self) -> bool:
        batch = self._take()
        if batch is None:
            return False
        now = time.monotonic()
        requests = [request for request in batch.requests if request.set_running_or_notify_cancel()]
        for request in requests:
            metrics.queued(self._pool, request.rows, now - request.enqueued)
        if requests and not self._try(requests, batch.run):
            for request in requests:
                self._try([request], batch.run)
        return True

    def _take(self) -> Optional[_Batch]:
        """Waits for the next batch that is due; None when there will be no more."""
        with self._changed:
            while True:
                # The first of each queue: those behind it came later.
                batch = min((queue[0] for queue in self._queues.values()), key=lambda first: first.due, default=None)
                if batch is None and self._closed:
                    return None
                left = math.inf if batch is None else batch.due - time.monotonic()
                if batch is not None and (left <= 0 or self._closed):
                    self._forget(batch)
                    if self._queues:
                        self._changed.notify()  # another thread looks after the next one
                    return batch
                self._changed.wait(None if math.isinf(left) else left)

    def _try(self, requests: Sequence[_Request], run: Run) -> bool:
        """Runs requests together and gives them their outputs; False if they have to be run one by one."""
        rows = sum(request.rows for request in requests)
        padding = next((size for size in self._sizes if size >= rows), rows) - rows
        deadline = max(request.deadline for request in requests)
        try:
            inputs = [self._merge(column, padding) for column in zip(*(request.inputs for request in requests))]
            outputs = run(inputs, None if math.isinf(deadline) else deadline - time.monotonic())
            metrics.batch_ran(rows + padding, padding)
            _check(outputs, rows + padding)
        except Exception as error:  # must reach those who wait
            if len(requests) > 1:
                return False
            requests[0].set_exception(error)
            return True
        start = 0
        for request in requests:
            request.set_result([array[start : start + request.rows] for array in outputs])
            start += request.rows
        return True

    def _merge(self, arrays: Sequence[np.ndarray], padding: int) -> np.ndarray:
        """One input of a batch; its last request's first row is repeated to fill it up."""
        if arrays[0].ndim == 0 or (len(arrays) == 1 and not padding):
            return arrays[0]
        if self._pad:
            shape = tuple(max(sizes) for sizes in zip(*(array.shape[1:] for array in arrays)))
            arrays = [_widened(array, shape) for array in arrays]
        return np.concatenate([*arrays, np.repeat(arrays[-1][:1], padding, axis=0)])


def _result(request: _Request) -> list[np.ndarray]:
    """Waits for a request until its deadline."""
    left = None if math.isinf(request.deadline) else max(0.0, request.deadline - time.monotonic())
    try:
        return request.result(left)
    except futures.TimeoutError:
        if request.cancel():
            raise StatusError(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue"
            ) from None
    assert request.batch is not None
    if not request.done() and request.deadline < request.batch.deadline:
        raise StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
    return request.result()  # the run ends by itself about now


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
