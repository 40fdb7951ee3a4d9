"""Uploads, runs and recurring runs against a stand-in of Kubeflow Pipelines: real HTTP, the real kfp client."""

from __future__ import annotations

import dataclasses
import socket
from pathlib import Path
from typing import Any

import pytest

from components.errors import InputError
from kubeflow import submit
from kubeflow.submit import Kubeflow, KubeflowError, Run
from pipeline.config import Config, load_config
from tests.kubeflow.shop import a_package, config_file, progress, task

pytestmark = pytest.mark.usefixtures("no_credentials")


def a_config(folder: Path, host: str, **kubeflow: Any) -> Config:
    return load_config(config_file(folder, host, **kubeflow))


# --- Uploads and runs -------------------------------------------------------------------------------------------------


def test_a_run_is_one_of_the_uploaded_version(api, tmp_path):
    kubeflow = Kubeflow(a_config(tmp_path, api.host, service_account="runner"))
    compiled = a_package()
    run = kubeflow.start(compiled, {"epochs": 5}, "nightly")
    (experiment,), (pipeline,), (sent,) = api.experiments, api.pipelines, api.runs
    assert experiment["display_name"] == pipeline["display_name"] == "shop"
    assert api.uploads == ["shop", compiled.version]
    version = next(version for version in api.versions if version["display_name"] == compiled.version)
    assert sent["pipeline_version_reference"] == {
        "pipeline_id": pipeline["pipeline_id"],
        "pipeline_version_id": version["pipeline_version_id"],
    }
    assert sent["experiment_id"] == experiment["experiment_id"]
    assert sent["runtime_config"] == {"parameters": {"epochs": 5}}
    assert sent["service_account"] == "runner"
    assert run == Run(sent["run_id"], "nightly", "", f"{api.host}/#/runs/details/{sent['run_id']}")


def test_the_same_pipeline_is_uploaded_once_and_another_is_its_next_version(api, tmp_path):
    for _ in range(2):
        Kubeflow(a_config(tmp_path, api.host)).start(a_package(), {})
    assert api.uploads == ["shop", a_package().version]
    changed = a_package(schemaVersion="2.1.0")
    Kubeflow(a_config(tmp_path, api.host)).start(changed, {})
    assert api.uploads == ["shop", a_package().version, changed.version]
    assert len(api.pipelines) == len(api.experiments) == 1
    assert len(api.runs) == 3


def test_an_upload_that_was_killed_after_the_pipeline_is_mended(api, tmp_path):
    api.failures["POST pipelines/upload_version"] = [(503, "gone")]
    kubeflow = Kubeflow(a_config(tmp_path, api.host))
    with pytest.raises(KubeflowError, match="503"):
        kubeflow.start(a_package(), {})
    kubeflow.start(a_package(), {})
    assert len(api.pipelines) == 1
    assert len(api.runs) == 1


def test_namespace_and_experiment_are_the_configs(api, tmp_path):
    api.multi_user = True
    Kubeflow(a_config(tmp_path, api.host, namespace="team-a", experiment="tries")).start(a_package(), {})
    assert [(thing["display_name"], thing["namespace"]) for thing in api.experiments] == [("tries", "team-a")]
    assert api.pipelines[0]["namespace"] == "team-a"


# --- Parameters -------------------------------------------------------------------------------------------------------


def test_parameters_have_the_pipelines_types():
    assignments = ["epochs=5", "cutoff=2026-01-01", "promote_approved=true", "share=0.5", "flag=true"]
    assert a_package().parameters(assignments) == {
        "epochs": 5,
        "cutoff": "2026-01-01",
        "promote_approved": "true",
        "share": 0.5,
        "flag": True,
    }
    assert a_package().parameters(["cutoff=a=b"]) == {"cutoff": "a=b"}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("epoch=5", "no such parameter; the pipeline has: accept, cutoff, epochs, flag"),
        ("epochs", "expected name=value"),
        ("epochs=many", "expected number integer"),
        ("epochs=1.5", "expected number integer"),
        ("share=half", "expected number double"),
        ("flag=1", "expected boolean"),
    ],
)
def test_a_wrong_parameter_is_told_before_anything_is_sent(assignment, message):
    with pytest.raises(InputError, match=message):
        a_package().parameters([assignment])


# --- Recurring runs ---------------------------------------------------------------------------------------------------


def test_five_fields_become_the_six_of_kubeflow(api, tmp_path):
    url, changed = Kubeflow(a_config(tmp_path, api.host)).schedule(a_package(), {"epochs": 5}, "0 3 * * *")
    (sent,) = api.recurring_runs
    # Five would be taken as second 0 of minute 3 of every hour.
    assert sent["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"
    assert sent["runtime_config"]["parameters"] == {"epochs": 5}
    assert (sent["max_concurrency"], sent["no_catchup"], sent["mode"]) == (1, True, "ENABLE")
    assert changed
    assert url == f"{api.host}/#/recurringrun/details/{sent['recurring_run_id']}"


def test_setting_the_same_recurring_run_again_changes_nothing(api, tmp_path):
    kubeflow = Kubeflow(a_config(tmp_path, api.host))
    first = kubeflow.schedule(a_package(), {"epochs": 5}, "0 3 * * *")
    assert kubeflow.schedule(a_package(), {"epochs": 5}, "0  3 * * *") == (first[0], False)
    assert len(api.recurring_runs) == 1
    assert api.requests.count("POST recurringruns") == 1


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("change", ["cron", "parameters", "version", "account"])
def test_another_recurring_run_of_the_name_takes_its_place(api, tmp_path, change):
    kubeflow = Kubeflow(a_config(tmp_path, api.host))
    kubeflow.schedule(a_package(), {"epochs": 5}, "0 3 * * *")
    kubeflow.schedule(a_package(), {}, "0 9 * * *", "weekly")
    compiled = a_package(schemaVersion="2.1.0") if change == "version" else a_package()
    parameters = {"epochs": 6 if change == "parameters" else 5}
    if change == "account":
        kubeflow = Kubeflow(a_config(tmp_path, api.host, service_account="trainer"))
    _, changed = kubeflow.schedule(compiled, parameters, "0 4 * * *" if change == "cron" else "0 3 * * *")
    assert changed
    assert sorted(recurring["display_name"] for recurring in api.recurring_runs) == ["shop", "weekly"]
    (now,) = [recurring for recurring in api.recurring_runs if recurring["display_name"] == "shop"]
    assert now["runtime_config"]["parameters"] == parameters
    # Never none: the new one is made before the old one goes.
    assert [request.split("/")[0] for request in api.requests if request.split()[0] != "GET"][-2:] == [
        "POST recurringruns",
        "DELETE recurringruns",
    ]


def test_doubles_of_a_killed_change_go_and_a_disabled_one_is_enabled(api, tmp_path):
    kubeflow = Kubeflow(a_config(tmp_path, api.host))
    kubeflow.schedule(a_package(), {}, "0 3 * * *")
    api.failures["DELETE recurringruns/.*"] = [(500, "killed")]
    with pytest.raises(KubeflowError):
        kubeflow.schedule(a_package(), {}, "0 4 * * *")
    assert len(api.recurring_runs) == 2
    api.recurring_runs[1]["mode"] = "DISABLE"
    assert kubeflow.schedule(a_package(), {}, "0 4 * * *")[1]
    (left,) = api.recurring_runs
    assert (left["trigger"]["cron_schedule"]["cron"], left["mode"]) == ("0 0 4 * * *", "ENABLE")


@pytest.mark.parametrize("cron", ["0 3 * *", "@daily", "0 0 3 * * *"])
def test_a_schedule_of_other_than_five_fields_is_refused(api, tmp_path, cron):
    with pytest.raises(InputError, match="expected five fields"):
        Kubeflow(a_config(tmp_path, api.host)).schedule(a_package(), {}, cron)
    assert not api.recurring_runs


# --- Credentials and errors -------------------------------------------------------------------------------------------


def test_every_request_carries_the_token(api, tmp_path, monkeypatch):
    monkeypatch.setenv("KF_PIPELINES_TOKEN", "s3cret")
    api.authorized = lambda headers: headers.get("authorization") == "Bearer s3cret"
    Kubeflow(a_config(tmp_path, api.host)).start(a_package(), {})
    assert len(api.runs) == 1


def test_every_request_carries_the_cookie(api, tmp_path, monkeypatch):
    monkeypatch.setenv("KF_PIPELINES_COOKIE", "authservice_session=abc")
    api.authorized = lambda headers: headers.get("Cookie") == "authservice_session=abc"
    Kubeflow(a_config(tmp_path, api.host)).start(a_package(), {})
    assert len(api.runs) == 1


def test_a_pod_asks_by_the_token_of_its_service_account_which_changes(api, tmp_path, monkeypatch):
    token = tmp_path / "token"
    token.write_text("first")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(token))
    api.authorized = lambda headers: headers.get("authorization") == f"Bearer {token.read_text()}"
    kubeflow = Kubeflow(a_config(tmp_path, api.host))
    token.write_text("second")
    kubeflow.start(a_package(), {})
    assert len(api.runs) == 1


def test_a_missing_token_of_a_service_account_is_told(api, tmp_path, monkeypatch):
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(InputError, match=r"KF_PIPELINES_SA_TOKEN_PATH: .*token can't be read"):
        Kubeflow(a_config(tmp_path, api.host))


def test_wrong_credentials_are_told_at_once(api, tmp_path):
    api.authorized = lambda headers: False
    with pytest.raises(InputError, match=r"401 Unauthenticated.*; set KF_PIPELINES_TOKEN"):
        Kubeflow(a_config(tmp_path, api.host))
    assert api.requests == ["GET healthz"]  # kfp's own client would ask for half a minute


def test_a_namespace_is_asked_for_where_there_are_users(api, tmp_path):
    api.multi_user = True
    with pytest.raises(InputError, match=r"kubeflow\.namespace: missing"):
        Kubeflow(a_config(tmp_path, api.host))


def test_a_page_to_log_in_at_is_not_taken_for_the_api(api, tmp_path):
    api.failures[".*"] = [(200, "<!doctype html><title>Log in to Your Account</title>")] * 10
    with pytest.raises(InputError, match="a page to log in at"):
        Kubeflow(a_config(tmp_path, api.host))


def test_an_address_without_http_is_told_what_to_write(tmp_path):
    with pytest.raises(InputError, match="such as http://localhost:8080"):
        Kubeflow(a_config(tmp_path, "localhost:8080"))


def test_nobody_at_the_address(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(KubeflowError, match=rf"no Kubeflow Pipelines at {host}: .*refused.*check kubeflow\.host"):
            Kubeflow(a_config(tmp_path, host))


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (400, InputError, "400 Invalid input error: bad"),
        (403, InputError, "403 .*; ask for access to the namespace"),
        (404, InputError, "404 .*; check that the address"),
        (500, KubeflowError, "500 Internal"),
        (502, KubeflowError, "502 Bad Gateway"),
    ],
)
def test_what_the_api_says_is_told_in_a_line(api, tmp_path, status, error, message):
    bodies = {400: '{"error": "Invalid input error: bad", "code": 3}', 500: '{"message": "Internal\\n  Server Error"}'}
    api.failures["POST runs"] = [(status, bodies.get(status, "<html>long</html>"))]
    with pytest.raises(error, match=message) as raised:
        Kubeflow(a_config(tmp_path, api.host)).start(a_package(), {})
    assert "\n" not in str(raised.value)
    assert "<html>" not in str(raised.value)


# --- Waiting ----------------------------------------------------------------------------------------------------------


def test_waiting_tells_each_node_once_and_outlives_a_restart_of_the_api(api, tmp_path):
    kubeflow, compiled = Kubeflow(a_config(tmp_path, api.host)), a_package()
    run = kubeflow.start(compiled, {})
    done = task("InteractionGen", "SUCCEEDED")
    api.progress = [
        progress("PENDING"),
        progress("RUNNING", done, task("InteractionGen-driver", "SUCCEEDED"), task("Trainer", "RUNNING")),
        progress("SUCCEEDED", done, task("Trainer", "SUCCEEDED"), task("root", "SUCCEEDED")),
    ]
    api.failures["GET runs/.*"] = [(503, "restarting")] * 5
    told: list[submit.Task] = []
    last = kubeflow.wait(run, compiled.nodes, told.append, poll=0)
    assert last == dataclasses.replace(run, state="SUCCEEDED")
    assert told == [submit.Task("InteractionGen", "SUCCEEDED", 7.0), submit.Task("Trainer", "SUCCEEDED", 7.0)]


def test_waiting_gives_up_when_the_api_stays_away_or_the_run_is_gone(api, tmp_path):
    kubeflow = Kubeflow(a_config(tmp_path, api.host))
    run = kubeflow.start(a_package(), {})
    api.failures["GET runs/.*"] = [(503, "down")] * 100
    with pytest.raises(KubeflowError, match="503"):
        kubeflow.wait(run, (), lambda task: None, poll=0)
    api.failures.clear()
    api.runs.clear()
    with pytest.raises(InputError, match="404"):
        kubeflow.wait(run, (), lambda task: None, poll=0)
