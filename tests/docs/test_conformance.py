"""The tables of docs/conformance.md say of each flag, RPC and path what the embedded server does."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from serving.server import flags
from tests.docs.pages import ROOT
from tests.serving.deploy.test_deploy import REAL_FLAGS

PAGE = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The rows of a chapter's table; what stands between backquotes of the first cell, and the other cells."""
    (chapter,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    lines = [line.strip("| ") for line in chapter.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in re.split(r" \|(?: |$)", line)] for line in lines]
    return [[cell[0].strip("`"), *cell[1:]] for cell in cells]


REAL = {name.removeprefix("--"): here for name, here, *_ in rows("Flags of tensorflow_model_server")}
OWN = {name.removeprefix("--"): text for name, text in rows("Flags of the embedded server alone")}
RPCS = {name: here for name, here, *_ in rows("RPCs")}
PATHS = {name: here for name, here, *_ in rows("REST")}


def test_the_flags_are_those_of_the_real_server_and_those_that_the_parser_knows() -> None:
    assert set(REAL) == set(REAL_FLAGS.split())
    known = {option.removeprefix("--") for action in flags.parser()._actions for option in action.option_strings}
    assert {*REAL, *OWN} == known - {"h", "-h", "help"}
    assert not {*REAL} & {*OWN}


def test_a_flag_has_no_effect_where_the_table_says_so() -> None:
    without = {name for name, here in REAL.items() if here == "no effect"}
    without |= {name for name, text in OWN.items() if text.startswith("no effect")}
    taken = flags.parse(["--model_base_path=x", *(f"--{name}=1" for name in without)])
    assert {*taken.without_effect} == without
    assert set(REAL.values()) == {"yes", "differs", "no effect"}


def test_the_services_have_the_rpcs_that_the_table_says_they_have() -> None:
    from grpc_health.v1 import health_pb2_grpc
    from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

    from serving.server.grpc_service import _Services

    # The modules with the descriptors can't be imported with protobuf 6.
    described = {
        f"{name}/{method}"
        for name, servicer in {
            "tensorflow.serving.PredictionService": prediction_service_pb2_grpc.PredictionServiceServicer,
            "tensorflow.serving.ModelService": model_service_pb2_grpc.ModelServiceServicer,
            "grpc.health.v1.Health": health_pb2_grpc.HealthServicer,
        }.items()
        for method in vars(servicer)
        if not method.startswith("_")
    }
    assert described - {"grpc.health.v1.Health/List"} <= set(RPCS), "of newer packages"
    found: list[grpc.GenericRpcHandler] = []
    nothing: Any = SimpleNamespace()
    services = _Services(nothing, 1, nothing, nothing, nothing)
    found += services.handlers(may_reload=True)
    services.close()
    server = SimpleNamespace(add_generic_rpc_handlers=found.extend, add_registered_method_handlers=lambda *_: None)
    health_pb2_grpc.add_HealthServicer_to_server(health_pb2_grpc.HealthServicer(), server)
    for rpc, here in RPCS.items():
        details = SimpleNamespace(method=f"/{rpc}", invocation_metadata=())
        assert any(handler.service(details) for handler in found) == (here == "yes"), rpc


@pytest.mark.parametrize("request_", [name for name in PATHS if "/v1/" in name and "OPTIONS" not in name])
@pytest.mark.parametrize("choice", ["", "/versions/1", "/labels/stable"])
def test_rest_has_the_paths_that_the_table_has(request_: str, choice: str) -> None:
    from serving.server import rest

    method, path = request_.split()
    path = path.replace("${MODEL_NAME}", f"m{choice}")
    pattern = {"GET": rest._READ, "POST": rest._RUN}[method]
    assert pattern.fullmatch(path)
    assert PATHS[request_] == "yes"


def test_the_real_servers_page_has_no_other_requests() -> None:
    """Those of TensorFlow Serving's g3doc/api_rest.md."""
    model = "/v1/models/${MODEL_NAME}"
    documented = {
        f"GET {model}",
        f"GET {model}/metadata",
        *(f"POST {model}:{m}" for m in ("classify", "regress", "predict")),
    }
    assert documented < set(PATHS)
