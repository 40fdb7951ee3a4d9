"""The REST API of the embedded server, asked by plain HTTP."""

from __future__ import annotations

import gzip
import json
import math

import pytest

from tests.serving.fake_models import model, server_config
from tests.serving.fixtures import MODEL
from tests.serving.in_process import serve
from tests.serving.server.asking import PREDICT, call, raw


def test_rest_row_format(server):
    assert call(server, "POST", PREDICT, '{"signature_name": "by_user", "instances": ["ann", "nobody"]}') == (
        200,
        {
            "predictions": [
                {"item_ids": ["3", "4", "5"], "scores": [998.0, 997.0, 996.0]},
                {"item_ids": ["1", "2", "3"], "scores": [1020.0, 1019.0, 1018.0]},
            ]
        },
    )
    assert call(server, "POST", PREDICT, '{"instances": [{"b64": ""}]}')[1]["predictions"][0]["item_ids"] == [
        "1",
        "2",
        "3",
    ]


def test_rest_column_format_with_padding(server):
    body = {
        "signature_name": "recommend",
        "inputs": {"user_id": ["ann"], "history": [[]], "exclude": [[]], "k": 20},
    }
    status, answer = call(server, "POST", f"/v1/models/{MODEL}/versions/7:predict", json.dumps(body))
    assert status == 200
    assert answer["outputs"]["source"] == ["user"]
    assert answer["outputs"]["item_ids"][0][-2:] == ["", ""]
    assert answer["outputs"]["scores"][0][-1] == -math.inf


def test_rest_echo(server):
    inputs = {"floats": [0.1, 1], "ints": [9007199254740993], "flags": [True], "texts": ["ä", {"b64": "/w=="}]}
    _, answer = call(server, "POST", PREDICT, json.dumps({"signature_name": "echo", "inputs": inputs}))
    assert answer["outputs"] == {
        "floats": [0.1, 1.0],
        "ints": [9007199254740993],
        "flags": [True],
        "texts": ["ä", "�"],
        "texts_bytes": [{"b64": "w6Q="}, {"b64": "/w=="}],
    }


def test_rest_status(server):
    expected = {
        "model_version_status": [
            {"version": "7", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    }
    for path in (f"/v1/models/{MODEL}", f"/v1/models/{MODEL}/versions/7", f"/V1/Models/{MODEL}?x=1"):
        assert call(server, "GET", path) == (200, expected)


def test_rest_takes_the_whole_address_of_a_request(server):
    assert raw(server, "GET", f"http://some.host/v1/models/{MODEL}")[0] == 200


def test_rest_errors_are_printed_as_tensorflow_serving_prints_them(server):
    assert raw(server, "GET", "/v1/models/nope")[2] == (
        b'{\n    "error": "Could not find any versions of model nope"\n}'
    )


def test_rest_reads_gzip(server):
    body = b'{"signature_name": "double", "inputs": [[1, 2]]}'
    parts = gzip.compress(body[:20]) + gzip.compress(body[20:])
    assert json.loads(raw(server, "POST", PREDICT, parts, Content_Encoding="gzip")[2]) == {"outputs": [[2.0, 4.0]]}
    for broken in (body, parts[:-1], gzip.compress(body)[:-4] + b"1234"):
        status, _, answer = raw(server, "POST", PREDICT, broken, Content_Encoding="gzip")
        assert status == 400
        assert b"Failed to uncompress the gzipped body" in answer


def test_rest_answers_in_gzip_who_asks_for_it(server):
    path = f"/v1/models/{MODEL}/metadata"
    plain = raw(server, "GET", path)
    assert "Content-Encoding" not in plain[1]
    for accepted in ("gzip", "br, GZIP;q=0.5"):
        _, headers, body = raw(server, "GET", path, Accept_Encoding=accepted)
        assert headers["Content-Encoding"] == "gzip"
        assert headers["Vary"] == "Accept-Encoding"
        assert gzip.decompress(body) == plain[2]
        assert len(body) < len(plain[2]) / 2
    assert raw(server, "GET", path, Accept_Encoding="gzip;q=0.0")[2] == plain[2]
    # A short answer isn't worth it.
    assert "Content-Encoding" not in raw(server, "GET", f"/v1/models/{MODEL}", Accept_Encoding="gzip")[1]


def test_rest_head_has_no_body(server):
    status, headers, body = raw(server, "HEAD", f"/v1/models/{MODEL}")
    assert (status, body) == (400, b"")
    assert int(headers["Content-Length"]) > 0


def test_rest_preflight(server):
    status, headers, body = raw(server, "OPTIONS", PREDICT, Origin="https://shop.example")
    assert (status, body) == (200, b"")
    assert "Access-Control-Allow-Origin" not in headers
    assert raw(server, "OPTIONS", PREDICT)[0] == 400


@pytest.fixture(scope="module")
def own(servable, tmp_path_factory):
    """A server with a short timeout for REST, which says that pages of other origins may ask it."""
    with serve(servable, tmp_path_factory.mktemp("own"), rest={"timeout": 0.3, "cors": True}) as found:
        yield found


@pytest.mark.slow
@pytest.mark.smoke
def test_rest_timeout(own):
    body = '{"signature_name": "slow", "inputs": 600}'
    assert call(own, "POST", PREDICT, body) == (504, {"error": "Timed out waiting for notification"})


def test_rest_for_pages_of_other_origins(own):
    for method, path in (("OPTIONS", PREDICT), ("GET", f"/v1/models/{MODEL}"), ("GET", "/v1/models/nope")):
        _, headers, _ = raw(own, method, path, Origin="https://shop.example")
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert headers["Access-Control-Allow-Methods"] == "POST, GET"
        assert headers["Access-Control-Allow-Headers"] == "Content-Type"


def test_rest_metadata(server):
    _, answer = call(server, "GET", f"/v1/models/{MODEL}/metadata")
    assert answer["model_spec"] == {"name": MODEL, "signature_name": "", "version": "7"}
    double = answer["metadata"]["signature_def"]["signature_def"]["double"]
    assert double["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert [dim["size"] for dim in double["inputs"]["x"]["tensor_shape"]["dim"]] == ["-1", "2"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("POST", "/v1/models/nope:predict", "{}", 404, "Servable not found for request: Latest(nope)"),
        ("POST", f"/v1/models/{MODEL}/versions/3:predict", '{"instances": [1]}', 404, "Specific(tiny, 3)"),
        ("POST", f"/v1/models/{MODEL}/versions/{10**30}:predict", "{}", 400, "Failed to convert version"),
        ("POST", f"/v1/models/{MODEL}/labels/stable:predict", "{}", 400, "Unrecognized servable version label: stable"),
        ("GET", "/v1/models/nope", None, 404, "Could not find any versions of model nope"),
        ("GET", f"/v1/models/{MODEL}/versions/3", None, 404, "Could not find version 3 of model tiny"),
        ("GET", "/v1/models", None, 400, "Missing model name in request."),
        ("GET", PREDICT, None, 400, f"Malformed request: GET {PREDICT}"),
        ("POST", f"/v1/models/{MODEL}", "{}", 400, "Malformed request: POST"),
        ("PUT", PREDICT, "{}", 400, "Malformed request: PUT"),
        ("GET", "/v1/../../etc/passwd", None, 400, "Malformed request"),
        ("GET", "/", None, 404, "Not found: /"),
        ("POST", f"/v1/models/{MODEL}:Predict", "{}", 400, "Malformed request: POST"),
        ("POST", f"/v1/models/{MODEL}:predict/more", "{}", 400, "Malformed request: POST"),
        ("GET", "/v1/models/..%2F..%2Fetc%2Fpasswd", None, 404, "versions of model ../../etc/passwd"),
        ("GET", "/v1/models/a%0d%0aSet-Cookie%3a%20b", None, 404, "versions of model a\r\nSet-Cookie: b"),
        ("POST", PREDICT, "", 400, "The document is empty"),
        ("POST", PREDICT, b"\xff", 400, "JSON Parse error"),
        (
            "POST",
            PREDICT,
            '{"signature_name": "nope", "instances": [1]}',
            400,
            'Serving signature name: "nope" not found',
        ),
        ("POST", PREDICT, '{"signature_name": "double", "inputs": [[1, 2, 3]]}', 400, "must have shape [?,2]"),
        ("POST", PREDICT, '{"signature_name": "double", "inputs": [["1", 2]]}', 400, "is not of expected type: float"),
        ("POST", PREDICT, '{"signature_name": "slow", "inputs": "no"}', 400, "is not of expected type: float64"),
        (
            "POST",
            PREDICT,
            '{"signature_name": "recommend", "instances": [{"user_id": "a", "history": [], "exclude": [], "k": 3}]}',
            400,
            '"k" must have shape []',
        ),
    ],
)
def test_rest_refusals(server, method, path, body, status, text):
    answered, answer = call(server, method, path, body)
    assert list(answer) == ["error"]
    assert text in answer["error"]
    assert answered == status


def test_the_log_is_quiet(server):
    """After all of the above: what was loaded and where it serves, nothing of TensorFlow or gRPC."""
    lines = server.log().strip().splitlines()
    # What an older protobuf library says of text that isn't UTF-8, which other tests have sent.
    models, serves, ready = [line for line in lines if not line.startswith("[libprotobuf ERROR")]
    assert models.endswith("models: tiny")
    assert "version 7 serves" in serves
    assert ready.startswith("ready model=tiny version=7 ")


@pytest.mark.slow
@pytest.mark.smoke
def test_whether_it_lives_and_is_ready(servable, tmp_path):
    with serve(servable, tmp_path) as found:
        for path in ("/livez", "/readyz"):
            status, headers, body = raw(found, "GET", path)
            assert (status, headers["Content-Type"], body) == (200, "text/plain", b"ok")
        assert raw(found, "HEAD", "/readyz")[0] == 200
        found.core.apply(server_config(model("nobody", tmp_path), model(MODEL, tmp_path / "base")))
        assert raw(found, "GET", "/readyz")[::2] == (503, b"no version serves of: nobody")
        assert raw(found, "GET", "/livez")[0] == 200
        found.rest._application.drains = True
        assert raw(found, "GET", "/readyz")[::2] == (503, b"the server is stopping")
