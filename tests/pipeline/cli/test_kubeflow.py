"""`recommender submit` and `trigger` against a stand-in of Kubeflow Pipelines."""

from __future__ import annotations

import sys

import pytest

from kubeflow import submit
from kubeflow.submit import Kubeflow, Package
from pipeline import cli
from tests.kubeflow.shop import a_package, config_file, progress, task

pytestmark = pytest.mark.usefixtures("no_credentials")


def recommender(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The command, in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["recommender", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


# --- submit -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Package:
    """Stands for the compiler, which takes TFX's seconds; the walk tests the real one."""
    result = a_package()
    monkeypatch.setattr(submit, "package", lambda config: result)
    monkeypatch.setattr(Kubeflow.wait, "__defaults__", (0.0,))
    return result


@pytest.mark.parametrize(("state", "code"), [("SUCCEEDED", 0), ("FAILED", 1), ("CANCELED", 1)])
def test_submit_waits_and_ends_with_the_runs_code(api, tmp_path, monkeypatch, capsys, compiled, state, code):
    error = {"error": {"code": 2, "message": "Trainer: out of memory"}} if state == "FAILED" else {}
    trained = task("Trainer", state)
    api.progress = [progress("RUNNING"), progress(state, task("InteractionGen", "SUCCEEDED"), trained, **error)]
    config = str(config_file(tmp_path, "http://elsewhere"))
    arguments = ("submit", "-c", config, "--host", api.host, "--param", "epochs=5", "--run-name", "try", "--wait")
    assert recommender(monkeypatch, *arguments) == code
    out, err = capsys.readouterr()
    (sent,) = api.runs
    assert sent["runtime_config"]["parameters"] == {"epochs": 5}
    assert f"run try started, version {compiled.version}: {api.host}/#/runs/details/{sent['run_id']}" in out
    assert "InteractionGen" in out
    assert "7.0 s" in out
    assert ("Trainer: out of memory" in err) == (state == "FAILED")
    assert "Run details" not in out  # kfp's own


@pytest.mark.slow
@pytest.mark.smoke
def test_submit_sets_the_configs_schedule_and_once_starts_a_run(api, tmp_path, monkeypatch, capsys, compiled):
    config = str(config_file(tmp_path, api.host, schedule="0 3 * * *"))
    assert recommender(monkeypatch, "submit", "-c", config) == 0
    assert "recurring run shop at 0 3 * * * set, version" in capsys.readouterr().out
    assert recommender(monkeypatch, "submit", "-c", config) == 0
    assert "recurring run shop at 0 3 * * * was set already" in capsys.readouterr().out
    assert (len(api.recurring_runs), len(api.runs)) == (1, 0)
    assert recommender(monkeypatch, "submit", "-c", config, "--once") == 0
    assert len(api.runs) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--param", "epoch=5"), "--param epoch: no such parameter"),
        (("--schedule", "0 3 * *"), "expected five fields"),
        (("--schedule", "0 3 * * *", "--wait"), "--wait: a recurring run doesn't end"),
        (("--schedule", "0 3 * * *", "--once"), "exclude each other"),
    ],
)
def test_wrong_arguments_are_told_in_a_line(api, tmp_path, monkeypatch, capsys, compiled, arguments, message):
    assert recommender(monkeypatch, "submit", "-c", str(config_file(tmp_path, api.host)), *arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
    assert not api.runs


def test_nobody_at_the_address_ends_with_one(tmp_path, monkeypatch, capsys, compiled):
    config = str(config_file(tmp_path, "http://127.0.0.1:1"))
    assert recommender(monkeypatch, "submit", "-c", config) == 1
    assert "error: no Kubeflow Pipelines at http://127.0.0.1:1" in capsys.readouterr().err


def test_a_reason_lets_one_run_through_and_no_recurring_one(tmp_path, monkeypatch, capsys, api, compiled):
    config = str(config_file(tmp_path, api.host))
    given = ("submit", "-c", config, "--param", "accept=a sale")
    assert recommender(monkeypatch, *given, "--schedule", "0 3 * * *") == 2
    assert "--param accept: lets one run through" in capsys.readouterr().err
    assert not api.runs
    assert recommender(monkeypatch, *given) == 0
    assert [run["runtime_config"] for run in api.runs] == [{"parameters": {"accept": "a sale"}}]


# --- trigger ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def trigger(api, tmp_path, monkeypatch):
    """Runs the command on a log of files."""
    monkeypatch.setattr(submit, "package", lambda config: a_package())
    config = config_file(tmp_path, api.host, trigger={"partitions": f"{tmp_path}/events-*.csv"})
    return lambda *arguments: recommender(monkeypatch, "trigger", "-c", str(config), *arguments)


def test_new_data_starts_one_run(api, tmp_path, trigger, capsys):
    (tmp_path / "events-1.csv").write_text("u,i\n1,2\n")
    assert trigger() == 0
    assert f"new data in {tmp_path}/events-1.csv: run shop data " in capsys.readouterr().out
    assert trigger() == 0
    assert f"nothing new: {tmp_path}/events-1.csv was seen by run shop data " in capsys.readouterr().out
    assert len(api.runs) == 1
    (tmp_path / "events-2.csv").write_text("u,i\n1,2\n")
    assert trigger("--param", "epochs=3") == 0
    assert [run["runtime_config"] for run in api.runs] == [{"parameters": {}}, {"parameters": {"epochs": 3}}]
    assert len({run["display_name"] for run in api.runs}) == 2


@pytest.mark.slow
@pytest.mark.smoke
def test_a_failed_run_is_not_repeated_unless_asked(api, tmp_path, trigger, capsys):
    (tmp_path / "events-1.csv").write_text("u,i\n1,2\n")
    trigger()
    api.runs[0]["state"] = "FAILED"
    assert trigger() == 0
    assert "(FAILED)" in capsys.readouterr().out
    assert len(api.runs) == 1
    assert trigger("--again") == 0
    assert len(api.runs) == 2
    api.runs[1]["state"] = "SUCCEEDED"
    capsys.readouterr()
    assert trigger() == 0
    assert "(SUCCEEDED)" in capsys.readouterr().out  # of the newest


def test_no_data_is_wrong_input(api, trigger, capsys):
    assert trigger() == 2
    assert "nothing matches" in capsys.readouterr().err
    assert not api.runs
