"""Threads for loads: so many at a time, and one that hangs is told of and holds up nobody for good."""

from __future__ import annotations

import logging
import threading
import time
from concurrent import futures

import pytest

from serving.server import loaders
from serving.server.loaders import Loaders


@pytest.mark.slow
@pytest.mark.smoke
def test_a_load_that_hangs_is_told_of_and_replaced(monkeypatch, caplog):
    monkeypatch.setattr(loaders, "_LONG_SECONDS", 0.2)
    monkeypatch.setattr(loaders, "_STUCK_SECONDS", 0.5)
    found = Loaders(1)
    assert found.watch() == float("inf")
    go, threads = threading.Event(), []
    hung = found.submit(lambda number, path: go.wait(30), 3, "/models/3")
    other = found.submit(lambda: threads.append(threading.current_thread()) or "loaded")
    with caplog.at_level(logging.WARNING, "serving.server"):
        assert found.watch() <= time.monotonic() + 0.2
        with pytest.raises(futures.TimeoutError):
            other.result(0.3)  # one at a time
        found.watch()
        [record] = caplog.records
        assert record.getMessage() == "loading version 3 from /models/3 has been going on for 0 s"
        found.watch()
        assert len(caplog.records) == 1
        time.sleep(0.3)
        found.watch()
    assert other.result(10) == "loaded"
    assert len(caplog.records) == 2
    go.set()
    assert hung.result(10)
    assert found.submit(lambda: 5).result(10) == 5  # of the two threads one has gone
    assert found.watch() == float("inf")


def test_what_fails_reaches_who_asks():
    with pytest.raises(ZeroDivisionError):
        Loaders(1).submit(lambda: 1 // 0).result(10)
