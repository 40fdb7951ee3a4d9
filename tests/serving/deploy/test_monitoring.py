"""Alerts and dashboard: by promtool, and in a Prometheus that asks a real server under load and its clients."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
import yaml

from serving.client import ModelNotFound, RecommenderClient, Traffic
from serving.client.prometheus import MetricsCollector
from serving.server.ports import free_port
from serving.server.process import EMBEDDED, ServerProcess
from tests.serving.fake_models import model, server_config
from tests.serving.fixtures import MODEL
from tests.serving.server.running import publish

MONITORING = Path(__file__).resolve().parents[3] / "serving" / "deploy" / "monitoring"
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
RULES = [
    rule
    for group in yaml.safe_load((MONITORING / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
NO_METRICS = {"and", "by", "ignoring", "on", "or", "sum", "time", "unless", "up"}
"""Words in expressions; `up` is Prometheus' own."""


def promtool(*arguments: object, text: str = "") -> str:
    """What promtool says."""
    if shutil.which("promtool") is None:
        pytest.skip("no promtool here (Debian's package prometheus)")
    command = ["promtool", *map(str, arguments)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def expressions() -> dict[str, str]:
    """The dashboard's expressions by panel and legend."""
    return {
        f"{panel['title']}: {target['legendFormat']}": target["expr"]
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", ())
    }


def metrics_of(expression: str) -> set[str]:
    """The names of metrics in an expression."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(by|on|ignoring) ?\([^)]*\)", "", expression)
    return set(re.findall(r"(?<![\w.:])[a-zA-Z_:][\w:]*\b(?! *\()", bare)) - NO_METRICS


def test_names_in_an_expression() -> None:
    quantile = 'histogram_quantile(0.95, sum by (job, le) (rate(:a:b_bucket{x=~"$job"}[5m]))) / 1e6'
    assert metrics_of(f"{quantile} > on(job) 2 * c:d_1 or time() - e") == {":a:b_bucket", "c:d_1", "e"}


@pytest.mark.slow
def test_the_rules_do_what_they_are_for() -> None:
    promtool("check", "rules", MONITORING / "alerts.yaml")
    promtool("check", "config", MONITORING / "prometheus.yaml")
    promtool("test", "rules", MONITORING / "alerts.test.yaml")


def test_every_alert_has_a_rule_test_and_a_row_in_the_documentation() -> None:
    tested = yaml.safe_load((MONITORING / "alerts.test.yaml").read_text(encoding="utf-8"))["tests"]
    names = {rule["alert"] for rule in RULES if "alert" in rule}
    fired = {one["alertname"] for test in tested for one in test.get("alert_rule_test", ()) if one["exp_alerts"]}
    assert fired == names - {"RecommenderSlowSlowly"}  # as RecommenderErrorsSlowly, of another ratio
    page = (MONITORING.parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
    assert [name for name in names if f"`{name}`" not in page] == []


def test_the_dashboard_can_be_imported() -> None:
    assert {"title", "uid", "schemaVersion", "templating", "panels"} <= set(DASHBOARD)
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]} | {"__rate_interval"}
    for name, expression in expressions().items():
        assert set(re.findall(r"\$(\w+)", expression)) <= variables, name


class Asked:
    """A Prometheus; a context manager.

    Args:
        folder: where it keeps its files.
        targets: where to scrape, by job.
    """

    def __init__(self, folder: Path, targets: dict[str, list[str]]):
        config = yaml.safe_load((MONITORING / "prometheus.yaml").read_text(encoding="utf-8"))
        config["global"] = {"scrape_interval": "250ms", "scrape_timeout": "250ms", "evaluation_interval": "250ms"}
        for scrape in config["scrape_configs"]:
            scrape["static_configs"] = [{"targets": targets[scrape["job_name"]]}]
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        rules = (MONITORING / "alerts.yaml").read_text(encoding="utf-8")
        (folder / "alerts.yaml").write_text(rules.replace("interval: 30s", "interval: 250ms"))
        self._folder = folder
        self._address = f"127.0.0.1:{free_port()}"

    def __enter__(self) -> Asked:
        with open(self._folder / "log", "wb") as log:
            flags = [
                f"--config.file={self._folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address={self._address}",
            ]
            self._process = subprocess.Popen(["prometheus", *flags], stdout=log, stderr=log)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)

    def get(self, path: str, **query: str) -> Any:
        """The data of an answer of its API."""
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[Any]:
        """The series of an expression; none as long as it doesn't answer."""
        with contextlib.suppress(OSError):
            return self.get("query", query=expression)["result"]
        return []


@contextlib.contextmanager
def load(server: ServerProcess) -> Iterator[list[str]]:
    """Clients of both transports that ask all the time; yields where their metrics are."""
    over = threading.Event()
    with contextlib.ExitStack() as stack:
        options = {"model": MODEL, "label": "stable", "traffic": Traffic("canary", 0.5)}
        clients = [
            RecommenderClient(server.grpc_target, **options),
            RecommenderClient(server.rest_target, transport="rest", **options),
            RecommenderClient("127.0.0.1:1", model=MODEL, fallback=["1"], retry=None),
            RecommenderClient(server.grpc_target, model="nobody"),
        ]
        targets = []
        for client in map(stack.enter_context, clients):
            registry, port = prometheus_client.CollectorRegistry(), free_port()
            registry.register(MetricsCollector(client.metrics))
            shown, _ = prometheus_client.start_http_server(port, "127.0.0.1", registry)
            stack.callback(shown.shutdown)
            targets.append(f"127.0.0.1:{port}")

        def ask() -> None:
            while not over.wait(0.01):
                for client in clients:
                    with contextlib.suppress(ModelNotFound):
                        client.recommend()

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield targets
        finally:
            over.set()
            thread.join()


@pytest.fixture(scope="module")
def watched(servable, second_servable, tmp_path_factory) -> Iterator[ServerProcess]:
    """A server that batches and follows its config, with two labels, and a version that can't be loaded."""
    base = tmp_path_factory.mktemp("base")
    (base / MODEL).mkdir()
    publish(servable, base / MODEL, 1)
    publish(second_servable, base / MODEL, 2)
    (base / MODEL / "3").mkdir()
    (base / MODEL / "3" / "saved_model.pb").write_text("nonsense")
    policy = "specific { versions: 1 versions: 2 versions: 3 }"
    config = base / "models.config"
    config.write_text(server_config(model(MODEL, base / MODEL, policy, stable=1, canary=2)).__str__())
    flags = [
        f"--model_config_file={config}",
        "--model_config_file_poll_wait_seconds=0.2",
        f"--monitoring_config_file={MONITORING.parent / 'monitoring.config'}",
        "--enable_batching",
    ]
    with ServerProcess(base, MODEL, binary=EMBEDDED, flags=flags) as server:
        yield server


@pytest.mark.slow
def test_what_alerts_and_dashboard_ask_for_is_there(watched, tmp_path) -> None:
    """All metrics and limits of histograms that they name are in what a server under load and its clients tell.

    Every rule can be evaluated, and every panel shows something.
    """
    if shutil.which("prometheus") is None:
        pytest.skip("no prometheus here (Debian's package prometheus)")
    asked = [*expressions().values(), *(rule["expr"] for rule in RULES)]
    with load(watched) as clients:
        targets = {"recommender": [watched.rest_target], "recommender-clients": clients}
        with Asked(tmp_path, targets) as prometheus:
            shown = {
                name: re.sub(r"\$(job|clients)", ".*", expression).replace("$__rate_interval", "1m")
                for name, expression in expressions().items()
            }
            deadline = time.monotonic() + 30
            while empty := [name for name, expression in shown.items() if not prometheus.query(expression)]:
                assert time.monotonic() < deadline, empty
                time.sleep(0.2)
            names = set(prometheus.get("label/__name__/values"))
            assert set().union(*map(metrics_of, asked)) - names == set()
            for name, limit in set(re.findall(r'([\w:]+)\{[^}]*\ble="([^"]+)"', " ".join(asked))):
                assert prometheus.query(f'{name}{{le="{limit}"}}'), (name, limit)
            rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
            assert {rule["health"] for rule in rules} == {"ok"}
            assert len(rules) == len(RULES)
            firing = {alert["labels"]["alertname"] for alert in prometheus.get("alerts")["alerts"]}
    assert not firing & {"RecommenderNoModel", "RecommenderErrorsFast", "RecommenderConfigPollFails", "RecommenderDown"}


@pytest.mark.slow
def test_our_own_metrics_are_as_promtool_wants_them(watched) -> None:
    with urllib.request.urlopen(f"http://{watched.rest_target}/monitoring/prometheus/metrics", timeout=10) as answer:
        lines = [line for line in answer.read().decode().splitlines() if "recommender_server_" in line]
    assert len(lines) > 20
    promtool("check", "metrics", text="\n".join(lines) + "\n")
