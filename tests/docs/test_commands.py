"""Every command that the pages show is run as it stands, on small data, or is named here with the reason why not.

A new block is run if it stands on one of `RUN`, and fails this file if it stands elsewhere and nobody has listed it.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.nodes import NODES
from serving.promotion import files, read_audit
from serving.server import flags as server_flags
from serving.server.ports import free_port
from serving.server.process import environment
from tests import forks
from tests.docs.pages import PAGES, ROOT, Block, blocks, commands
from tests.kubeflow.conftest import api as api
from tests.kubeflow.conftest import no_credentials as no_credentials
from tests.kubeflow.kfp_api import KfpApi
from tests.pipeline.cli.command import COMMAND, recommender
from tests.serving.fake_replica import FakeReplica, publish

RUN = ("README.md", "docs/batch.md", "docs/commands.md", "docs/serving.md", "docs/your_data.md")
"""Pages whose commands are run."""

_RECIPES = "tests/recipes runs the recipe on a small sample of its data; here the options are checked"
_CLUSTER = "needs a cluster; tests/kubeflow/test_docs.py submits the page's config to a stand-in of its API"

NOT_RUN = {
    "CONTRIBUTING.md: make format": "is what CI does on every change",
    "docs/benchmarks.md: python -m benchmarks.quality benchmarks/sequences.yaml --seeds 1"
    " --set data.interactions.path=movielens_1m.parquet --set 'evaluation.baselines.names=[popularity, blend, slit]'": (
        "half an hour; tests/test_benchmarks.py runs the benchmark on a small config"
    ),
    "docs/beam.md: python -m apache_beam.runners.portability.local_job_service_main --port 8099 &": (
        "tests/e2e/test_portable.py runs the whole DAG by that service"
    ),
    "docs/operations.md: recommender nightly --config shop.yaml": "tests/e2e/test_nightly.py does nights",
    "docs/operations.md: recommender nightly --set output=s3://bucket/runs"
    " --set serving.base_path=s3://bucket/models": (
        "tests/e2e/test_store.py runs with both in a store on the loopback"
    ),
    "docs/operations.md: sudo cp serving/deploy/nightly/recommender-nightly.* /etc/systemd/system/": (
        "changes the machine; tests/serving/deploy/test_nightly.py asks systemd what it thinks of the units"
    ),
    "docs/operations.md: kubectl create configmap recommender-config -n kubeflow"
    " --from-file=recommender.yaml=shop.yaml": (
        "needs a cluster; tests/kubeflow/test_manifests.py holds the manifests to Kubernetes' schemas"
    ),
    "docs/operations.md: recommender feedback --config shop.yaml --log 'answers/*.jsonl' --out feedback": (
        "tests/pipeline/cli/test_feedback.py runs it"
    ),
    "docs/operations.md: recommender feedback --config shop.yaml --log answers --out feedback"
    " --candidate 20261108000000": ("tests/pipeline/feedback/test_run.py asks a version again"),
    "docs/operations.md: recommender canary compare --config shop.yaml --log answers --outcome conversions"
    " --min-effect 0.05 --auto": "tests/pipeline/cli/test_canary.py has users decide a trial",
    "docs/incremental.md: python -m benchmarks.incremental --rows 2_000_000 --days 100 --nights 1": (
        "hours; the tests of its nodes read logs on"
    ),
    "docs/scale.md: recommender shard --shards 2 --out output/shards": (
        "tests/pipeline/local/test_sharding.py splits a version; tests/serving/wire/test_shards.py serves shards and"
        " asks them, at the command line too"
    ),
    'docs/operations.md: recommender run --accept "closed for a week"': (
        "tests/e2e/test_run.py and tests/pipeline/cli/test_kubeflow.py let data through"
    ),
    "docs/operations.md: recommender reproduce 20260102030405 --check": (
        "tests/pipeline/local/test_reproduce.py and tests/e2e/test_run.py ask it of versions that there are"
    ),
    'docs/operations.md: recommender forget --user "bob, jr" --also /var/log/answers': (
        "tests/pipeline/local/forget/test_forget.py forgets users"
    ),
    "docs/operations.md: recommender gc --dry-run": "tests/pipeline/local/test_clean_up.py cleans up",
    **{
        f"docs/kubeflow.md: {first}": _CLUSTER
        for first in (
            "kind create cluster --name recommender",
            "export REGISTRY=ghcr.io/you TAG=$(git describe --tags --always)",
            "kubectl apply -k kubeflow/manifests/overlays/dev",
            "kubectl create secret generic google-key -n kubeflow --from-file=key.json",
            "recommender compile --config configs/movielens_100k.yaml --overrides cluster.yaml --out pipeline.yaml",
            'kubectl logs -n kubeflow -l pipeline/runid=RUN --tail=-1 --prefix | grep \'"node": "Pusher"\'',
            "kubectl rollout status -n kubeflow deployment/recommender-serving",
            "kubectl run ask -n kubeflow --rm -it --restart=Never --image=$REGISTRY/recommender-client:$TAG"
            " --labels=recommender-client=true -- query --target recommender-grpc:8500 --name movielens_100k --user 42",
            "recommender submit --config configs/movielens_100k.yaml --overrides cluster.yaml --wait"
            " --param promote_approved=true",
            "kubectl create configmap recommender-config -n kubeflow"
            " --from-file=recommender.yaml=configs/movielens_100k.yaml --from-file=cluster.yaml",
            "sed -i 's/versions: [0-9]*/versions: 20261101000000/' kubeflow/manifests/kserve/models.config",
            'recommender submit --config configs/movielens_100k.yaml --overrides cluster.yaml --schedule "0 3 * * *"',
            "recommender trigger --config configs/movielens_100k.yaml --overrides cluster.yaml",
            "kubectl delete -k kubeflow/manifests/trigger",
            "recommender compile --config configs/movielens_100k.yaml --overrides vertex.yaml --out pipeline.json",
        )
    },
    "docs/recipes.md: python -m tests.recipes.tools data/tools": _RECIPES,
    "docs/recipes.md: python -m tests.recipes.books data/books": _RECIPES,
    "docs/recipes.md: python -m tests.recipes.courses data/courses": _RECIPES,
    "docs/recipes.md: recommender run --config configs/asos.yaml": _RECIPES,
    "docs/recipes.md: python -m tests.recipes.retail data/retail_events --catalogue data/retail": _RECIPES,
    "docs/recipes.md: python -m benchmarks.quality configs/retail.yaml --seeds 1 --ablations --test"
    " --metrics hit_rate@1 hit_rate@5 hit_rate@10 hit_rate@50 hit_rate@100": (
        "hours; tests/test_benchmarks.py runs the benchmark on a small config"
    ),
    "docs/training.md: export TF_CONFIG="
    '\'{"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 0}}\'': (
        "needs two machines; tests/e2e/test_workers.py runs the same with two processes"
    ),
    "serving/deploy/README.md: export MODELS=$PWD/output/models": "needs Docker; smoke.sh runs it where there is one",
    "serving/deploy/README.md: docker compose -f serving/deploy/docker-compose.yaml"
    " -f serving/deploy/docker-compose.gate.yaml up -d --wait": (
        "needs Docker; tests/serving/deploy/test_deploy.py asks through the gate"
    ),
    'serving/deploy/README.md: openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj "/CN=our authority" -keyout'
    " ca.key -out ca.pem": "tests/serving/deploy/test_deploy.py runs it",
    "serving/deploy/README.md: umask 077": "tests/serving/deploy/test_deploy.py runs it",
    "serving/protos/README.md: python3.10 -m venv /tmp/protoc": (
        "installs packages; tests/serving/protos/test_protos.py compiles the same files"
    ),
}
"""Blocks by name, and why they are not run."""

NOT_RUN_LINES = {
    "make run": "trains on the real MovieLens-100K; tests/e2e/test_run.py runs the command behind it on a small world",
    "make test": "is this",
    "recommender nightly --config shop.yaml": "tests/e2e/test_nightly.py does nights",
    "recommender status --config shop.yaml": "the same asks for the state after them",
    "recommender feedback --log answers --out week": "tests/pipeline/cli/test_feedback.py runs it",
    "recommender reproduce 20261101000000": "tests/pipeline/local/test_reproduce.py asks it of versions that there are",
    "recommender forget --user 42": "tests/pipeline/local/forget/test_forget.py forgets users",
    "make setup": "has made the environment that this runs in",
    **dict.fromkeys(
        (
            "recommender run --set serving.base_path=s3://bucket/models",
            "recommender serve --base-path s3://bucket/models",
            "recommender promote 20261101000000 --label stable --base-path s3://bucket/models",
        ),
        "tests/pipeline/cli/test_promotion.py serves and promotes in a store on the loopback",
    ),
    "recommender serve": "does not end; the next server of the page does the same with a config",
    "recommender serve -- --enable_batching=true --batching_parameters_file=serving/deploy/batching.config": (
        "does not end; the server's own parser reads the flags"
    ),
    "recommender serve --host 0.0.0.0 -- --admin_host=127.0.0.1 --admin_port=8502 --admin_rest_api_port=8503"
    " --monitoring_config_file=serving/deploy/monitoring.config": (
        "does not end; the server's own parser reads the flags"
    ),
    "python -m serving.server --port=8500 --rest_api_port=8501 --model_name=movielens_100k"
    " --model_base_path=output/models/movielens_100k": "does not end; the server's own parser reads the flags",
    "recommender run --config configs/books.yaml --set export.compact=int8": _RECIPES,
    "recommender run --config mine.yaml": "tests/e2e/test_init.py runs a config that was made so, up to a model",
    "pytest tests/serving/wire": "is a part of the suite",
    "MODEL_SERVER=/usr/bin/tensorflow_model_server pytest tests/serving/wire": "needs that program",
    "SUITE=1 serving/deploy/smoke.sh": "needs Docker",
    "MODEL_SERVER_GRPC=HOST:8500 MODEL_SERVER_REST=HOST:8501 MODEL_SERVER_BASE=/srv/models pytest tests/serving/wire": (
        "needs a server to break"
    ),
}
"""Commands on pages that are run, and why they are not; make's are still looked up, and servers' flags read."""

TINY = {
    "RECOMMENDER_MODEL__DIM": "8",
    "RECOMMENDER_TRAINING__EPOCHS": "1",
    "RECOMMENDER_TUNING__TRIALS": "1",
    "RECOMMENDER_EVALUATION__BASELINES__NAMES": "[popularity]",
    "RECOMMENDER_EVALUATION__BOOTSTRAP_REPLICATES": "0",
    "RECOMMENDER_EVALUATION__THRESHOLDS": "{}",
    "RECOMMENDER_VALIDATION__NUM_REQUESTS": "1",
    "RECOMMENDER_VALIDATION__MAX_LATENCY_MS": "null",
}
"""What makes runs short without touching what is typed."""


def test_every_block_is_run_or_listed() -> None:
    elsewhere = {block.name for page in PAGES if page not in RUN for block in blocks(page, "sh")}
    assert elsewhere == set(NOT_RUN)
    lines = {command for page in RUN for block in blocks(page, "sh") for command in commands(block)}
    assert set(NOT_RUN_LINES) <= lines


def test_what_is_not_run_is_looked_up(tmp_path: Path) -> None:
    for command in NOT_RUN_LINES:
        program, *arguments = shlex.split(command)
        if program == "make":
            subprocess.run(["make", "-n", *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        elif "serve" in command.split() and "--" in arguments:
            given = [*arguments[arguments.index("--") + 1 :], "--model_base_path=x"]
            flags = server_flags.parse(given)
            assert flags.enable_batching or flags.admin_port == 8502
        elif "serving.server" in arguments:
            assert server_flags.parse(arguments[2:]).model_name == "movielens_100k"


PROGRAM = """
import os

import components.versions
import kubeflow.submit
import pipeline.local.doctor
import serving.promotion.comparison
from pipeline.cli import main

components.versions._now = lambda: int(os.environ["NOW"])  # the numbers of versions that the pages show
pipeline.local.doctor.MODULES = ("json",)
kubeflow.submit._POLL_SECONDS = 0.0
serving.promotion.comparison._NOISE_MS = 60_000.0  # the machine may be busy, and this is not about latency
main()
"""
"""The program, but for what the machine's clock, packages and load would change."""


class Shell:
    """Runs commands in a folder.

    Args:
        folder: Where, a checkout as far as the pages need one.
        environ: More of the environment.
    """

    def __init__(self, folder: Path, environ: Mapping[str, str]):
        (folder / ".venv").symlink_to(sys.prefix)
        (folder / "configs").mkdir()
        self.folder = folder
        self.single: dict[str, dict[str, str]] = {}
        """What single commands have in their environment."""
        self._ports = {"8500": free_port(), "8501": free_port()}
        self._servers: list[subprocess.Popen[str]] = []
        self._environ = {
            **environment(),
            **TINY,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "COLUMNS": "80",
            "NOW": "20261101000000",
            "RECOMMENDER_SERVING__PORT": str(self._ports["8500"]),
            "RECOMMENDER_SERVING__REST_PORT": str(self._ports["8501"]),
            **environ,
        }

    def run(self, block: Block) -> dict[str, str]:
        """Runs a block of shell or Python; returns what each command printed."""
        if block.language == "python":
            return {block.name: self._python(self._here(block.text), block)}
        return {command: self._run(command, block) for command in commands(block) if command not in NOT_RUN_LINES}

    def stop(self) -> None:
        """Stops the servers that were started."""
        for server in self._servers:
            server.send_signal(signal.SIGINT)
        for server in self._servers:
            server.wait(60)
        self._servers.clear()

    def _here(self, text: str) -> str:
        """A text with ports that are free here."""
        for port, here in self._ports.items():
            text = re.sub(rf"\b{port}\b", str(here), text)
        return text

    def _run(self, command: str, block: Block) -> str:
        if command.endswith(" &"):
            return self._serve(command[:-2], block)
        if not command.startswith("recommender "):
            return self._bash(self._here(command), block)
        words, behind = _split(command)
        printed = self._python(PROGRAM, block, *words[1:], **self.single.get(command, {}))
        return self._bash(f"cat {behind}", block, printed) if behind else printed

    def _python(self, program: str, block: Block, *arguments: str, **environ: str) -> str:
        done = forks.run([sys.executable, "-c", program, *arguments], cwd=self.folder, env={**self._environ, **environ})
        assert done.returncode == 0, f"{block}: {arguments}: exit code {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def _bash(self, command: str, block: Block, given: str = "") -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.folder,
            env=self._environ,
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{block}: {command}: {done.stderr}"
        return done.stdout

    def _serve(self, command: str, block: Block) -> str:
        """Starts a server; returns what it has said when it is ready."""
        server = forks.Popen(
            [*COMMAND, *shlex.split(command)[1:]],
            cwd=self.folder,
            env=self._environ,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._servers.append(server)
        assert server.stdout is not None
        said = ""
        for line in server.stdout:
            said += line
            if line.startswith("ready "):
                # Goes on reading, so that the server never waits for us.
                threading.Thread(target=server.stdout.read, daemon=True).start()
                return said
        raise AssertionError(f"{block}: {command}: {said}")


def _split(command: str) -> tuple[list[str], str]:
    """The words of a command, and what stands behind it, from its `|` or `>` on."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|>")
    lexer.whitespace_split = True
    words = []
    for word in lexer:
        if word in ("|", ">"):
            return words, command[command.index(f" {word} ") :]
        words.append(word)
    return words, ""


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Callable[..., Shell]]:
    """Makes a shell in a folder of its own; its servers end with the test."""
    made: list[Shell] = []

    def make(**environ: str) -> Shell:
        made.append(Shell(tmp_path, environ))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def make_events(columns: Mapping[str, str], items: Sequence[str], users: Sequence[str]) -> list[dict[str, Any]]:
    """Events by the columns of a page's config: each user walks along the items from a place of their own."""
    known = {
        "user_id": lambda place, step: users[place],
        "item_id": lambda place, step: items[(place + step) % len(items)],
        "timestamp": lambda place, step: 1_700_000_000 + 86_400 * place + 60 * step,
        "event": lambda place, step: ("view", "cart", "purchase")[step % 3],
        "device": lambda place, step: ("ios", "web")[place % 2],
    }
    return [
        {column: known[name](place, step) for name, column in columns.items()}
        for place in range(len(users))
        for step in range(8)
    ]


def write_items(path: Path, items: Sequence[str]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sku", "brand", "tags", "name", "price"])
        writer.writerows([item, "xyz"[n % 3], "old;red", f"Thing {item}", 5 + n] for n, item in enumerate(items))


@pytest.mark.slow
def test_from_the_readme_on(tmp_path: Path, shell: Callable[..., Shell], api: KfpApi) -> None:
    """README.md, and with what it has made docs/commands.md, docs/your_data.md, docs/batch.md and parts of
    docs/serving.md: one pipeline serves all, for nearly all that this costs is training."""
    typed = shell(
        RECOMMENDER_DATA__INTERACTIONS__FEATURES="{device: {type: category}}",
        RECOMMENDER_MODEL__QUERY_FEATURES="[device]",
        RECOMMENDER_MODEL__TIME_FEATURES="[hour]",
        RECOMMENDER_SERVING__FILTERS="[brand, price]",
        RECOMMENDER_SERVING__AUDIENCE="true",
        RECOMMENDER_KUBEFLOW__HOST=api.host,
        RECOMMENDER_KUBEFLOW__TRIGGER__PARTITIONS=str(tmp_path / "data" / "events-*.parquet"),
    )
    typed.single = {
        "recommender run --config shop.yaml --set model.dim=128": {"NOW": "20261108000000"},
        **{
            # Whose runs are there, while the pages have the default config.
            command: {"RECOMMENDER_NAME": "shop"}
            for command in (
                "recommender report --version 20261101000000 --out report.html",
                "recommender compare 20261101000000 20261108000000 --out compare.html",
                "recommender run --json > run.json",
            )
        },
    }
    api.progress = [{"state": "SUCCEEDED", "run_details": {"task_details": []}}]
    (config,) = (block.text for block in blocks("README.md", "yaml"))
    (tmp_path / "shop.yaml").write_text(config)
    for name in ("movielens_100k", "books", "my"):
        content = config if name == "my" else config.replace("name: shop", f"name: {name}")
        (tmp_path / "configs" / f"{name}.yaml").write_text(content)
    (tmp_path / "cluster.yaml").write_text(blocks("docs/kubeflow.md", "yaml")[0].text)
    (tmp_path / "data").mkdir()
    items = ["50", "181", "242", "302", *(f"item {number}" for number in range(30))]
    write_items(tmp_path / "data" / "items.csv", items)
    columns = {**yaml.safe_load(config)["data"]["interactions"]["columns"], "device": "device"}
    users = ["42", "196", *(f"user {number}" for number in range(40))]
    events = make_events(columns, items, users)
    for part in (0, 1):
        pq.write_table(pa.Table.from_pylist(events[part::2]), tmp_path / "data" / f"events-{part}.parquet")
    models = tmp_path / "output" / "models"

    printed: dict[str, str] = {}
    for block in [*blocks("README.md", "sh"), *blocks("README.md", "python")]:
        if "recommender serve &" in block.text:
            # What the shop has pushed is also what the default config serves, and the recipe of the books exports.
            assert {"20261101000000", "20261108000000"} <= {path.name for path in (models / "shop").iterdir()}
            for name in ("movielens_100k", "books"):
                for version in ("20261101000000", "20261108000000"):
                    shutil.copytree(models / "shop" / version, models / name / version)
        printed.update(typed.run(block))
    _check_readme(printed, tmp_path)
    assert [run["display_name"].split()[0] for run in api.runs] == ["shop", "shop"]
    assert [run["display_name"] for run in api.recurring_runs] == ["shop"]

    for block in blocks("docs/commands.md", "sh"):
        printed.update(typed.run(block))
    facts = json.loads((tmp_path / "run.json").read_text())
    cached = {node["node"] for node in facts["nodes"] if node["state"] == "cached"}
    assert cached | {"Guards"} == {*NODES} - {"Pusher"}, "the data are held against another version than before"
    assert facts["pushed"]["new"] is False
    [best] = [text for command, text in printed.items() if "json.load" in command]
    assert best.strip() in items

    [asked] = [block for block in blocks("docs/serving.md", "sh") if '"audience"' in block.text]
    [audience] = [json.loads(text)["outputs"] for text in typed.run(asked).values()]
    assert audience["known"] == [True]
    assert {*audience["user_ids"][0]} <= {*users, ""}

    # The commands are the README's, and so is the config that they are run with: it says more than this page's, which
    # is validated with a log as the page shows one.
    typed.stop()
    own, catalogue = (block.text for block in blocks("docs/your_data.md", "yaml")[:2])
    (tmp_path / "own.yaml").write_text(own + textwrap.indent(catalogue, "  "))
    [log] = (block.text for block in blocks("docs/your_data.md", "csv"))
    (tmp_path / "events.csv").write_text(log)
    shutil.copy(tmp_path / "data" / "items.csv", tmp_path)
    validated = recommender("validate", "--config", "own.yaml", cwd=tmp_path)
    assert validated.returncode == 0, validated.stderr
    for block in blocks("docs/your_data.md"):
        if block.language in ("sh", "python"):
            printed.update(typed.run(block))
    assert "(196 is known)" in printed["recommender query --user 196 --config shop.yaml"]
    assert (tmp_path / "top3.csv").read_text().splitlines()[0] == "user_id,top1,top2,top3"

    (tmp_path / "ids.txt").write_text("42\nuser 1\nnobody\n")
    (tmp_path / "items.txt").write_text("50\nno such item\n242\n")
    (tmp_path / "rows.jsonl").write_text(blocks("docs/batch.md", "json")[0].text)
    for block in blocks("docs/batch.md", "sh"):
        typed.run(block)
    with open(tmp_path / "top.csv", newline="") as file:
        answered = [row["user_id"] for row in csv.DictReader(file)]
    assert len(answered) > 30, "the last of the two commands that write it is for all users"
    assert {*answered} <= {*users}
    assert len({*answered}) == len(answered)
    with open(tmp_path / "audience.csv", newline="") as file:
        audiences = {row["item_id"]: {*filter(None, list(row.values())[1:])} for row in csv.DictReader(file)}
    assert audiences["no such item"] == set()
    assert audiences["50"] <= {*users} - {"42"}
    assert all(path.suffix == ".parquet" for path in (tmp_path / "top").iterdir())
    assert (tmp_path / "top.tfrecord").stat().st_size > 0

    for block in blocks("docs/serving.md", "sh"):
        if block.text.startswith(("recommender run", "recommender reindex")):
            printed.update(typed.run(block))
    # It is a copy of the shop's, and a servable knows its name.
    assert [path.relative_to(tmp_path) for path in tmp_path.glob("models/*/*")] == [Path("models/shop/20261108000000")]
    assert "Indexer" in printed["recommender reindex --config configs/my.yaml"]


def _check_readme(printed: Mapping[str, str], folder: Path) -> None:
    """What the commands of README.md have printed and written, each in a few words."""
    words = {
        "recommender -h": "Exit codes:",
        "recommender init 'data/events-*.parquet' --catalogue data/items.csv -o mine.yaml": "mine.yaml is written",
        "recommender validate --config shop.yaml": "✓ config shop: ",
        "recommender run --config shop.yaml": "version 20261101000000 is published",
        "recommender run --config shop.yaml --set model.dim=128": "version 20261108000000 is published",
        "recommender run --config shop.yaml --from Evaluator": "= Trainer             cached ",
        "recommender tune --config shop.yaml": "Take it with recommender run --overrides ",
        "recommender run --config shop.yaml --overrides output/shop/tuning/best.yaml": "✓ Trainer  ",
        "recommender report --version 20261101000000 --out report.html": "version 20261101000000: ",
        "recommender compare 20261101000000 20261108000000 --out compare.html": " and version 20261108000000: ",
        "recommender query --user 42": "source: user (42 is known)",
        'recommender query --history "50,181"': "source: history (served from the history given)",
        "recommender query --user 42 --explain": "because of",
        "recommender similar --item 50 -k 5": "similar to 50 x Thing 50",
        "recommender audience --item 50 -k 5": "audience of 50 x Thing 50; a score is",
        "recommender versions": "20261108000000",
        "recommender promote 20261101000000 --label stable": "✓ movielens_100k: stable is version 20261101000000",
        "recommender canary start 20261108000000 --share 0.05": "share 0.05 of the users goes to version 202611080",
        "recommender canary compare --auto": "stable is version 20261108000000, before: 20261101000000",
        'recommender rollback --why "complaints"': "stable is version 20261101000000, before: 20261108000000",
        "recommender history": "complaints",
        "recommender submit --config shop.yaml --overrides cluster.yaml --wait": "SUCCEEDED",
        "recommender trigger --config shop.yaml --overrides cluster.yaml": "new data in ",
    }
    assert {command: text for command, text in printed.items() if words.get(command, "") not in text} == {}
    assert words.keys() <= printed.keys()
    [predicted] = [json.loads(text) for command, text in printed.items() if command.startswith("curl")]
    assert len(predicted["predictions"][0]["item_ids"]) == 10
    [listed] = [text for name, text in printed.items() if name.startswith("README.md: from serving.client")]
    assert len(listed.splitlines()) == 10
    for page in ("report.html", "compare.html"):
        assert "</html>" in (folder / page).read_text(encoding="utf-8")
    assert next(yaml.safe_load_all((folder / "pipeline.yaml").read_text()))["pipelineInfo"]["name"] == "shop"


@pytest.mark.slow
def test_promotion_as_the_page_has_it(tmp_path: Path, shell: Callable[..., Shell]) -> None:
    """The commands of docs/serving.md that change what is served, with a stand-in of the server."""
    base = tmp_path / "output" / "models"
    for version in (20261025000000, 20261101000000, 20261108000000):
        publish(base, "movielens_100k", version)
    [block] = [block for block in blocks("docs/serving.md", "sh") if block.text.startswith("recommender versions")]
    config = files.parse_config(files.render(None, "movielens_100k", str(base / "movielens_100k"), {}, None))
    with FakeReplica(config) as replica:
        typed = shell(RECOMMENDER_SERVING__PORT=replica.target.rpartition(":")[2])
        (tmp_path / "configs" / "movielens_100k.yaml").symlink_to(ROOT / "configs" / "movielens_100k.yaml")
        typed.run(block)
        assert replica.labels["movielens_100k"] == {"stable": 20261101000000, "canary": 20261101000000}
    assert [(entry.action, entry.to_version) for entry in read_audit(base)] == [
        ("promote", 20261101000000),
        ("promote", 20261108000000),
        ("canary share", 20261108000000),
        ("canary stop", 20261101000000),
        ("promote", 20261108000000),
        ("rollback", 20261101000000),
        ("retire", None),
    ]
