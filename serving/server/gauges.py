"""What the server is like at the moment, for Prometheus' page; names of our own, for TensorFlow Serving has no such."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Callable, Optional

from serving.server.admission import Admission
from serving.server.core import ServerCore
from serving.server.metrics import family

_PREFIX = "recommender_server_"
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Gauges:
    """Reads what it shows when it is asked to, so that it costs requests nothing.

    Args:
        core: whose models and versions.
        admission: whose requests and bytes in flight.
        queues: requests that wait for a thread, by `GRPC` and `REST`.
        loops: the threads that take requests on, likewise.
        answers: how many answers were logged, and left out, by why.
    """

    def __init__(
        self,
        core: ServerCore,
        admission: Admission,
        queues: Callable[[], Mapping[str, int]],
        loops: Callable[[], Mapping[str, threading.Thread]] = dict,
        answers: Callable[[], Mapping[str, int]] = dict,
    ):
        self._core = core
        self._admission = admission
        self._queues = queues
        self._loops = loops
        self._answers = answers
        self._config_polled: Optional[float] = None

    def config_polled(self) -> None:
        """The config file was looked at, and counts."""
        self._config_polled = time.time()

    def lines(self) -> Iterator[str]:
        """All of them in Prometheus' text format."""
        for name, text, values in self._all():
            yield from family(_PREFIX + name, text, values)
        yield from family("process_cpu_seconds_total", "CPU that the process took.", [({}, time.process_time())])
        with open("/proc/self/statm", encoding="ascii") as file:
            resident = int(file.read().split()[1]) * _PAGE_BYTES
        yield from family("process_resident_memory_bytes", "Memory that it has.", [({}, resident)])

    def _all(self) -> Iterator[tuple[str, str, Sequence[tuple[Mapping[str, str], float]]]]:
        (count, size), (most, most_bytes) = self._admission.in_flight, self._admission.limits
        yield "requests_in_flight", "Requests that run or wait.", [({}, count)]
        yield "bytes_in_flight", "Their bytes, and those of requests that are still coming.", [({}, size)]
        yield "max_requests_in_flight", "From which on requests are refused.", [({}, most)]
        yield "max_bytes_in_flight", "From which on requests are refused.", [({}, most_bytes)]
        queues = [({"entrypoint": name}, waiting) for name, waiting in self._queues().items()]
        yield "queue_length", "Requests that wait for a thread.", queues
        loops = [({"entrypoint": name}, _cpu_seconds(thread)) for name, thread in self._loops().items()]
        yield "loop_cpu_seconds_total", "CPU of the thread that takes requests on; nearly 1 a second: it can't.", loops
        answers = [({"outcome": outcome}, count) for outcome, count in sorted(self._answers().items())]
        if answers:
            yield "logged_answers_total", "Answers logged, and left out, by why; deleted: files.", answers
        yield "ready", "1 if every model has a version that answers.", [({}, int(self._core.serves()))]
        if self._config_polled is not None:
            text = "When the config file was last looked at and found right, or unchanged."
            yield "config_poll_success_timestamp_seconds", text, [({}, self._config_polled)]
        available, versions, made, batches = [], [], [], []
        for manager in self._core.models():
            loaded = manager.loaded()
            model = {"model_name": manager.name}
            available.append((model, int(bool(loaded))))
            for number, (servable, _) in sorted(loaded.items()):
                waiting = None if servable is None else servable.waiting
                if waiting is not None:
                    batches.append(({**model, "version": str(number)}, waiting))
            for label, number in sorted(manager.labels().items()):
                if number in loaded:
                    versions.append(({**model, "label": label}, number))
                    made.append(({**model, "label": label}, loaded[number][1]))
        yield "model_available", "1 if a version of the model answers.", available
        yield "version", "The version that answers to a label; to none under the empty one.", versions
        yield "model_created_timestamp_seconds", "When the files of that version were written.", made
        yield "batch_queue_rows", "Rows that wait for their batch.", batches


def _cpu_seconds(thread: threading.Thread) -> float:
    """CPU that a thread took; 0 before it begins."""
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident)) if thread.ident and thread.is_alive() else 0.0
