"""A worker: its port, and what it says of an error."""

from __future__ import annotations

import io
import json
import logging
import socket
import sys

import pytest
import tensorflow as tf

from components.errors import InputError
from pipeline.model.workers import worker


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (InputError("data: too few\nevents"), "input", "data: too few\nevents"),
        (worker._PortTakenError("port 1 is taken"), "port", "port 1 is taken"),
        (
            tf.errors.UnavailableError(None, None, "{{node x}} Connection reset by peer.\nAdditional GRPC error"),
            "lost",
            "UnavailableError: Connection reset by peer",
        ),
        (
            tf.errors.UnavailableError(
                None,
                None,
                "Graph execution error:\n\nDetected at node a/b defined at (most recent call last):\n"
                '  File "/a.py", line 1, in <module>\n\n  File "/b.py", line 2, in f\n\nSocket closed\nAdditional',
            ),
            "lost",
            "UnavailableError: Socket closed",
        ),
        (tf.errors.ResourceExhaustedError(None, None, "OOM"), "other", "ResourceExhaustedError: OOM"),
        (KeyError("a"), "other", "KeyError: 'a'"),
        (MemoryError(), "other", "MemoryError: no message"),
    ],
)
def test_an_error_is_one_line_with_its_kind(error: Exception, kind: str, message: str) -> None:
    assert (worker._kind(error), worker._message(error)) == (kind, message)


def test_before_tensorflow_is_there_no_error_is_its(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tensorflow")
    assert worker._kind(KeyError("a")) == "other"
    assert "tensorflow" not in sys.modules


def test_a_port_is_free_or_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(worker._PortTakenError, match=f"port {port} of worker host:{port} can't be had: "):
            worker.check_port(f"host:{port}")
    worker.check_port(f"host:{port}")


def test_progress_is_a_line_of_json() -> None:
    channel = io.StringIO()
    worker._Progress(channel).emit(logging.LogRecord("n", logging.INFO, "", 0, "epoch %d", (3,), None))
    assert json.loads(channel.getvalue()) == {"progress": "epoch 3"}
