"""The REST API: rows and columns, by version and label, texts and numbers at their limits, and exact refusals."""

from __future__ import annotations

import gzip
import json
import math
import re
from typing import Any

import pytest

from tests.serving.wire.conftest import CANARY, MODEL, REST_TIMEOUT, STABLE, Server

PREDICT = f"/v1/models/{MODEL}:predict"
LISTS = {"history": [[]], "exclude": [[]], "k": 2}


def column(signature: str, **inputs: Any) -> dict[str, Any]:
    """A body in column format."""
    return {"signature_name": signature, "inputs": inputs}


def rows(signature: str, *instances: Any) -> dict[str, Any]:
    """A body in row format."""
    return {"signature_name": signature, "instances": list(instances)}


ANSWERS = {
    "rows": (
        PREDICT,
        rows("by_user", "ann", "nobody"),
        {
            "predictions": [
                {"item_ids": ["3", "4", "5"], "scores": [1998.0, 1997.0, 1996.0]},
                {"item_ids": ["1", "2", "3"], "scores": [2020.0, 2019.0, 2018.0]},
            ]
        },
    ),
    "rows of objects": (
        PREDICT,
        rows("score", {"user_id": "nobody", "history": ["1"], "candidates": ["3", "nope"]}),
        {"predictions": [[1998.0, -math.inf]]},
    ),
    "default signature, base64": (
        PREDICT,
        {"instances": [{"b64": ""}]},
        {"predictions": [{"item_ids": ["1", "2", "3"], "scores": [2020.0, 2019.0, 2018.0]}]},
    ),
    "columns": (
        PREDICT,
        column("recommend", user_id=["ann"], **LISTS),
        {"outputs": {"item_ids": [["3", "4"]], "scores": [[1998.0, 1997.0]], "source": ["user"]}},
    ),
    "a plain column": (PREDICT, {"signature_name": "double", "inputs": [[1, 2.5]]}, {"outputs": [[2.0, 5.0]]}),
    "by version": (
        f"/v1/models/{MODEL}/versions/{STABLE}:predict",
        {"signature_name": "score", "inputs": {"user_id": [""], "history": [["1"]], "candidates": [["1"]]}},
        {"outputs": [[1000.0]]},
    ),
    "by label": (
        f"/v1/models/{MODEL}/labels/canary:predict",
        {"signature_name": "score", "inputs": {"user_id": [""], "history": [["1"]], "candidates": [["1"]]}},
        {"outputs": [[2000.0]]},
    ),
    "letters of any case before the name": (
        f"/V1/Models/{MODEL}:predict",
        {"signature_name": "double", "inputs": [[1, 2]]},
        {"outputs": [[2.0, 4.0]]},
    ),
    "texts and bytes": (
        PREDICT,
        column("echo", floats=[0.5, 1], ints=[9007199254740993], flags=[True], texts=["ä", {"b64": "w6Q="}]),
        {
            "outputs": {
                "floats": [0.5, 1.0],
                "ints": [9007199254740993],
                "flags": [True],
                "texts": ["ä", "ä"],
                "texts_bytes": [{"b64": "w6Q="}, {"b64": "w6Q="}],
            }
        },
    ),
    "an unknown item": (
        PREDICT,
        column("similar_items", item_id=["nope"], exclude=[[]], k=1),
        {"outputs": {"item_ids": [["1"]], "scores": [[2020.0]], "known": [False]}},
    ),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_answers(wire: Server, case: str) -> None:
    path, body, expected = ANSWERS[case]
    assert wire.http("POST", path, body) == (200, expected)


def test_numbers_that_are_none(wire: Server) -> None:
    """NaN and the infinities go in and out by the names that Python and RapidJSON give them."""
    body = '{"signature_name": "double", "inputs": [[NaN, Infinity], [-Infinity, 1e30]]}'
    status, answer = wire.http("POST", PREDICT, body)
    assert status == 200
    (nan, infinity), (minus, big) = answer["outputs"]
    assert math.isnan(nan)
    assert (infinity, minus) == (math.inf, -math.inf)
    assert big == pytest.approx(2e30)


def test_gzip(wire: Server) -> None:
    body = gzip.compress(json.dumps(column("double", x=[[1, 2]])).encode())
    assert wire.http("POST", PREDICT, body, {"Content-Encoding": "gzip"}) == (200, {"outputs": [[2.0, 4.0]]})


REFUSALS: dict[str, tuple[str, str, Any, int, str]] = {
    "no such model": ("POST", "/v1/models/nope:predict", rows("", 1), 404, r"Latest\(nope\)"),
    "no such version": ("POST", f"/v1/models/{MODEL}/versions/3:predict", rows("", 1), 404, r"Specific\(tiny, 3\)"),
    "no version at all": ("POST", f"/v1/models/{MODEL}/versions/{10**30}:predict", "{}", 400, "convert version"),
    "no such label": (
        "POST",
        f"/v1/models/{MODEL}/labels/nope:predict",
        rows("", 1),
        400,
        "Unrecognized servable version label: nope",
    ),
    "label and version": (
        "POST",
        f"/v1/models/{MODEL}/versions/1/labels/stable:predict",
        rows("", 1),
        400,
        "Malformed request: POST",
    ),
    "no such method": ("POST", f"/v1/models/{MODEL}:nope", "{}", 400, "Malformed request: POST /v1/models/tiny:nope"),
    "a method in capitals": ("POST", f"/v1/models/{MODEL}:Predict", "{}", 400, "Malformed request: POST"),
    "no method": ("POST", f"/v1/models/{MODEL}", "{}", 400, "Malformed request: POST"),
    "a question by GET": ("GET", PREDICT, None, 400, f"Malformed request: GET {PREDICT}"),
    "PUT": ("PUT", PREDICT, "{}", 400, "Malformed request: PUT"),
    "a path that climbs": ("GET", "/v1/../../etc/passwd", None, 400, "Malformed request"),
    "status of no such model": ("GET", "/v1/models/nope", None, 404, "Could not find any versions of model nope"),
    "status of no such version": (
        "GET",
        f"/v1/models/{MODEL}/versions/3",
        None,
        404,
        "Could not find version 3 of model tiny",
    ),
    "metadata of no such model": ("GET", "/v1/models/nope/metadata", None, 404, r"Latest\(nope\)"),
    "no model": ("GET", "/v1/models", None, 400, "Missing model name in request."),
    "no body": ("POST", PREDICT, "", 400, "JSON Parse error: The document is empty"),
    "no JSON": ("POST", PREDICT, "{]", 400, "JSON Parse error"),
    "no object": ("POST", PREDICT, "[1]", 400, "Is not object"),
    "no such signature": ("POST", PREDICT, rows("nope", 1), 400, 'Serving signature name: "nope" not found'),
    "a signature that is no text": (
        "POST",
        PREDICT,
        '{"signature_name": 1}',
        400,
        "'signature_name' key must be",
    ),
    "no inputs": ("POST", PREDICT, "{}", 400, "Missing 'inputs' or 'instances' key"),
    "both": (
        "POST",
        PREDICT,
        '{"inputs": [], "instances": [""]}',
        400,
        "only one of 'inputs' or 'instances'",
    ),
    "instances that are no list": ("POST", PREDICT, '{"instances": "no"}', 400, "Expecting 'instances' to be an list"),
    "no instances": ("POST", PREDICT, '{"instances": []}', 400, "No values in 'instances' array"),
    "an input missing": (
        "POST",
        PREDICT,
        column("score", user_id=[""]),
        400,
        "Missing named input",
    ),
    "a plain list for many inputs": (
        "POST",
        PREDICT,
        {"signature_name": "score", "inputs": ["a"]},
        400,
        "inputs is a plain value/list, but expecting an object",
    ),
    "rows without keys": ("POST", PREDICT, rows("score", "a"), 400, "instances is a plain list"),
    "rows with other keys": ("POST", PREDICT, rows("score", {"user_id": "a"}), 400, "keys must be equal to: "),
    "rows of unlike shape": ("POST", PREDICT, rows("double", [1, 2], [1]), 400, "Expecting tensor size: 2 but got: 1"),
    "a text for a number": ("POST", PREDICT, rows("double", ["1", 2]), 400, "is not of expected type: float"),
    "a fraction for an integer": (
        "POST",
        PREDICT,
        column("echo", floats=[], ints=[0.5], flags=[], texts=[]),
        400,
        "is not of expected type: int64",
    ),
    "a ragged column": ("POST", PREDICT, column("double", x=[[1, 2], [3]]), 400, "unexpected size: 1 at level: 1"),
    "bad base64": ("POST", PREDICT, rows("by_user", {"b64": "*"}), 400, "Unable to base64 decode|base64"),
    "the model's own check": (
        "POST",
        PREDICT,
        column("recommend", user_id=["ann"], history=[[]], exclude=[[]], k=0),
        400,
        "k must be at least 1",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(wire: Server, case: str) -> None:
    method, path, body, status, text = REFUSALS[case]
    answered, answer = wire.http(method, path, body)
    assert list(answer) == ["error"]
    assert re.search(text, answer["error"]), answer["error"]
    assert answered == status


@pytest.mark.parametrize("path", ["/", "/v2/models/tiny", "/etc/passwd"])
def test_nothing_lies_outside(wire: Server, path: str) -> None:
    assert wire.http("GET", path)[0] == 404


def test_a_long_request_times_out(wire: Server) -> None:
    if not wire.started_here:
        pytest.skip("the server's --rest_api_timeout_in_ms is its own")
    status, answer = wire.http("POST", PREDICT, {"signature_name": "slow", "inputs": 20 * REST_TIMEOUT})
    assert status == 504
    assert re.search("(?i)time", answer["error"])


@pytest.mark.parametrize("path", [f"/v1/models/{MODEL}", f"/v1/models/{MODEL}?x=1", f"/V1/MODELS/{MODEL}"])
def test_status(wire: Server, path: str) -> None:
    status, answer = wire.http("GET", path)
    assert status == 200
    # The newest first; other tests leave versions that have ended.
    assert [entry for entry in answer["model_version_status"] if entry["state"] != "END"] == [
        {"version": str(version), "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        for version in (CANARY, STABLE)
    ]


@pytest.mark.parametrize(
    ("path", "version"), [("", CANARY), (f"/versions/{STABLE}", STABLE), ("/labels/stable", STABLE)]
)
def test_metadata(wire: Server, path: str, version: int) -> None:
    status, answer = wire.http("GET", f"/v1/models/{MODEL}{path}/metadata")
    assert status == 200
    assert answer["model_spec"] == {"name": MODEL, "signature_name": "", "version": str(version)}
    double = answer["metadata"]["signature_def"]["signature_def"]["double"]
    assert double["method_name"] == "tensorflow/serving/predict"
    assert double["inputs"]["x"]["dtype"] == "DT_FLOAT"
    shape = double["inputs"]["x"]["tensor_shape"]
    assert shape["unknown_rank"] is False
    assert [dim["size"] for dim in shape["dim"]] == ["-1", "2"]
