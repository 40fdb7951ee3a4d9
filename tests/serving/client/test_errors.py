"""The errors' kinds: what callers tell apart by `except`."""

import pytest

from serving.client import errors


@pytest.mark.parametrize(
    "error",
    [
        errors.ServerUnavailable,
        errors.CircuitOpen,
        errors.ServerOverloaded,
        errors.DeadlineExceeded,
        errors.ModelNotFound,
        errors.InvalidRequest,
        errors.ServerError,
    ],
)
def test_all_are_recommender_errors(error):
    assert issubclass(error, errors.RecommenderError)


def test_a_wrong_request_is_a_value_error_and_nobody_elses_fault():
    assert issubclass(errors.InvalidRequest, ValueError)
    assert not issubclass(errors.InvalidRequest, errors.FAILURES)
    assert not issubclass(errors.ModelNotFound, errors.FAILURES)


def test_an_open_circuit_is_a_failure_like_a_server_that_is_down():
    assert issubclass(errors.CircuitOpen, errors.ServerUnavailable)
    assert issubclass(errors.CircuitOpen, errors.FAILURES)


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (
            "h:1 refused the request: assertion failed: [filter is NAME=VALUE with NAME one of: brand; or NAME=NUMBER, "
            "NAME<=NUMBER or NAME>=NUMBER with one of: none (serving.filters in the config); not] [colour=red]\n"
            "\t [[{{function_node __inference_x_1}}{{node Assert/Assert}}]]",
            "h:1 refused the request: filter is NAME=VALUE with NAME one of: brand; or NAME=NUMBER, NAME<=NUMBER or "
            "NAME>=NUMBER with one of: none (serving.filters in the config); not colour=red",
        ),
        (
            "h:1 refused the request: assertion failed: [k must be at most 9\nCondition x <= y did not hold] [x] [31]",
            "h:1 refused the request: k must be at most 9",
        ),
        ("model 'x' isn't served at h:1: Servable not found", "model 'x' isn't served at h:1: Servable not found"),
    ],
)
def test_what_the_server_says_is_one_line_without_tensorflows_words(message, line):
    assert errors.InvalidRequest(message).line == line
