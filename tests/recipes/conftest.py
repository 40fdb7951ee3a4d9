"""A recipe's run on a small sample of its data, by the command line, up to a served model."""

from __future__ import annotations

import functools
import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.evaluation_report import CANDIDATE, OVERALL, Report, load_report
from serving.client import RecommenderClient
from serving.server.process import ServerProcess
from tests.e2e.world import Ended, recommender

ROOT = Path(__file__).parents[2]
QUICK = (
    "output=output",
    "serving.base_path=models",
    "training.refit=false",
    "evaluation.bootstrap_replicates=20",
    "validation.num_requests=5",
    "validation.max_latency_ms=null",
)


@dataclass(frozen=True)
class Recipe:
    """A folder with the recipe's data, in which it was run."""

    name: str
    folder: Path
    ended: Ended

    @property
    def config(self) -> str:
        """The recipe's own config, whose paths are relative to the folder."""
        return str(ROOT / "configs" / f"{self.name}.yaml")

    @property
    def models(self) -> Path:
        """The base path."""
        return self.folder / "models"

    @property
    def version(self) -> Path:
        """The version that was pushed."""
        [version] = (self.models / self.name).iterdir()
        return version

    @functools.cached_property
    def report(self) -> Report:
        """What the Evaluator found."""
        [evaluation] = (self.folder / "output" / self.name / "artifacts" / "Evaluator" / "evaluation").iterdir()
        return load_report(str(evaluation))

    def figures(self, model: str = CANDIDATE) -> dict[str, float]:
        """Metrics over all queries."""
        return dict(self.report.metrics[model][OVERALL])

    def ask(self, server: ServerProcess, *arguments: str) -> Ended:
        """Asks the served model by the command line."""
        options = ("--target", server.grpc_target, "--name", self.name)
        return recommender(self.folder, *arguments, *options)


def run(name: str, folder: Path, *overrides: str) -> Recipe:
    """Runs the recipe; its data must be in the folder."""
    options = [part for override in (*QUICK, *overrides) for part in ("--set", override)]
    ended = recommender(folder, "run", "--config", str(ROOT / "configs" / f"{name}.yaml"), *options, timeout=2400)
    assert ended.code == 0, ended.text
    return Recipe(name, folder, ended)


@contextmanager
def served(recipe: Recipe) -> Iterator[tuple[ServerProcess, RecommenderClient]]:
    """A model server with what was pushed, and a client of it."""
    with (
        ServerProcess(recipe.models, recipe.name) as server,
        RecommenderClient(server.grpc_target, model=recipe.name) as client,
    ):
        yield server, client


def post(server: ServerProcess, model: str, body: dict[str, Any]) -> dict[str, Any]:
    """Predicts over REST, as any HTTP client does."""
    request = urllib.request.Request(
        f"http://{server.rest_target}/v1/models/{model}:predict", json.dumps(body).encode(), method="POST"
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)
