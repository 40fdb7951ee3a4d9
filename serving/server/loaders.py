"""The threads that load versions: one that hangs, as a network's folder may let it, holds up nobody for good."""

from __future__ import annotations

import functools
import logging
import math
import queue
import threading
import time
from concurrent.futures import Executor, Future
from typing import Any, Callable

_LOGGER = logging.getLogger("serving.server")
_LONG_SECONDS = 60.0
"""After which a load is told of, and again after twice, four times as long."""
_STUCK_SECONDS = 300.0
"""After which a load doesn't count among those at the same time any more."""


class _Job:
    """A load, and how long it has been running."""

    def __init__(self, work: Callable[[], Any]):
        self.work = work
        self.future: Future[Any] = Future()
        self.name = ""
        self.started = math.inf
        self.told = _LONG_SECONDS
        self.replaced = False


class Loaders(Executor):
    """Runs so many loads at the same time, in daemon threads; more wait.

    Args:
        threads: how many.
    """

    def __init__(self, threads: int):
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._unfinished: set[_Job] = set()
        self._lock = threading.Lock()
        for _ in range(threads):
            self._start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See `Executor`."""
        job = _Job(lambda: fn(*args, **kwargs))
        job.name = " from ".join(map(str, args))
        with self._lock:
            self._unfinished.add(job)
        self._jobs.put(job)
        return job.future

    def watch(self) -> float:
        """Tells of loads that take long, and starts another thread for one that is stuck.

        Returns:
            When it is to be called again, on `time.monotonic`'s clock.
        """
        now = time.monotonic()
        with self._lock:
            due = now + _LONG_SECONDS if self._unfinished else math.inf
            for job in self._unfinished:
                if now >= job.started + job.told:
                    _LOGGER.warning("loading version %s has been going on for %.0f s", job.name, now - job.started)
                    job.told *= 2
                if not job.replaced and now >= job.started + _STUCK_SECONDS:
                    job.replaced = True
                    self._start()
                due = min(due, job.started + job.told)
                if not job.replaced:
                    due = min(due, job.started + _STUCK_SECONDS)
        return due

    def _start(self) -> None:
        threading.Thread(target=self._work, name="load", daemon=True).start()

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            job.started = time.monotonic()
            try:
                answer = functools.partial(job.future.set_result, job.work())
            except BaseException as error:
                answer = functools.partial(job.future.set_exception, error)
                _LOGGER.exception("loading version %s failed", job.name)
            with self._lock:  # before who asks is woken, who may then look how many are unfinished
                self._unfinished.discard(job)
            answer()
            if job.replaced:
                return
