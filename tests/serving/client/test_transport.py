"""What both transports say of a server's status."""

from __future__ import annotations

import pytest

from serving.client import InvalidRequest, ModelNotFound, ServerError, ServerOverloaded, ServerUnavailable
from serving.client.transport import ModelRef, from_status


@pytest.mark.parametrize(
    ("kind", "detail", "error"),
    [
        ("NOT_FOUND", "no", ModelNotFound),
        ("INVALID_ARGUMENT", "no", InvalidRequest),
        ("FAILED_PRECONDITION", "no", InvalidRequest),
        ("OUT_OF_RANGE", "no", InvalidRequest),
        ("RESOURCE_EXHAUSTED", "SERVER: Received message larger than max (70000000 vs. 67108864)", InvalidRequest),
        ("RESOURCE_EXHAUSTED", "no", ServerOverloaded),
        ("UNAVAILABLE", "The batch scheduling queue to which this task was submitted is full", ServerOverloaded),
        ("UNAVAILABLE", "no", ServerUnavailable),
        ("CANCELLED", "no", ServerOverloaded),
        ("UNAUTHENTICATED", "no", ServerError),
        ("PERMISSION_DENIED", "no", ServerError),
        ("INTERNAL", "no", ServerError),
    ],
)
def test_kinds(kind, detail, error):
    found = from_status(kind, detail, "host:1", ModelRef("m"))
    assert type(found) is error
    assert "host:1" in str(found)
    assert detail in str(found)


@pytest.mark.parametrize(
    ("told", "seconds"),
    [(None, 0.0), ("2", 2.0), ("0.25", 0.25), ("1e3", 0.0), ("-1", 0.0), ("soon", 0.0), ("999", 60.0)],
)
def test_for_how_long_an_overloaded_server_is_left_alone(told, seconds):
    assert from_status("RESOURCE_EXHAUSTED", "no", "host:1", ModelRef("m"), told).retry_after == seconds


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (ModelRef("m"), "'m'"),
        (ModelRef("m", version=3), "'m' version 3"),
        (ModelRef("m", label="canary"), "'m' label 'canary'"),
    ],
)
def test_which_model_is_meant(model, text):
    assert str(model) == text
