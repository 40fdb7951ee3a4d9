"""The log's two forms, and the levels."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime

import grpc
import pytest

from serving.client import RecommenderClient
from serving.server import logs
from serving.server.observer import ACCESS, Observer
from serving.server.process import EMBEDDED, ServerProcess
from tests.serving.fixtures import MODEL
from tests.serving.server.running import publish

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def record(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("serving.server", logging.INFO, "", 0, message, arguments, None)
    made.__dict__.update(extra)
    return made


def test_a_log_has_a_line_a_message():
    text = logs.TextFormatter().format(record("models: %s", "a\nready model=b\x1b[2J"))
    assert text.endswith(r" INFO models: a\nready model=b\x1b[2J")
    assert "\n" not in text


def test_what_a_record_adds():
    made = record("access", fields={"code": "OK", "model": "two\nlines"})
    assert logs.TextFormatter().format(made).endswith(r" INFO access code=OK model=two\nlines")
    found = json.loads(logs.JsonFormatter().format(made))
    assert datetime.fromisoformat(found.pop("time")).utcoffset().total_seconds() == 0
    assert found == {
        "level": "INFO",
        "logger": "serving.server",
        "message": "access",
        "code": "OK",
        "model": "two\nlines",
    }


def test_lines_have_the_ids_of_their_request():
    headers = {"traceparent": PARENT, "x-request-id": "order-7"}
    watch = Observer()
    request = watch.begin("Predict", "GRPC", lambda: headers)
    ids = {"request_id": "order-7", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}
    assert json.loads(logs.JsonFormatter().format(record("hello"))).items() >= ids.items()
    assert logs.TextFormatter().format(record("hello")).endswith(f"hello request_id=order-7 trace_id={ids['trace_id']}")
    watch.end(request, grpc.StatusCode.OK)


def test_an_exception_is_part_of_the_object():
    made = record("failed")
    try:
        raise KeyError("by\nchance")
    except KeyError:
        made.exc_info = sys.exc_info()
    text = logs.JsonFormatter().format(made)
    assert "\n" not in text
    assert json.loads(text)["exception"].startswith("Traceback (most recent call last):\n")


def test_levels(capsys: pytest.CaptureFixture[str]):
    logger = logging.getLogger("serving.server")
    before = logger.handlers, logger.level, logger.propagate
    try:
        logs.set_up("json", "warning")
        logger.info("not this")
        logger.warning("this")
        ACCESS.info("access")  # its share says whether it is wanted
        logs.always("ready")
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [(line["level"], line["message"]) for line in found] == [
            ("WARNING", "this"),
            ("INFO", "access"),
            ("INFO", "ready"),
        ]
    finally:
        logger.handlers, level, logger.propagate = before
        logger.setLevel(level)


@pytest.mark.slow
@pytest.mark.smoke
def test_all_that_a_server_writes_is_json(servable, tmp_path):
    """Also the ready line, from which `ServerProcess` knows the ports."""
    (tmp_path / MODEL).mkdir()
    publish(servable, tmp_path / MODEL, 7)
    flags = ["--log_format=json", "--access_log=1", "--log_level=warning", "--enable_profiler"]
    with ServerProcess(tmp_path, MODEL, binary=EMBEDDED, flags=flags) as server:
        with RecommenderClient(server.grpc_target, model=MODEL, metadata={"x-request-id": "order-7"}) as client:
            client.recommend("ann")
        lines = [json.loads(line) for line in server.log().splitlines()]
    messages = [line["message"] for line in lines]
    assert messages[0] == "--enable_profiler has no effect here: it is for tensorflow_model_server"
    assert messages[1].startswith(f"ready model={MODEL} version=7 host=127.0.0.1 port=")
    last = lines[-1]
    assert (last["message"], last["request_id"], last["signature"]) == ("access", "order-7", "recommend")
