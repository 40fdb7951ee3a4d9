"""gRPC's codes, and their twins of TensorFlow and HTTP."""

from __future__ import annotations

import grpc
import pytest
import tensorflow as tf

from serving.server.status import StatusError, code_of, http_status, invalid, not_found


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (tf.errors.INVALID_ARGUMENT, grpc.StatusCode.INVALID_ARGUMENT),
        (tf.errors.DEADLINE_EXCEEDED, grpc.StatusCode.DEADLINE_EXCEEDED),
        (tf.errors.UNAUTHENTICATED, grpc.StatusCode.UNAUTHENTICATED),
        (-1, grpc.StatusCode.UNKNOWN),
        (1000, grpc.StatusCode.UNKNOWN),
    ],
)
def test_codes_of_tensorflow(number, code):
    assert code_of(number) is code


@pytest.mark.parametrize("code", grpc.StatusCode)
def test_every_code_has_a_line_in_http(code):
    number, reason = http_status(code).split(" ", 1)
    assert (number == "200") is (code is grpc.StatusCode.OK)
    assert 200 <= int(number) <= 504
    assert reason


def test_what_is_not_in_tensorflow_servings_table():
    assert http_status(grpc.StatusCode.DATA_LOSS) == "500 Internal Server Error"


def test_errors_have_their_code_and_text():
    for error, code in ((invalid("x"), "INVALID_ARGUMENT"), (not_found("x"), "NOT_FOUND")):
        assert isinstance(error, StatusError)
        assert (error.code.name, error.message, str(error)) == (code, "x", "x")
