"""The Evaluator's findings as a small JSON file, which a terminal can show without TFMA or TensorFlow."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping

from components.metrics import METRICS

CANDIDATE = "candidate"
CHAMPION = "champion"
LEAD = "lead"
"""Kind of a check: what the champion led the baselines by on its own night."""
OVERALL = "overall"
COUNT = "count"
FILE_NAME = "metrics.json"
ANSWERABLE = (
    "deduplicate: user_item drops such events; serving.exclude: nothing, or types of events, lets these items be "
    "recommended"
)
"""What mends queries that no answer can hold."""

Table = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Model to slice to metric to value. Slices are called "overall" or like "user_type=new" or "a=x, b=y"."""

Interval = tuple[float, float]
"""Where a confidence interval begins and ends."""

Intervals = Mapping[str, Mapping[str, Mapping[str, Interval]]]
"""Model to slice to metric to interval."""


@dataclasses.dataclass(frozen=True)
class Check:
    """One threshold, checked on one slice."""

    metric: str
    slice: str
    figure: float
    """The candidate's value."""
    bound: float
    """What it is held against: the threshold, the champion's value less the drop allowed, a baseline's value."""
    kind: str
    """"min", "champion", "lead" or the name of a baseline."""
    passed: bool
    interval: Interval | None = None
    """Of the figure less the bound, where the bootstrap decided."""
    own_night: bool = False
    """Whether the queries are those that the champion was judged by on the night when it was pushed."""

    def __str__(self) -> str:
        where = "" if self.slice == OVERALL else f" where {self.slice}"
        where += " on the champion's own queries" if self.own_night else ""
        return f"{label(self.metric)} {self.figure:.4f} {self._relation()}{where}"

    def _relation(self) -> str:
        if self.kind == "min":
            return f"{'reaches' if self.passed else 'is below'} {self.bound:.4f}"
        if self.kind == CHAMPION:
            right, wrong, reached = "holds", "is below", self.figure >= self.bound
            other = f"the champion's {self.bound:.4f} (less the drop allowed)"
        elif self.kind == LEAD:
            right, wrong, reached = "keeps", "is below", self.figure >= self.bound
            other = f"the lead that the champion had, {self.bound:.4f}"
        else:
            right, wrong, reached = "is above", "is not above", self.figure > self.bound
            other = f"{self.kind}'s {self.bound:.4f}"
        if self.passed and self.figure == self.bound:
            return f"equals {other}"
        if self.passed == reached:
            return f"{right if reached else wrong} {other}"
        return f"is within noise of {other}"


@dataclasses.dataclass(frozen=True)
class Lead:
    """By how much the candidate is better than another model in the headline metric, on the same queries."""

    model: str
    """The champion or the best baseline."""
    value: float
    interval: Interval
    """Of the difference; both models' replicates count the same users, so it is narrower than theirs."""


@dataclasses.dataclass(frozen=True)
class Report:
    """What the Evaluator found."""

    metrics: Table
    """Values and, as "count", queries; a slice of fewer users than `min_slice_size` has its count only. The models come
    in the order candidate, champion, baselines."""
    checks: tuple[Check, ...]
    blessed: bool
    headline: str
    """The metric that stands for all where there is room for one."""
    depths: Mapping[str, int]
    """Model to how many items it was asked for."""
    exclude: str | list[str]
    """What the candidate, and so each baseline, leaves out of an answer: see `serving.exclude`."""
    batch_size: int
    min_slice_size: int
    intervals: Intervals = dataclasses.field(default_factory=dict)
    """Confidence intervals of the ranking metrics; none without replicates."""
    confidence_level: float = 0.95
    leads: tuple[Lead, ...] = ()
    """Against the champion and the best baseline, as far as there are any; none without replicates."""
    left_out: int | None = None
    """Queries of items that no answer can hold, because their users had them; None where nobody counted."""
    own_night: str = ""
    """Whether the champion's own queries were asked, and why not; empty without a champion."""

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if not check.passed)

    @property
    def baselines(self) -> tuple[str, ...]:
        """The names of the baselines."""
        return tuple(name for name in self.metrics if name not in (CANDIDATE, CHAMPION))

    def rows(self, slice_name: str = OVERALL) -> list[tuple[str, dict[str, float]]]:
        """Returns a slice's table: metrics, each with the value of every model that has one, and the count first."""
        values = {name: slices[slice_name] for name, slices in self.metrics.items()}
        return [
            (metric, {model: of_slice[metric] for model, of_slice in values.items() if metric in of_slice})
            for metric in values[CANDIDATE]
        ]

    def slices(self) -> list[str]:
        """Returns the names of the slices, "overall" first."""
        return list(self.metrics[CANDIDATE])

    def summary(self) -> str:
        """Returns one line for the terminal: the headline metric of each model, and the verdict."""
        values = {name: slices[OVERALL][self.headline] for name, slices in self.metrics.items()}
        others = ", ".join(f"{name} {value:.3f}" for name, value in values.items() if name != CANDIDATE)
        line = f"{label(self.headline)} {values[CANDIDATE]:.3f}" + (f" ({others})" if others else "")
        line += " · blessed" if self.blessed else f" · not blessed: {'; '.join(map(str, self.failures))}"
        return line + (f" · {self.unanswerable}" if self.left_out else "")

    @property
    def unanswerable(self) -> str:
        """How many queries no answer can hold, in words; nothing where there are none."""
        if not self.left_out:
            return ""
        queries = int(self.metrics[CANDIDATE][OVERALL][COUNT])
        return (
            f"{self.left_out:,} of {queries:,} queries ({self.left_out / queries:.1%}) are of items that the user"
            " already had, which no answer can hold"
        )


def label(metric: str) -> str:
    """Returns a metric's short name for people: "hit@10", "NDCG@10", "MRR"."""
    kind, at, k = metric.partition("@")
    return (METRICS[kind].label if kind in METRICS else kind) + at + k


def difference(value: float) -> str:
    """Returns a difference of metrics with its sign: "+0.0123"; what rounds to zero has none, for it says nothing."""
    text = f"{value:+.4f}"
    return "0.0000" if text in ("+0.0000", "-0.0000") else text


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
    if "exclude_seen" in content:  # of a version before there was more to say
        content |= {"exclude": "all" if content.pop("exclude_seen") else "nothing"}
    content["checks"] = tuple(
        Check(**{**check, "interval": tuple(check["interval"]) if check.get("interval") else None})
        for check in content["checks"]
    )
    content["leads"] = tuple(Lead(**{**lead, "interval": tuple(lead["interval"])}) for lead in content["leads"])
    for slices in content["intervals"].values():
        for of_slice in slices.values():
            of_slice.update({metric: tuple(interval) for metric, interval in of_slice.items()})
    return Report(**content)
