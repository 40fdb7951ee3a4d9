"""A run around its nodes: what is said, what goes to the log, exit codes and facts. The nodes here are made up."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from components.breaches import BreachError
from components.errors import InputError
from components.evaluation_report import Report
from pipeline.config import Config
from pipeline.data.paths import DataPaths
from pipeline.local import run as module
from pipeline.local.run import at_terminal, run, run_nodes
from pipeline.terminal import Outcome, Terminal
from serving.stores import ObjectPath


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config.model_validate(
        {
            "name": "shop",
            "output": str(tmp_path / "output"),
            "serving": {"base_path": str(tmp_path / "models")},
            "data": {"interactions": {"path": str(tmp_path / "log.csv")}},
        }
    )


def one_log(config: Config) -> str:
    [log] = (config.output / "shop" / "logs").iterdir()
    return log.read_text(encoding="utf-8")


# ---------------------------------------------------------------- at the terminal


def test_what_matters_is_printed_and_the_rest_is_logged(config: Config, capfd: pytest.CaptureFixture[str]) -> None:
    def work(root: Path, terminal: Terminal) -> Outcome:
        os.write(2, b"noise")
        terminal.console.print("what matters")
        return Outcome(3, {"root": root})

    outcome = at_terminal(config, work)
    root = config.output / "shop"
    said = capfd.readouterr().out.splitlines()
    assert said[0].startswith(f"shop: artifacts in {root}, log in {root}/logs/20")
    assert said[1] == "what matters"
    assert said[2].startswith("0 s, peak memory ")
    assert len(said) == 3
    assert "noise" in one_log(config)
    assert outcome.exit_code == 3
    assert set(outcome.facts) == {"root", "log", "seconds"}
    assert (outcome.facts["root"], 0 <= outcome.facts["seconds"] < 60) == (root, True)


@pytest.mark.parametrize(
    ("error", "code", "said", "pointed"),
    [
        (InputError("log.csv: row 3 is wrong"), 2, "error: log.csv: row 3 is wrong", False),
        (KeyError("a bug"), 1, "error: KeyError: 'a bug'", True),
        (KeyboardInterrupt(), 1, "error: interrupted; run it again to go on after the last step", False),
    ],
)
def test_an_error_is_a_line_and_the_log_has_the_story(
    config: Config, capfd: pytest.CaptureFixture[str], error: BaseException, code: int, said: str, pointed: bool
) -> None:
    def work(root: Path, terminal: Terminal) -> Outcome:
        raise error

    outcome = at_terminal(config, work)
    assert (outcome.exit_code, outcome.facts) == (code, None)
    assert said.startswith("error: ")
    assert outcome.error.startswith(said.removeprefix("error: "))
    assert ("; the whole story is in /" in outcome.error) == pointed
    printed = capfd.readouterr().out
    assert said in printed
    assert ("the whole story is in" in printed) == pointed
    assert "Traceback" not in printed
    assert "Traceback" in one_log(config)


def test_nothing_begins_where_nothing_can_be_written(config: Config, tmp_path: Path) -> None:
    def work(root: Path, terminal: Terminal) -> Outcome:
        raise AssertionError

    (tmp_path / "output").write_text("in the way")
    with pytest.raises(InputError, match=r"output/shop: can't be written: Not a directory"):
        at_terminal(config, work)
    (tmp_path / "output").unlink()
    (tmp_path / "models").write_text("in the way")
    with pytest.raises(InputError, match=r"models/shop: can't be written: Not a directory"):
        at_terminal(config, work)
    assert not (tmp_path / "output").exists()


# ---------------------------------------------------------------- run


def test_a_node_that_there_is_none_of_is_told_before_anything(config: Config) -> None:
    for chosen, option in (({"first": "Trainr"}, "--from Trainr"), ({"only": "Trainr"}, "--only Trainr")):
        with pytest.raises(InputError, match=f"{option}: there is no such node"):
            run(config, **chosen)
    assert not config.output.exists()


def test_wrong_data_are_told_before_tfx_is_imported(
    config: Config, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def check_data(config: Config, data: DataPaths) -> list[str]:
        raise InputError(f"{data.interactions}: there is no such file")

    validate = ModuleType("pipeline.data.validate")
    validate.check_data = check_data
    monkeypatch.setitem(sys.modules, validate.__name__, validate)
    for heavy in ("pipeline.pipeline", "pipeline.metadata"):
        monkeypatch.setitem(sys.modules, heavy, None)  # their import fails
    assert run(config).exit_code == 2
    assert f"{config.data.interactions.path}: there is no such file" in capfd.readouterr().out


def test_another_worker_than_the_chief_helps_it(
    config: Config, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    helped = []
    monkeypatch.setattr(module, "assist", lambda folder, cluster: helped.append((folder, cluster.index)))
    workers = '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}'
    monkeypatch.setenv("TF_CONFIG", workers)
    outcome = run(config)
    assert helped == [(config.output / "shop" / "checkpoints", 1)]
    assert (outcome.exit_code, outcome.facts["worker"]) == (0, 1)
    assert "worker 1: the training is done" in capfd.readouterr().out


def test_workers_of_several_machines_need_a_folder_that_they_share(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config.model_copy(update={"output": ObjectPath("s3://bucket/runs")})
    for index in (0, 1):
        task = f'"task": {{"type": "worker", "index": {index}}}'
        monkeypatch.setenv("TF_CONFIG", f'{{"cluster": {{"worker": ["a:1", "b:1"]}}, {task}}}')
        with pytest.raises(InputError, match="TF_CONFIG: workers share a folder, and output is s3://bucket/runs"):
            run(config)


# ---------------------------------------------------------------- the nodes


class Nodes:
    """In place of the runner and of the report: nodes that have run, or an error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.results: dict[str, SimpleNamespace] = {}
        self.chosen: dict[str, Any] = {}
        self.error: Exception | None = None
        self.reported: list[str] = []
        self.report_error: Exception | None = None
        runner, write = ModuleType("pipeline.local.runner"), ModuleType("pipeline.report.write")
        runner.new_run_id = lambda: "run 1"
        runner.run_pipeline = self._run
        runner.stock_summary = lambda node: f"what TFX says of {node.name}"
        write.report_of_run = self._report
        for made in (runner, write):
            monkeypatch.setitem(sys.modules, made.__name__, made)
        monkeypatch.setattr(module, "load_report", lambda uri: uri)

    def add(self, name: str, summary: str = "", **outputs: Any) -> None:
        self.results[name] = SimpleNamespace(name=name, state="done", seconds=1.5, summary=summary, outputs=outputs)

    def add_evaluator(self, blessed: bool) -> Report:
        metrics = {"candidate": {"overall": {"count": 9, "hit_rate@10": 0.25}}}
        report = Report(metrics, (), blessed, "hit_rate@10", {}, "all", 1, 1)
        self.add("Evaluator", evaluation=SimpleNamespace(uri=report))
        return report

    def add_pusher(self, **about: str | int) -> None:
        properties = {
            name: SimpleNamespace(**{"int_value" if isinstance(value, int) else "string_value": value})
            for name, value in about.items()
        }
        self.add("Pusher", "version 7 is published", pushed_model=SimpleNamespace(custom_properties=properties))

    def _run(self, dag: str, metadata: str, terminal: Terminal, run_id: str, **chosen: Any) -> dict[str, Any]:
        assert (dag, metadata, run_id) == ("dag", "metadata", "run 1")
        self.chosen = chosen
        if self.error:
            raise self.error
        return self.results

    def _report(self, config: Config, metadata: str, run_id: str, failure: str, out: Path) -> bool:
        self.reported.append(failure)
        if self.report_error:
            raise self.report_error
        return True


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    return Nodes(monkeypatch)


def go(config: Config, **chosen: Any) -> Outcome:
    return at_terminal(config, lambda root, terminal: run_nodes(config, root, "dag", "metadata", terminal, **chosen))


def test_the_facts_of_a_run(nodes: Nodes, config: Config, capfd: pytest.CaptureFixture[str]) -> None:
    nodes.add("Transform")
    report = nodes.add_evaluator(blessed=True)
    nodes.add_pusher(version="7", pushed=1, pushed_destination="/models/shop/7")
    outcome = go(config, only="Pusher")
    assert nodes.chosen == {"only": "Pusher"}
    assert outcome.exit_code == 0
    facts = {name: value for name, value in outcome.facts.items() if name not in ("log", "seconds")}
    assert facts.pop("nodes") == [
        {"node": "Transform", "state": "done", "seconds": 1.5, "summary": "what TFX says of Transform"},
        {"node": "Evaluator", "state": "done", "seconds": 1.5, "summary": "what TFX says of Evaluator"},
        {"node": "Pusher", "state": "done", "seconds": 1.5, "summary": "version 7 is published"},
    ]
    page = config.output / "shop" / "report.html"
    assert facts == {
        "name": "shop",
        "run": "run 1",
        "blessed": True,
        "evaluation": report,
        "pushed": {"version": 7, "new": True, "path": "/models/shop/7"},
        "breaches": [],
        "report": page,
    }
    said = capfd.readouterr().out.splitlines()
    assert said[-3:-1] == [f"report: {page}", "version 7 is published"]


@pytest.mark.parametrize("blessed_by", ["neither", "Evaluator", "ServableValidator"])
def test_a_model_that_is_not_blessed(
    nodes: Nodes, config: Config, tmp_path: Path, capfd: pytest.CaptureFixture[str], blessed_by: str
) -> None:
    nodes.add_evaluator(blessed=blessed_by == "Evaluator")
    nodes.add("ServableValidator", "k is ignored", blessing=SimpleNamespace(uri=str(tmp_path)))
    if blessed_by == "ServableValidator":
        (tmp_path / "INFRA_BLESSED").touch()
    nodes.add_pusher(reason="not pushed")
    outcome = go(config)
    assert outcome.exit_code == 3
    assert (outcome.facts["blessed"], outcome.facts["pushed"]) == (False, None)
    said = "not blessed by ServableValidator: k is ignored"
    assert (said in capfd.readouterr().out) == (blessed_by != "ServableValidator")


def test_a_run_of_other_nodes_says_nothing_of_blessings(nodes: Nodes, config: Config) -> None:
    nodes.add("Transform")
    facts = go(config).facts
    assert (facts["blessed"], facts["evaluation"], facts["pushed"]) == (None, None, None)


def test_a_failed_run_has_a_page_too(nodes: Nodes, config: Config, capfd: pytest.CaptureFixture[str]) -> None:
    nodes.error = InputError("log.csv: row 3 is wrong")
    assert go(config) == Outcome(2, error="log.csv: row 3 is wrong")
    assert nodes.reported == ["log.csv: row 3 is wrong"]
    said = capfd.readouterr().out.splitlines()
    assert said[1:3] == [f"report: {config.output}/shop/report.html", "error: log.csv: row 3 is wrong"]


def test_data_that_stop_a_run_are_an_outcome(
    nodes: Nodes, config: Config, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes.error = BreachError("beside version 7", ["users: 5", "items: 3"])
    monkeypatch.setattr(module, "_ran", lambda config, metadata, run_id: [f"{config.name} {metadata} {run_id}"])
    outcome = go(config)
    assert outcome.exit_code == 3
    facts = {name: value for name, value in outcome.facts.items() if name not in ("log", "seconds")}
    page = config.output / "shop" / "report.html"
    assert facts == {
        "name": "shop",
        "run": "run 1",
        "nodes": ["shop metadata run 1"],
        "blessed": None,
        "evaluation": None,
        "pushed": None,
        "breaches": ["users: 5", "items: 3"],
        "report": page,
    }
    assert nodes.reported == [str(nodes.error)]
    said = capfd.readouterr().out.splitlines()
    assert said[1:4] == [f"report: {page}", "error: the data are out of the limits (beside version 7):", "  users: 5"]


def test_breaches_that_were_let_through_are_facts(nodes: Nodes, config: Config) -> None:
    about = {"breaches": SimpleNamespace(string_value="users: 5\nitems: 3")}
    nodes.add("Guards", profile=SimpleNamespace(custom_properties=about))
    assert go(config).facts["breaches"] == ["users: 5", "items: 3"]
    nodes.add("Guards", profile=SimpleNamespace(custom_properties={}))
    assert go(config).facts["breaches"] == []


def test_no_run_fails_by_its_page(nodes: Nodes, config: Config, capfd: pytest.CaptureFixture[str]) -> None:
    nodes.add("Transform")
    nodes.report_error = ZeroDivisionError("a [bug]")
    outcome = go(config)
    assert (outcome.exit_code, outcome.facts["report"]) == (0, None)
    assert "no report: ZeroDivisionError: a [bug]" in capfd.readouterr().out
    assert "Traceback" in one_log(config)
