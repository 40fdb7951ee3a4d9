"""One run of `recommender feedback`: answers and events are brought together by users, judged, and written down."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from components.errors import InputError
from components.interaction_gen.log import Log, inspect
from components.versions import check_writable, describe, list_versions, model_dir
from pipeline.batch.beside import work_beside
from pipeline.config import Config
from pipeline.data.paths import data_paths
from pipeline.feedback import answers, outcomes, rows
from pipeline.feedback.candidate import AskedAgain
from pipeline.feedback.examination import Examination
from pipeline.feedback.figures import Figures, Rate, Tally
from pipeline.feedback.off_policy import OffPolicy
from pipeline.feedback.parts import Parts, Pseudonym, size_of, write_events, write_lists
from pipeline.feedback.showing import page, show
from pipeline.local.evaluate import find_model
from pipeline.terminal import Outcome, Terminal
from serving.client.answer_log import pseudonym
from serving.files import write_atomically

FACTS, PAGE, ROWS = "feedback.json", "feedback.html", "training_rows.parquet"
"""What is written."""


def feedback(
    config: Config, logs: Sequence[str], out: Path, events: str | None = None, candidate: str | None = None
) -> Outcome:
    """Joins logged answers with later events, and writes figures, a page and training rows.

    Args:
        config: Says how events are read, and in `feedback` what they are to answers.
        logs: Files, globs or folders of logs of answers.
        out: The folder for what is written.
        events: The interactions, a path or a glob; by default the config's.
        candidate: A version, or the folder of a SavedModel, of which it is estimated what its lists would have brought.

    Returns:
        The exit code and the facts, which are `feedback.json` too.

    Raises:
        InputError: A log, the events or the place for the output is wrong; NothingToJoin if nothing can be joined.
    """
    started = time.monotonic()
    paths = answers.find_logs(logs)
    log = find_log(config, events)
    key = find_pseudonyms(config)
    model = None if candidate is None else find_model(config, candidate, "--candidate")
    check_writable(out)
    root = out.absolute().with_name(f".{out.absolute().name}.feedback")

    def run(console: Console) -> Outcome:
        terminal = Terminal(console)
        terminal.start("feedback")
        facts = _run(config, paths, log, key, model, out, root, terminal)
        lists, impressions = facts["figures"][0]["lists"], facts["figures"][0]["impressions"]
        summary = f"{lists:,} lists, {impressions:,} impressions; {out / PAGE}"
        terminal.end("feedback", "done", time.monotonic() - started, summary)
        return Outcome(facts=facts, show=functools.partial(show, facts))

    return work_beside(out, root, run)


def _run(
    config: Config,
    paths: Sequence[Path],
    log: Log,
    key: Pseudonym | None,
    model: Path | None,
    out: Path,
    root: Path,
    terminal: Terminal,
) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    settings = config.feedback
    parts = Parts(root, size_of(paths))
    first, last, newest = _read(config, paths, log, key, parts, counts, terminal)
    evaluation = config.evaluation
    tally = Tally(settings.slices, evaluation.bootstrap_replicates)
    from pipeline.feedback import skew  # TFDV: seconds

    sample = skew.Sample()
    not_asked: Counter[str] = Counter()
    asked = None if model is None else AskedAgain(model, not_asked)
    examination = Examination(settings, 0 if model is None else evaluation.bootstrap_replicates)
    estimate = None if asked is None else OffPolicy(asked, settings, evaluation.bootstrap_replicates, examination)
    why_no_rows = rows.why_none(log.settings)
    written = rows.Rows(root / ROWS, log.settings, log.unit, settings)
    with written.writing():
        for number, part in enumerate(parts):
            terminal.progress(f"joining part {number + 1} of {parts.count}")
            found = outcomes.outcomes(part, settings, newest, counts)
            tally.add(found)
            sample.add(found.lists)
            examination.add(found)
            ids = None if key is None else dict(zip(*(column.to_pylist() for column in part.users.columns)))
            if not why_no_rows:
                written.add(found, ids, counts)
            if asked is not None and estimate is not None:
                asked.user_ids = ids or {}
                estimate.add(found)
    figures = tally.figures(evaluation.confidence_level)
    if not figures:
        raise answers.NothingToJoin(f"there is no list to be joined{reasons(counts)}")
    facts: dict[str, Any] = {
        "name": config.name,
        "logs": len(paths),
        "first": first,
        "last": last,
        "newest_event": newest,
        "level": evaluation.confidence_level,
        "left_out": {reason: count for reason, count in counts.items() if count},
        "figures": [dataclasses.asdict(one) for one in figures],
        "rows": _of_rows(written, examination, why_no_rows),
    }
    if found_skew := _skew(config, figures, sample):
        facts["skew"] = found_skew
    if asked is not None and estimate is not None:
        about = {"model": str(model), "trained_until": asked.trained_until, "not_asked": dict(not_asked)}
        facts["candidate"] = {**about, **_plain(estimate.estimates(evaluation.confidence_level))}
    _publish(facts, root, out, bool(why_no_rows))
    return facts


def _of_rows(written: rows.Rows, examination: Examination, why_none: str) -> dict[str, Any]:
    return {
        "negatives": written.negatives,
        "positives": written.positives,
        "weighed_by": written.weigh(examination),
        "why_none": why_none,
    }


def _plain(estimates: Mapping[str, Any]) -> dict[str, Any]:
    return {name: dataclasses.asdict(value) if isinstance(value, Rate) else value for name, value in estimates.items()}


def _read(
    config: Config,
    paths: Sequence[Path],
    log: Log,
    key: Pseudonym | None,
    parts: Parts,
    counts: Counter[str],
    terminal: Terminal,
) -> tuple[int, int, int]:
    """Reads answers and events into parts; returns the times of the first and last list, and of the newest event."""
    span = write_lists(parts, answers.read_logs(paths, config.name, counts), counts)
    if span.first is None or span.last is None:
        raise answers.NothingToJoin(
            f"{', '.join(map(str, paths[:3]))}: no list of {config.name} to a known user{reasons(counts)}"
        )
    terminal.progress("the answers are read; reading events")
    clock = round(config.feedback.clock_seconds * 1e6)
    newest = write_events(parts, log, config.feedback, span.first - clock, key).last
    if newest is None or newest + clock < span.first:
        raise answers.NothingToJoin(
            f"{log.files[0].path}: no event is later than the first answer: give later ones by --events"
        )
    return span.first, span.last, newest


def _skew(config: Config, figures: Sequence[Figures], sample: Any) -> dict[str, Any] | None:
    """How what was logged differs from what a version was trained on; None where that can't be told."""
    from pipeline.feedback import skew

    versions = model_dir(config.serving.base_path, config.name)
    answered = [versions / one.value for one in figures if one.dimension == "version"]  # the greatest first
    there = skew.find_profile([*answered, *(one.path for one in reversed(list_versions(versions)))])
    if there is None or sample.lists is None:
        return None
    version, trained = there
    taken = [feature["name"] for feature in describe(version).get("context", ())]
    found = skew.skews(sample.lists, trained, taken, config.guards)
    return {"version": version.name, "features": [dataclasses.asdict(one) for one in found]}


def _publish(facts: dict[str, Any], root: Path, out: Path, without_rows: bool) -> None:
    """Puts what was made in its place, each file whole."""
    out.mkdir(parents=True, exist_ok=True)
    if without_rows:
        (out / ROWS).unlink(missing_ok=True)  # those of another time would seem to be of this one
    else:
        os.replace(root / ROWS, out / ROWS)
    write_atomically(out / PAGE, page(facts))
    write_atomically(out / FACTS, json.dumps(facts, indent=2))


def find_log(config: Config, events: str | None) -> Log:
    """Finds what is read of the interactions: without users' features, and without a cut, for nothing is split."""
    settings = config.data.interactions.settings()
    split = settings.split.model_copy(update={"method": "time", "eval_path": None})
    data = data_paths(config)
    settings = settings.model_copy(update={"users": None, "split": split})
    log = inspect(settings, data.interactions if events is None else os.path.expanduser(events), "", "")
    if events is None and data.evaluation:
        later = inspect(settings, data.evaluation, "", "")
        log = dataclasses.replace(log, files=(*log.files, *later.files))
    return log


def find_pseudonyms(config: Config) -> Pseudonym | None:
    """Returns what the log of answers calls a user; None for by their ids.

    Raises:
        InputError: The key is to be in the environment and isn't.
    """
    name = config.feedback.key_env
    if name is None:
        return None
    key = os.environ.get(name)
    if not key:
        raise InputError(f"feedback.key_env: the environment has no variable {name} with the key of the pseudonyms")
    return lambda user: pseudonym(user, key)


def reasons(counts: Counter[str]) -> str:
    """Says in brackets what was left out; empty if nothing was."""
    left_out = "; ".join(f"{count:,} {reason}" for reason, count in counts.items() if count)
    return f" ({left_out})" if left_out else ""
