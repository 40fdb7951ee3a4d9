"""Versions, labels and reloads: what is loaded, what a refused reload leaves, and who gets which version meanwhile."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import grpc
import pytest
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_management_pb2

from tests.serving.wire.conftest import CANARY, CONTRACT, MODEL, STABLE, WHOLE, Server, tiny
from tests.serving.wire.test_predict import recommend

Reload = Callable[..., Any]


def version_of(wire: Server, **spec: Any) -> int:
    """The version that answers a request with this spec; the answer's scores must be that version's."""
    response = wire.prediction.Predict(recommend(**spec), timeout=30)
    version = int(response.model_spec.version.value)
    assert response.outputs["scores"].float_val[0] == 1000 * version - 2
    return version


def status_request(name: str = MODEL, version: int = 0, label: str = "") -> get_model_status_pb2.GetModelStatusRequest:
    """A question for the state of a model, or of one version."""
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    if version:
        request.model_spec.version.value = version
    if label:
        request.model_spec.version_label = label
    return request


def test_states(wire: Server) -> None:
    answer = wire.models.GetModelStatus(status_request(), timeout=10)
    found = [(entry.version, entry.state, entry.status.error_code) for entry in answer.model_version_status]
    assert [entry for entry in found if entry[1] == 30] == [(CANARY, 30, 0), (STABLE, 30, 0)]  # the newest first
    (one,) = wire.models.GetModelStatus(status_request(version=STABLE), timeout=10).model_version_status
    assert (one.version, one.state) == (STABLE, get_model_status_pb2.ModelVersionStatus.AVAILABLE)
    # A label is not looked at.
    assert len(wire.models.GetModelStatus(status_request(label="stable"), timeout=10).model_version_status) == len(
        found
    )


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (status_request("nope"), "NOT_FOUND", "Could not find any versions of model nope"),
        (status_request(version=3), "NOT_FOUND", "Could not find version 3 of model tiny"),
        (get_model_status_pb2.GetModelStatusRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
    ],
)
def test_states_that_are_refused(wire: Server, request_: Any, code: str, text: str) -> None:
    with pytest.raises(grpc.RpcError, match=text) as error:
        wire.models.GetModelStatus(request_, timeout=10)
    assert error.value.code().name == code


def metadata_request(*fields: str, **spec: Any) -> get_model_metadata_pb2.GetModelMetadataRequest:
    """A question for metadata."""
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.CopyFrom(recommend(**spec).model_spec)
    return request


@pytest.mark.parametrize(
    ("spec", "version"), [({}, CANARY), ({"version": STABLE}, STABLE), ({"label": "stable"}, STABLE)]
)
def test_metadata(wire: Server, spec: dict[str, Any], version: int) -> None:
    answer = wire.prediction.GetModelMetadata(metadata_request("signature_def", **spec), timeout=10)
    assert (answer.model_spec.name, answer.model_spec.version.value) == (MODEL, version)
    found = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(found)
    double = found.signature_def["double"]
    assert double.method_name == "tensorflow/serving/predict"
    assert [dim.size for dim in double.inputs["x"].tensor_shape.dim] == [-1, 2]
    assert sorted(found.signature_def["recommend"].inputs) == ["exclude", "history", "k", "user_id"]


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (metadata_request(), "INVALID_ARGUMENT", "at least one metadata_field"),
        (metadata_request("weights"), "INVALID_ARGUMENT", "Metadata field weights is not supported"),
        (metadata_request("signature_def", model="nope"), "NOT_FOUND", r"Latest\(nope\)"),
        (
            get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"]),
            "INVALID_ARGUMENT",
            "Missing",
        ),
    ],
)
def test_metadata_that_is_refused(wire: Server, request_: Any, code: str, text: str) -> None:
    with pytest.raises(grpc.RpcError, match=text) as error:
        wire.prediction.GetModelMetadata(request_, timeout=10)
    assert error.value.code().name == code


def test_a_label_moves(wire: Server, reload: Reload) -> None:
    assert (version_of(wire, label="stable"), version_of(wire, label="canary")) == (STABLE, CANARY)
    answer = reload(tiny(stable=CANARY), CONTRACT)
    assert answer.status.error_code == 0
    assert version_of(wire, label="stable") == CANARY
    with pytest.raises(grpc.RpcError, match="Unrecognized servable version label: canary"):
        version_of(wire, label="canary")


def test_versions_go_and_come(wire: Server, reload: Reload) -> None:
    reload(tiny(f"versions: {STABLE}"), CONTRACT)
    wire.wait(lambda: wire.states()[CANARY] == "END")
    assert version_of(wire) == STABLE
    with pytest.raises(grpc.RpcError, match=rf"Specific\(tiny, {CANARY}\)"):
        version_of(wire, version=CANARY)
    reload(tiny(f"versions: {STABLE} versions: {CANARY}"), CONTRACT)
    wire.wait(lambda: CANARY in wire.available())  # a reload waits for new models, not for new versions
    assert version_of(wire) == CANARY


POLICIES = {
    "latest 1": ("latest { num_versions: 1 }", {CANARY}),
    "latest 2": ("latest { num_versions: 2 }", {STABLE, CANARY}),
    "all": ("all { }", {STABLE, CANARY}),
    "specific": (f"specific {{ versions: {STABLE} }}", {STABLE}),
}


@pytest.mark.parametrize("case", POLICIES)
def test_policies(wire: Server, reload: Reload, case: str) -> None:
    policy, expected = POLICIES[case]
    reload(f'name: "{MODEL}" base_path: "BASE/{MODEL}" model_version_policy {{ {policy} }}', CONTRACT)
    wire.wait(lambda: wire.available() == expected)


def test_models_come_and_go(wire: Server, reload: Reload) -> None:
    reload(*WHOLE, f'name: "other" base_path: "BASE/{MODEL}"')
    response = wire.prediction.Predict(recommend(model="other"), timeout=30)
    assert response.model_spec.version.value == CANARY  # the newest, where no policy is named
    reload(*WHOLE)

    def gone() -> bool:
        try:
            wire.prediction.Predict(recommend(model="other"), timeout=30)
        except grpc.RpcError as error:
            return error.code() == grpc.StatusCode.NOT_FOUND
        return False

    wire.wait(gone)


REFUSED = {
    "label of a version that isn't loaded": ((tiny(stable=99), CONTRACT), "FAILED_PRECONDITION", "assign label.*99"),
    "label of a version that is only asked for": (
        (tiny(f"versions: {STABLE} versions: 99", stable=99), CONTRACT),
        "FAILED_PRECONDITION",
        "assign label.*99",
    ),
    "the same model twice": ((WHOLE[0], WHOLE[0]), "INVALID_ARGUMENT", "tiny multiple times"),
    "a relative base path": (
        (*WHOLE, 'name: "other" base_path: "here/other"'),
        "INVALID_ARGUMENT",
        "other.*absolute path",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_reload_changes_nothing(wire: Server, reload: Reload, case: str) -> None:
    config, code, text = REFUSED[case]
    before = wire.states()
    with pytest.raises(grpc.RpcError, match=text) as error:
        reload(*config)
    assert error.value.code().name == code
    assert wire.states() == before
    assert (version_of(wire, label="stable"), version_of(wire, label="canary")) == (STABLE, CANARY)


def test_a_reload_of_nothing_is_refused(wire: Server) -> None:
    with pytest.raises(grpc.RpcError, match="Only ModelConfigList") as error:
        wire.models.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest(), timeout=10)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture
def damaged(wire: Server) -> Iterator[int]:
    """A version that can't be loaded."""
    folder = wire.base / MODEL / "9"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"half of a file")
    yield 9
    shutil.rmtree(folder)


def test_a_damaged_version_takes_nothing_down(wire: Server, reload: Reload, damaged: int) -> None:
    if not wire.started_here:
        pytest.skip("the server's --max_num_load_retries is its own")
    reload(tiny(f"versions: {STABLE} versions: {CANARY} versions: {damaged}"), CONTRACT)
    wire.wait(lambda: wire.states().get(damaged) == "END")
    assert version_of(wire) == CANARY
    assert version_of(wire, version=STABLE) == STABLE
    (status,) = wire.models.GetModelStatus(status_request(version=damaged), timeout=10).model_version_status
    assert status.status.error_code != 0
    assert status.status.error_message


def test_a_new_version_is_found(wire: Server, reload: Reload, tmp_path: Path) -> None:
    """Published by rename, under a policy of the newest one: no request fails while the versions change places."""
    base = wire.base / "found"
    shutil.copytree(wire.base / MODEL / str(STABLE), base / str(STABLE))
    try:
        reload(*WHOLE, 'name: "found" base_path: "BASE/found"')
        seen: list[int] = []
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                seen.append(version_of(wire, model="found"))

        asking = threading.Thread(target=ask)
        asking.start()
        shutil.copytree(wire.base / MODEL / str(CANARY), base / "copying")
        (base / "copying").rename(base / str(CANARY))
        try:
            wire.wait(lambda: CANARY in seen[-1:] or not asking.is_alive())
            wire.wait(lambda: wire.states("found").get(STABLE) == "END")
        finally:
            stop.set()
            asking.join()
        assert seen == sorted(seen)
        assert set(seen) == {STABLE, CANARY}
        assert version_of(wire, model="found") == CANARY
    finally:
        wire.reload(*WHOLE)
        shutil.rmtree(base)
