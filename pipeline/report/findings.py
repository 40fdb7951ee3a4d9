"""What a run found out, gathered from its metadata and from the files of its artifacts."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tfx.utils import path_utils

from components import versions
from components.data_profile import CHECKS
from components.errors import InputError
from components.evaluation_report import Report, load_report
from components.examples import reading
from components.indexer.settings import ExportSettings
from components.servable_validator.executor import REPORT_FILE
from components.trainer.report import TRAINING_REPORT
from components.versions import Version
from pipeline.model.preprocessing import ITEM_COUNTS
from pipeline.report.history import Run, text
from serving import contract
from serving.stores import AnyPath

MAX_EVENTS = 300_000
"""Events that are read for the time line and the users' activity; of a longer log these are those of some users."""

_MICROSECONDS = 1_000_000
_PERIODS = 60
_ANCESTORS = 50
_ACTIVITY = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)


@dataclasses.dataclass(frozen=True)
class Timeline:
    """Events by period."""

    period: str
    """`hour`, `day`, `week`, `month` or `year`."""
    starts: tuple[str, ...]
    """When each begins, in UTC."""
    train: tuple[int, ...]
    evaluation: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Events:
    """What a look at the events themselves shows."""

    share: float
    """Of the log's users that were looked at, from 0 to 1."""
    timeline: Timeline | None
    """None for a log without times."""
    activity: tuple[tuple[int, int], ...]
    """How many users have so many training events: the least of a group, and how many are in it."""


@dataclasses.dataclass(frozen=True)
class Ancestor:
    """A version from which the model of a run descends: what served when it was made, and so on."""

    version: str
    time: str
    code: str
    config: str
    metrics: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Findings:
    """All that a page says of a run, but for what its model answers. What the run did not get to is None or empty."""

    name: str
    """The pipeline's."""
    run: Run
    log: Mapping[str, Any] | None
    """InteractionGen's report, see `components.tables.row_report.as_dict`."""
    item_counts: np.ndarray | None
    """[N] int64, falling: training events of each item that has any."""
    item_ids: tuple[bytes, ...]
    """Of the same items."""
    events: Events | None
    training: Mapping[str, Any] | None
    """The Trainer's `training.json`."""
    servable: Path | None
    """The SavedModel."""
    champion: Path | None
    """That of the champion."""
    manifest: Mapping[str, Any]
    """What the Indexer wrote about the servable."""
    shipped: Mapping[str, Any]
    """The same of the one that was trained on all events, if there is one; empty where the judged model is shipped."""
    report: Report | None
    """The Evaluator's."""
    guards: Mapping[str, Any] | None
    """What Guards said of the data: see `components.data_profile.CHECKS`."""
    validation: Mapping[str, Any] | None
    """The ServableValidator's."""
    settings: Mapping[str, Any]
    """The settings that the nodes went by, by their keys in the config; those left at their defaults may be missing."""
    origin: Mapping[str, str]
    """`config` and `code`: a digest and a version."""
    ancestors: tuple[Ancestor, ...]
    """Newest first."""

    @property
    def pushed(self) -> bool:
        """Whether this run published a version."""
        artifact = self.run.output("Pusher", "pushed_model")
        return artifact is not None and bool(artifact.custom_properties["pushed"].int_value)

    @property
    def champion_version(self) -> str:
        """The version against which the model was held; empty without one."""
        artifact = self.run.output("Champion", "champion")
        return "" if artifact is None else text(artifact, "version")

    def uri(self, node: str, key: str) -> str | None:
        """Where an output artifact's files are; None if the run did not make it, or they are gone."""
        artifact = self.run.output(node, key)
        return artifact.uri if artifact is not None and Path(artifact.uri).is_dir() else None

    def why_missing(self, node: str) -> str:
        """Why the page has nothing of a node."""
        stopped = self.run.stopped_at
        found = self.run.nodes.get(node)
        if found is not None and found.complete:
            return f"The files of {node} are gone."
        if stopped is not None:
            if stopped.name != node:
                return f"The run ended before this, at {stopped.name}."
            reason = stopped.failure or self.run.failure
            return f"The run ended here: {reason}" if reason else "The run ended here."
        if self.run.failure:
            return f"The run ended before this: {self.run.failure}"
        return f"This run left {node} out."


def collect(name: str, run: Run, base_path: AnyPath) -> Findings:
    """Reads what a run left.

    Args:
        name: The pipeline's.
        run: The run.
        base_path: Where versions are pushed to.
    """
    report = None
    evaluation = run.output("Evaluator", "evaluation")
    if evaluation is not None and Path(evaluation.uri, "metrics.json").is_file():
        report = load_report(evaluation.uri)
    servable, shipped = _servable(run, "Indexer", "model"), _servable(run, "ShippedIndexer", "model")
    log = _read_json(run, "InteractionGen", "rejects", "report.json")
    ids, counts = _item_counts(run)
    pusher = run.nodes.get("Pusher")
    return Findings(
        name=name,
        run=run,
        log=log,
        item_counts=counts,
        item_ids=ids,
        events=_events(run, timed=bool(log and log["timed"])),
        training=_read_json(run, "Trainer", "model_run", TRAINING_REPORT),
        servable=servable,
        champion=_servable(run, "Champion", "champion"),
        manifest=versions.describe(servable) if servable else {},
        shipped=versions.describe(shipped) if shipped else {},
        report=report,
        guards=_read_json(run, "Guards", "profile", CHECKS),
        validation=_read_json(run, "ServableValidator", "blessing", REPORT_FILE),
        settings=settings_of(run),
        origin=json.loads(pusher.settings["origin"]) if pusher and "origin" in pusher.settings else {},
        ancestors=tuple(_ancestors(run, versions.model_dir(base_path, name))),
    )


def settings_of(run: Run) -> dict[str, Any]:
    """The settings that a run's nodes went by, nested as in the config."""

    def of(node: str, name: str = "settings") -> dict[str, Any]:
        found = run.nodes.get(node)
        return json.loads(found.settings[name]) if found and found.settings.get(name) else {}

    def path_of(node: str, name: str) -> dict[str, str]:
        found = run.nodes.get(node)
        value = found.settings.get(name) if found else None
        return {"path": str(value)} if value else {}

    log = of("InteractionGen")
    if log:
        log |= path_of("InteractionGen", "input_path")
        if log.get("users"):
            log["users"] |= path_of("InteractionGen", "users_path")
        cutoff = run.nodes["InteractionGen"].settings.get("cutoff")
        log |= {"cutoff": cutoff} if cutoff else {}
    trainer = of("Trainer", "custom_config")
    indexer = of("Indexer")
    data = {"interactions": log, "catalogue": of("CatalogueGen") | path_of("CatalogueGen", "input_path")}
    found = {
        "seed": trainer.get("seed"),
        "data": {name: part for name, part in data.items() if part},
        "model": trainer.get("model"),
        "training": trainer.get("training"),
        "guards": of("Guards"),
        "evaluation": of("Evaluator"),
        "validation": of("ServableValidator"),
        "serving": {name: value for name, value in indexer.items() if name not in ExportSettings.model_fields},
        "export": {name: value for name, value in indexer.items() if name in ExportSettings.model_fields},
    }
    return {name: value for name, value in found.items() if value not in (None, {})}


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields nested settings as dotted keys and values as text.

    Example:
        >>> list(flat({"model": {"dim": 64, "layers": []}}))
        [('model.dim', '64'), ('model.layers', '[]')]
    """
    for name, value in settings.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{key}.")
        else:
            yield key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def timeline(train: np.ndarray, evaluation: np.ndarray) -> Timeline | None:
    """Counts events by the shortest period of which there are not too many to be seen.

    Args:
        train: [N] int64, microseconds since the epoch.
        evaluation: [M] int64, likewise.

    Returns:
        The counts; None without events.
    """
    every = np.concatenate([train, evaluation])
    if not every.size:
        return None
    for name, unit in (("hour", "h"), ("day", "D"), ("week", ""), ("month", "M"), ("year", "Y")):
        period = name
        first, last = _number_of(every.min(), unit), _number_of(every.max(), unit)
        if last - first < _PERIODS:
            break
    size = int(last - first) + 1
    train_counts, evaluation_counts = (
        np.bincount((_number_of(times, unit) - first).astype(np.int64), minlength=size) for times in (train, evaluation)
    )
    return Timeline(
        period,
        tuple(_start_of(int(first) + number, unit) for number in range(size)),
        tuple(train_counts.tolist()),
        tuple(evaluation_counts.tolist()),
    )


def activity(events_of_users: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Counts users by how many events they have: at least 1, 2, 5, 10 and so on, but fewer than the next group's.

    Args:
        events_of_users: [U] int, all above 0.

    Example:
        >>> activity(np.array([1, 3, 4, 12]))
        ((1, 1), (2, 2), (5, 0), (10, 1))
    """
    edges = np.array([*_ACTIVITY, np.iinfo(np.int64).max])
    counts = np.histogram(events_of_users, edges)[0]
    last = int(np.flatnonzero(counts).max(initial=0))
    return tuple(zip(_ACTIVITY, counts[: last + 1].tolist()))


def _number_of(times: Any, unit: str) -> Any:
    """Which period since the epoch times are in; weeks begin on Mondays."""
    moments = np.asarray(times).astype("datetime64[us]")
    if unit:
        return moments.astype(f"datetime64[{unit}]").astype(np.int64)
    return (moments.astype("datetime64[D]").astype(np.int64) + 3) // 7  # the epoch was a Thursday


def _start_of(number: int, unit: str) -> str:
    moment = np.datetime64(number, unit) if unit else np.datetime64(number * 7 - 3, "D")
    return str(moment).replace("T", " ") + ("h" if unit == "h" else "")


def _read_json(run: Run, node: str, key: str, name: str) -> dict[str, Any] | None:
    artifact = run.output(node, key)
    try:
        return None if artifact is None else json.loads(Path(artifact.uri, name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def _servable(run: Run, node: str, key: str) -> Path | None:
    artifact = run.output(node, key)
    path = None if artifact is None else Path(path_utils.serving_model_path(artifact.uri))
    return path if path is not None and (path / contract.SAVED_MODEL).is_file() else None


def _item_counts(run: Run) -> tuple[tuple[bytes, ...], np.ndarray | None]:
    """Items of the training events and their counts, most first, as Transform counted them."""
    graph = run.output("Transform", "transform_graph")
    if graph is None or not Path(graph.uri).is_dir():
        return (), None
    import tensorflow_transform as tft

    lines = [line.split(b" ", 1) for line in tft.TFTransformOutput(graph.uri).vocabulary_by_name(ITEM_COUNTS)]
    return tuple(item for _, item in lines), np.array([int(count) for count, _ in lines], np.int64)


def _events(run: Run, timed: bool) -> Events | None:
    """Looks at the events of as many shards as are needed; a shard has all events of its users."""
    artifact = run.output("InteractionGen", "examples")
    if artifact is None:
        return None
    features: reading.Features = {"user_id": bytes, "timestamp": int}
    times: dict[str, list[np.ndarray]] = {"train": [], "eval": []}
    per_user: list[np.ndarray] = []
    count = read = 0
    try:
        shards = list(zip(*(reading.split_files(artifact, split) for split in times)))
        for files in shards:
            if count >= MAX_EVENTS:
                break
            read += 1
            for (split, of_split), file in zip(times.items(), files):
                batches = list(reading.read_file(file, features))
                of_split += [reading.scalars(batch, "timestamp") for batch in batches]
                count += sum(batch.num_rows for batch in batches)
                if split == "train" and batches:
                    users = np.concatenate([reading.scalars(batch, "user_id") for batch in batches])
                    per_user.append(np.unique(users, return_counts=True)[1])
    except InputError:  # the files are gone
        return None
    train, evaluation = (np.concatenate([np.zeros(0, np.int64), *found]) for found in times.values())
    return Events(
        share=read / len(shards) if shards else 1.0,
        timeline=timeline(train, evaluation) if timed else None,
        activity=activity(np.concatenate([np.zeros(0, np.int64), *per_user])),
    )


def _ancestors(run: Run, directory: AnyPath) -> Iterator[Ancestor]:
    """Follows the parents that versions name, as far as they are still there."""
    there = {str(version.number): version for version in versions.list_versions(directory)}
    champion = run.output("Champion", "champion")
    parent = "" if champion is None else text(champion, "version")
    for _ in range(_ANCESTORS):
        if not parent:
            return
        release = _release(there.pop(parent, None))
        lineage = release.get("lineage", {})
        yield Ancestor(
            parent,
            _moment(release.get("time", "")),
            lineage.get("code", ""),
            lineage.get("config", ""),
            release.get("metrics", {}),
        )
        parent = lineage.get("parent", "")


def _release(version: Version | None) -> dict[str, Any]:
    return versions.release(version.path) if version else {}


def _moment(time: str) -> str:
    return f"{datetime.datetime.fromisoformat(time):%Y-%m-%d %H:%M} UTC" if time else ""
