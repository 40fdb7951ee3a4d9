"""The batcher alone, then with a model: what shares a run, what comes back, and what goes wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.protos.server_config_pb2 import BatchingParameters
from serving.server.batching import Batcher
from serving.server.status import StatusError, invalid

_LONG = 30.0


_opened: list[Batcher] = []


def batcher(text: str = "") -> Batcher:
    _opened.append(Batcher(text_format.Parse(text, BatchingParameters())))
    return _opened[-1]


@pytest.fixture(autouse=True)
def closed():
    yield
    while _opened:
        _opened.pop().close()


class Model:
    """Runs on demand: `next()` lets the oldest run that waits go on and returns its inputs."""

    def __init__(self, work: Callable[[list[np.ndarray]], list[np.ndarray]] = lambda arrays: [arrays[0] * 2]):
        self.work = work
        self.gate = threading.Semaphore(0)
        self.runs: list[list[np.ndarray]] = []
        self.timeouts: list[Any] = []
        self.started = threading.Semaphore(0)

    def __call__(self, arrays: Any, timeout: Any) -> list[np.ndarray]:
        self.runs.append(list(arrays))
        self.timeouts.append(timeout)
        self.started.release()
        assert self.gate.acquire(timeout=_LONG)
        return self.work(list(arrays))

    def wait_until_running(self) -> None:
        assert self.started.acquire(timeout=_LONG)

    def go(self, runs: int = 1) -> None:
        self.gate.release(runs)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(16) as opened:
        yield opened


def ask(
    pool: ThreadPoolExecutor, what: Batcher, model: Model, *inputs: Any, timeout: float | None = None, key: str = "f"
) -> Future[list[np.ndarray]]:
    return pool.submit(what.run, key, [np.asarray(value) for value in inputs], model, timeout)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + _LONG
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def waiting(what: Batcher) -> int:
    return sum(len(batch.requests) for queue in list(what._queues.values()) for batch in list(queue))


def result(future: Future[list[np.ndarray]]) -> list[Any]:
    return [array.tolist() for array in future.result(_LONG)]


def error(future: Future[list[np.ndarray]]) -> StatusError:
    found = future.exception(_LONG)
    assert isinstance(found, StatusError), found
    return found


@pytest.mark.slow
@pytest.mark.smoke
def test_a_request_alone_does_not_wait():
    model = Model()
    model.go()
    (doubled,) = batcher().run("f", [np.array([1, 2])], model, None)
    assert doubled.tolist() == [2, 4]


def test_what_comes_while_the_threads_are_busy_runs_together(pool):
    what, model = batcher("num_batch_threads { value: 1 }"), Model()
    first = ask(pool, what, model, [1])
    model.wait_until_running()
    others = []
    for number in range(3):
        others.append(ask(pool, what, model, [10 + number, 20 + number]))
        until(lambda: waiting(what) == len(others))
    model.go(2)
    assert result(first) == [[2]]
    assert [result(future) for future in others] == [[[20, 40]], [[22, 42]], [[24, 44]]]
    assert [run[0].tolist() for run in model.runs] == [[1], [10, 20, 11, 21, 12, 22]]
    assert not what._queues


def test_a_second_thread_runs_beside_the_first(pool):
    what, model = batcher("num_batch_threads { value: 2 }"), Model()
    futures = []
    for number in range(2):
        futures.append(ask(pool, what, model, [number]))
        model.wait_until_running()  # the second, too, though the first may not end yet
    model.go(2)
    assert sorted(result(future)[0][0] for future in futures) == [0, 2]


def test_it_waits_for_others_as_long_as_it_is_told(pool):
    what, model = batcher("batch_timeout_micros { value: 60000000 } max_batch_size { value: 4 }"), Model()
    model.go()
    first = ask(pool, what, model, [1])
    until(lambda: waiting(what) == 1)
    second = ask(pool, what, model, [2, 3])
    until(lambda: waiting(what) == 2)
    assert not model.runs
    third = ask(pool, what, model, [4])  # full
    assert [result(first), result(second), result(third)] == [[[2]], [[4, 6]], [[8]]]
    assert len(model.runs) == 1


def test_a_batch_that_nobody_joins_runs_when_it_is_due():
    model = Model()
    model.go()
    started = time.monotonic()
    (answer,) = batcher("batch_timeout_micros { value: 50000 }").run("f", [np.array([1])], model, None)
    assert answer.tolist() == [2]
    assert time.monotonic() - started >= 0.05


def test_what_does_not_fit_starts_a_new_batch_and_then_there_is_no_room(pool):
    what = batcher("num_batch_threads { value: 1 } max_batch_size { value: 4 } max_enqueued_batches { value: 1 }")
    model = Model()
    running = ask(pool, what, model, [0])
    model.wait_until_running()
    waits = ask(pool, what, model, [1, 2, 3])
    until(lambda: waiting(what) == 1)
    refused = error(ask(pool, what, model, [4, 5]))
    assert refused.code is grpc.StatusCode.UNAVAILABLE
    assert refused.message == (
        "The batch scheduling queue to which this task was submitted is full; currently 1 batches enqueued and"
        " max_enqueued_batches is 1"
    )
    fits = ask(pool, what, model, [6])
    until(lambda: waiting(what) == 2)
    model.go(2)
    assert [result(f) for f in (running, waits, fits)] == [[[0]], [[2, 4, 6]], [[12]]]


def test_requests_that_share_no_batch_have_no_more_room_than_those_that_do(pool):
    what = batcher("num_batch_threads { value: 1 } max_batch_size { value: 4 } max_enqueued_batches { value: 2 }")
    model = Model()
    running = ask(pool, what, model, [0])
    model.wait_until_running()
    waits = [
        pool.submit(what.run, "key", [np.full((1, width), width)], model, 30.0) for width in range(2, 10)
    ]  # 8 rows of 8 widths
    until(lambda: waiting(what) == 8)
    refused = error(pool.submit(what.run, "key", [np.full((1, 10), 10)], model, 30.0))
    assert refused.code is grpc.StatusCode.UNAVAILABLE
    assert refused.message.endswith("currently 8 batches enqueued and max_enqueued_batches is 2")
    model.go(9)
    assert result(running) == [[0]]
    assert [found.result(30)[0].shape for found in waits] == [(1, width) for width in range(2, 10)]
    assert what._waiting == 0


def test_too_large_and_uneven_requests():
    what, model = batcher("max_batch_size { value: 2 }"), Model()
    with pytest.raises(StatusError, match="Task size 3 is larger than maximum input batch size 2"):
        what.run("f", [np.zeros(3)], model, None)
    with pytest.raises(StatusError, match="input tensors must have equal 0th-dimension size"):
        what.run("f", [np.zeros(2), np.zeros(1)], model, None)
    assert not model.runs


def test_large_requests_are_split(pool):
    what = batcher(
        "max_batch_size { value: 8 } enable_large_batch_splitting { value: true } max_execution_batch_size { value: 3 }"
    )
    model = Model()
    model.go(3)
    assert result(ask(pool, what, model, np.arange(7), 5)) == [[0, 2, 4, 6, 8, 10, 12]]
    assert [run[0].tolist() for run in model.runs] == [[0, 1, 2], [3, 4, 5], [6]]
    assert all(run[1] == 5 for run in model.runs)


def test_batches_are_filled_up_to_an_allowed_size(pool):
    what = batcher("max_batch_size { value: 4 } allowed_batch_sizes: [2, 4] num_batch_threads { value: 1 }")
    model = Model()
    first = ask(pool, what, model, [7])
    model.wait_until_running()
    others = [ask(pool, what, model, [1, 2])]
    until(lambda: waiting(what) == 1)
    others.append(ask(pool, what, model, [3]))
    until(lambda: waiting(what) == 2)
    model.go(2)
    assert [result(future) for future in (first, *others)] == [[[14]], [[2, 4]], [[6]]]
    assert [run[0].tolist() for run in model.runs] == [[7, 7], [1, 2, 3, 3]]


def strings(*rows: list[bytes]) -> np.ndarray:
    array = np.empty((len(rows), len(rows[0])), object)
    array[...] = rows
    return array


@pytest.mark.parametrize("pad", [False, True])
def test_widths(pool, pad):
    what = batcher(f"num_batch_threads {{ value: 1 }} pad_variable_length_inputs: {str(pad).lower()}")
    model = Model(lambda arrays: [np.array([len(row) for row in arrays[0]])])
    blocker = ask(pool, what, model, strings([b"x"]), key="other")
    model.wait_until_running()
    futures = []
    for texts, numbers in ((strings([b"a"]), [[5]]), (strings([b"b", b"c"]), [[6, 7]]), (strings([]), [[8]])):
        futures.append(ask(pool, what, model, texts, numbers))
        until(lambda: waiting(what) == len(futures))
    model.go(4)
    assert result(blocker) == [[1]]
    assert [result(future)[0] for future in futures] == ([[2]] * 3 if pad else [[1], [2], [0]])
    if pad:
        assert model.runs[1][0].tolist() == [[b"a", b""], [b"b", b"c"], [b"", b""]]
        assert model.runs[1][1].tolist() == [[5, 5], [6, 7], [8, 8]]  # as TensorFlow Serving pads
    else:
        assert len(model.runs) == 4


def test_only_equal_scalars_share_a_batch(pool):
    what, model = batcher("num_batch_threads { value: 1 }"), Model(lambda arrays: [arrays[0] * arrays[1]])
    blocker = ask(pool, what, model, [1], 1, key="other")
    model.wait_until_running()
    futures = []
    for value, factor in ((1, 10), (2, 20), (3, 10)):
        futures.append(ask(pool, what, model, [value], np.int32(factor)))
        until(lambda: waiting(what) == len(futures))
    model.go(3)
    assert [result(future) for future in (blocker, *futures)] == [[[1]], [[10]], [[40]], [[30]]]
    assert [run[0].tolist() for run in model.runs] == [[1], [1, 3], [2]]


def test_a_request_at_fault_fails_alone(pool):
    def work(arrays: list[np.ndarray]) -> list[np.ndarray]:
        if (arrays[0] < 0).any():
            raise invalid("below 0")
        return [arrays[0] * 2]

    what, model = batcher("num_batch_threads { value: 1 }"), Model(work)
    blocker = ask(pool, what, model, [1])
    model.wait_until_running()
    futures = []
    for value in (2, -1, 3):
        futures.append(ask(pool, what, model, [value]))
        until(lambda: waiting(what) == len(futures))
    model.go(1 + 1 + 3)
    assert [result(future) for future in (blocker, futures[0], futures[2])] == [[[2]], [[4]], [[6]]]
    assert error(futures[1]).message == "below 0"


def test_a_bug_reaches_all_who_wait(pool):
    def work(_: list[np.ndarray]) -> list[np.ndarray]:
        raise ZeroDivisionError("a bug")

    what, model = batcher("num_batch_threads { value: 1 }"), Model(work)
    futures = [ask(pool, what, model, [1])]
    model.wait_until_running()
    futures.append(ask(pool, what, model, [2]))
    until(lambda: waiting(what) == 1)
    model.go(2)
    assert [type(future.exception(_LONG)) for future in futures] == [ZeroDivisionError] * 2
    model.work = lambda arrays: arrays
    model.go()
    assert result(ask(pool, what, model, [3])) == [[3]]  # the thread has outlived it


@pytest.mark.parametrize(
    ("output", "text"),
    [(np.float32(1), "output tensor has 0 dimensions"), (np.zeros(5), "0th dimension does not equal the sum")],
)
def test_outputs_without_rows(output, text):
    model = Model(lambda _: [np.asarray(output)])
    model.go()
    with pytest.raises(StatusError, match=text) as raised:
        batcher().run("f", [np.zeros(1)], model, None)
    assert raised.value.code is grpc.StatusCode.FAILED_PRECONDITION


def test_each_keeps_its_own_deadline(pool):
    what, model = batcher("num_batch_threads { value: 1 }"), Model()
    blocker = ask(pool, what, model, [1])
    model.wait_until_running()
    patient = ask(pool, what, model, [2], timeout=_LONG)
    hasty = ask(pool, what, model, [3], timeout=0.01)
    given_up = error(hasty)  # while the others go on waiting
    assert given_up.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert given_up.message == "Run() timeout exceeded while waiting in batching queue"
    model.go(2)
    assert [result(blocker), result(patient)] == [[[2]], [[4]]]
    assert model.runs[1][0].tolist() == [2]
    assert model.timeouts[0] is None
    assert 0 < model.timeouts[1] <= _LONG


@pytest.mark.slow
@pytest.mark.smoke
def test_the_first_of_a_batch_gives_up_and_the_second_runs(pool):
    what, model = batcher("batch_timeout_micros { value: 600000 }"), Model()
    hasty = ask(pool, what, model, [1], timeout=0.3)
    until(lambda: waiting(what) == 1 or hasty.done())
    patient = ask(pool, what, model, [2])
    assert error(hasty).code is grpc.StatusCode.RESOURCE_EXHAUSTED
    model.go()
    assert result(patient) == [[4]]
    assert [run[0].tolist() for run in model.runs] == [[2]]
    assert not what._queues


def test_a_batch_that_all_have_left_is_gone(pool):
    what, model = batcher("num_batch_threads { value: 1 }"), Model()
    blocker = ask(pool, what, model, [1])
    model.wait_until_running()
    assert error(ask(pool, what, model, [2], timeout=0.01)).code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not what._queues
    model.go()
    assert result(blocker) == [[2]]
    assert len(model.runs) == 1


@pytest.mark.slow
@pytest.mark.smoke
def test_a_run_has_the_time_of_who_can_wait_longest(pool):
    """The others can leave it."""
    what, model = batcher("num_batch_threads { value: 1 }"), Model()
    blocker = ask(pool, what, model, [1])
    model.wait_until_running()
    hasty = ask(pool, what, model, [2], timeout=1.5)
    until(lambda: waiting(what) == 1)
    patient = ask(pool, what, model, [3], timeout=_LONG)
    until(lambda: waiting(what) == 2)
    model.go()
    assert result(blocker) == [[2]]
    model.wait_until_running()  # both
    assert error(hasty).code is grpc.StatusCode.DEADLINE_EXCEEDED
    model.go()
    assert result(patient) == [[6]]
    assert model.runs[1][0].tolist() == [2, 3]


def submit(what: Batcher, model: Model, *rows: Any) -> Future[list[np.ndarray]]:
    future = what.submit("f", [np.array(rows)], model, None)
    assert future is not None
    return future


def test_who_leaves_makes_room_and_who_is_running_stays():
    what, model = (
        batcher("num_batch_threads { value: 1 } max_batch_size { value: 2 } max_enqueued_batches { value: 1 }"),
        Model(),
    )
    running = submit(what, model, 1)
    model.wait_until_running()
    waits, leaves = submit(what, model, 2), submit(what, model, 3)
    with pytest.raises(StatusError, match="is full"):
        submit(what, model, 4)
    assert leaves.cancel()
    fits = submit(what, model, 5)
    assert not running.cancel()
    model.go(2)
    assert [result(future) for future in (running, waits, fits)] == [[[2]], [[4]], [[10]]]
    assert [run[0].tolist() for run in model.runs] == [[1], [2, 5]]


def test_what_cannot_be_submitted():
    what = batcher(
        "max_batch_size { value: 4 } enable_large_batch_splitting { value: true } max_execution_batch_size { value: 2 }"
    )
    model = Model()
    for inputs in ([], [np.array(3)], [np.zeros((0, 2))], [np.zeros(3)]):  # alone, or in parts
        assert what.submit("f", inputs, model, None) is None
    with pytest.raises(StatusError, match="larger than maximum input batch size 4"):
        what.submit("f", [np.zeros(5)], model, None)


def test_a_batch_that_is_due_does_not_wait_for_a_busy_thread():
    """The thread that looked after it has found something else to do."""
    what, model = (
        batcher("num_batch_threads { value: 2 } batch_timeout_micros { value: 200000 } max_batch_size { value: 2 }"),
        Model(),
    )
    waits = submit(what, model, 1)
    full = what.submit("g", [np.array([2, 3])], model, None)
    model.wait_until_running()
    model.wait_until_running()  # both, though none may end yet
    model.go(2)
    assert full is not None
    assert [result(waits), result(full)] == [[[2]], [[4, 6]]]


def test_closing_waits_for_what_runs_and_runs_what_waits(pool):
    what, model = (
        batcher("num_batch_threads { value: 1 } batch_timeout_micros { value: 60000000 } max_batch_size { value: 2 }"),
        Model(),
    )
    running = submit(what, model, 1, 2)
    model.wait_until_running()
    waits = submit(what, model, 3)
    closing = pool.submit(what.close)
    time.sleep(0.05)  # for what must not happen
    assert not closing.done()
    model.go(2)
    closing.result(_LONG)
    assert [result(running), result(waits)] == [[[2, 4]], [[6]]]


def test_nothing_to_batch_runs_alone():
    model = Model(lambda arrays: [np.array(len(arrays))])
    model.go(3)
    for inputs in ([], [np.array(3)], [np.zeros((0, 2))]):
        assert batcher().run("f", inputs, model, None)[0] == len(inputs)


@pytest.mark.slow
@pytest.mark.smoke
@settings(max_examples=25, deadline=None)
@given(
    requests=st.lists(st.tuples(st.lists(st.integers(-3, 9), min_size=1, max_size=4), st.integers(1, 2)), max_size=12),
    limit=st.integers(4, 8),
    threads=st.integers(1, 3),
    timeout=st.sampled_from([0, 500]),
)
def test_everybody_gets_their_own_rows(
    requests: list[tuple[list[int], int]], limit: int, threads: int, timeout: int
) -> None:
    """Whatever is batched with whatever: each answer is that of its request alone."""

    def run(arrays: Any, _: Any) -> list[np.ndarray]:
        assert sum(map(len, arrays[:1])) <= limit
        if (arrays[0] < -2).any():
            raise invalid("below -2")
        return [arrays[0] * arrays[1], arrays[0][:, np.newaxis] + 1]

    what = batcher(
        f"max_batch_size {{ value: {limit} }} num_batch_threads {{ value: {threads} }}"
        f"batch_timeout_micros {{ value: {timeout} }} max_enqueued_batches {{ value: 100 }}"
    )
    with ThreadPoolExecutor(12) as workers:
        futures = [workers.submit(what.run, "f", [np.array(v), np.array(f)], run, 30.0) for v, f in requests]
    for future, (values, factor) in zip(futures, requests):
        if min(values) < -2:
            assert error(future).message == "below -2"
        else:
            assert result(future) == [[v * factor for v in values], [[v + 1] for v in values]]
    assert not what._queues
    what.close()
    assert not any(thread.is_alive() for thread in what._threads)
