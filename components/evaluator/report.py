"""The Evaluator's findings as a small JSON file, which a terminal can show without TFMA or TensorFlow."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping

CANDIDATE = "candidate"
CHAMPION = "champion"
POPULARITY = "popularity"
OVERALL = "overall"
COUNT = "count"
FILE_NAME = "metrics.json"

Table = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Model to slice to metric to value. Slices are called "overall" or like "user_type=new" or "a=x, b=y"."""


@dataclasses.dataclass(frozen=True)
class Check:
    """One threshold, checked on one slice."""

    metric: str
    slice: str
    figure: float
    """The candidate's value."""
    bound: float
    """What it is held against: the threshold, the champion's value less the drop allowed, popularity's value."""
    kind: str
    """"min", "champion" or "popularity"."""
    passed: bool

    def __str__(self) -> str:
        relation = {
            ("min", True): "reaches",
            ("min", False): "is below",
            (CHAMPION, True): "holds the champion's",
            (CHAMPION, False): "is below the champion's",
            (POPULARITY, True): "is above popularity's",
            (POPULARITY, False): "is not above popularity's",
        }[self.kind, self.passed]
        allowance = " (less the drop allowed)" if self.kind == CHAMPION else ""
        where = "" if self.slice == OVERALL else f" where {self.slice}"
        return f"{label(self.metric)} {self.figure:.4f} {relation} {self.bound:.4f}{allowance}{where}"


@dataclasses.dataclass(frozen=True)
class Report:
    """What the Evaluator found."""

    metrics: Table
    """Values and, as "count", queries; a slice under `min_slice_size` has its count only."""
    checks: tuple[Check, ...]
    blessed: bool
    depths: Mapping[str, int]
    """Model to how many items it was asked for."""
    exclude_seen: bool
    batch_size: int
    min_slice_size: int

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if not check.passed)

    def rows(self, slice_name: str = OVERALL) -> list[tuple[str, dict[str, float]]]:
        """Returns a slice's table: metrics, each with the value of every model that has one, and the count first.

        Models come in the order candidate, champion, popularity.
        """
        values = {
            name: self.metrics[name][slice_name] for name in (CANDIDATE, CHAMPION, POPULARITY) if name in self.metrics
        }
        return [
            (metric, {model: of_slice[metric] for model, of_slice in values.items() if metric in of_slice})
            for metric in values[CANDIDATE]
        ]

    def slices(self) -> list[str]:
        """Returns the names of the slices, "overall" first."""
        return list(self.metrics[CANDIDATE])

    def summary(self) -> str:
        """Returns one line for the terminal: the headline metric of each model, and the verdict."""
        overall = {name: slices[OVERALL] for name, slices in self.metrics.items()}
        metric = self._headline()
        others = ", ".join(
            f"{name} {overall[name][metric]:.3f}" for name in (POPULARITY, CHAMPION) if metric in overall.get(name, {})
        )
        line = f"{label(metric)} {overall[CANDIDATE][metric]:.3f} ({others})"
        if self.blessed:
            return f"{line} · blessed"
        return f"{line} · not blessed: {'; '.join(map(str, self.failures))}"

    def _headline(self) -> str:
        """The first metric with a threshold, else hit rate at 10, else the first there is."""
        metrics = [metric for metric in self.metrics[CANDIDATE][OVERALL] if metric != COUNT]
        wanted = [check.metric for check in self.checks] + ["hit_rate@10", *metrics]
        return next(metric for metric in wanted if metric in metrics)


def label(metric: str) -> str:
    """Returns a metric's short name for people: "hit@10", "NDCG@10", "MRR"."""
    return metric.replace("hit_rate", "hit").replace("ndcg", "NDCG").replace("mrr", "MRR")


def save_report(report: Report, uri: str) -> None:
    """Writes the report into the evaluation artifact's directory."""
    import tensorflow as tf

    with tf.io.gfile.GFile(os.path.join(uri, FILE_NAME), "w") as file:
        file.write(json.dumps(dataclasses.asdict(report), indent=2, ensure_ascii=False))


def load_report(uri: str) -> Report:
    """Reads the report from the directory of an evaluation artifact, which must be local or mounted.

    Raises:
        FileNotFoundError: there is none.
    """
    with open(os.path.join(uri, FILE_NAME), encoding="utf-8") as file:
        content = json.load(file)
    return Report(**{**content, "checks": tuple(Check(**check) for check in content["checks"])})
