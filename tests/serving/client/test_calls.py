"""Arguments of a client and its calls, which are checked before anything is sent."""

from __future__ import annotations

import math

import pytest

from serving import contract
from serving.client import InvalidRequest, RecommenderClient
from serving.client.calls import _scored_value, parse_target
from tests.serving.fixtures import MODEL


@pytest.mark.parametrize(
    "target", ["", "host:0", "host:70000", "host:port", "http://host:1", "a b", "host:1/path", None]
)
def test_wrong_grpc_targets(target):
    with pytest.raises(InvalidRequest, match="host:port"):
        RecommenderClient(target, model=MODEL)


def test_targets():
    assert parse_target("host", "grpc") == ("host", 8500)
    assert parse_target("host", "rest") == ("host", 8501)
    assert parse_target("http://host:9/", "rest") == ("host", 9)
    assert parse_target("[::1]:9", "grpc") == ("[::1]", 9)


@pytest.mark.parametrize(
    "options",
    [
        {"transport": "soap"},
        {"timeout": 0},
        {"model": ""},
        {"version": 1, "label": "stable"},
    ],
)
def test_wrong_options(options):
    with pytest.raises(InvalidRequest):
        RecommenderClient("host:1", **{"model": MODEL, **options})


@pytest.mark.parametrize(
    ("answered", "told"),
    [(1.5, 1.5), (contract.NO_SCORE, -math.inf), (-3.4028235e38, -math.inf), (-math.inf, -math.inf), (-3e38, -3e38)],
)
def test_what_has_no_score(answered, told):
    """As graphs answer it, by gRPC and as JSON, and as those from before it was finite did."""
    assert _scored_value(answered) == told
