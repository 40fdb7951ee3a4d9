"""The errors' kinds: what callers tell apart by `except`."""

import pytest

from serving.client import errors


@pytest.mark.parametrize(
    "error",
    [
        errors.ServerUnavailable,
        errors.CircuitOpen,
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
