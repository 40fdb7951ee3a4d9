"""What came of a log: the report as it is written, what is wrong with it, and the line that is said of it."""

from collections.abc import Mapping
from typing import Any, Optional

from components.errors import InputError
from components.examples.interactions import NEGATIVE_SPLIT
from components.interaction_gen import sanity
from components.interaction_gen.log import Log
from components.interaction_gen.partition import AGED, HAD
from components.interaction_gen.sanity import as_time
from components.interaction_gen.split import Cut
from components.interaction_gen.spread import ROWS_SPREAD
from components.tables.row_report import Report, as_dict, counted, problem


def as_facts(report: Report, log: Log, cut: Optional[Cut], found: sanity.Sanity) -> dict[str, Any]:
    """Returns report.json: the counts, `cut` and `span` in microseconds, `timed`, `warnings`, and `problem`, which ends
    the run, or None.

    Args:
        report: All counts.
        log: What was read.
        cut: Where the evaluation part begins.
        found: What is known of the events as a whole.
    """
    return as_dict(report) | {
        "cut": None if cut is None else cut.time,
        "timed": log.settings.columns.timestamp is not None,
        "span": None if found.first is None else [found.first, found.last],
        "warnings": sanity.warnings(found, report, log.settings, log.excluded_types),
        "problem": problem(report, log.settings.max_rejected_fraction, "the log"),
    }


def check(report: Mapping[str, Any], log: Log) -> None:
    """Raises an InputError unless the run that `report` tells of made both splits of a usable log."""
    source = log.files[0].path if len(log.files) == 1 else f"{log.files[0].path} and {len(log.files) - 1} more files"
    if report["problem"]:
        raise InputError(report["problem"])
    if report["rows"] == 0:
        raise InputError(f"{source}: there are no rows")
    dropped = f"of {report['rows']:,} rows, dropped are {counted(report['dropped'])}"
    events = report["events"]
    if not sum(events.values()):
        raise InputError(f"{source}: no event is left; {dropped}")
    if not events["train"]:
        raise InputError(f"{source}: no training event is left ({events['eval']:,} for evaluation); {dropped}")
    if not events["eval"]:
        raise InputError(f"{source}: the evaluation split is empty: {_why_empty(log)}; {dropped}")
    if log.user_files and not report["facts"].get("events of listed users"):
        raise InputError(f"{log.user_files[0].path} lists none of the log's users: is users.id right?")


def summary(report: Mapping[str, Any]) -> str:
    """Returns one line for the terminal."""
    events = report["events"]
    had, cut = report["facts"].get(HAD), ""
    if report["cut"] is not None and report["timed"]:
        cut = f" (cut {as_time(report['cut'])} UTC)"
    rejected: dict[str, int] = {}
    for entry in report["rejected"]:
        rejected[entry["reason"]] = rejected.get(entry["reason"], 0) + entry["rows"]
    lists = report["facts"].get(ROWS_SPREAD)
    spread = f"{lists:,} rows with lists spread out into " if lists else ""
    old, negative = report["facts"].get(AGED), events.get(NEGATIVE_SPLIT)
    parts = [f"{events['train']:,} train" + (f" ({old:,} of them older than half_life)" if old else "")]
    parts += [f"{negative:,} negative"] if negative is not None else []
    parts.append(f"{events['eval']:,} eval{cut}" + (f", {had:,} of them of items that their users had" if had else ""))
    return (
        f"{spread}{report['rows']:,} rows read: {', '.join(parts)}; "
        f"dropped {counted(report['dropped'])}; rejected {counted(rejected)}"
        + "".join(f"; warning: {words}" for words in report["warnings"])
    )


def _why_empty(log: Log) -> str:
    split = log.settings.split
    if split.method == "time":
        return "the cutoff is after the last event" if log.cut else "too few events for split.eval_fraction"
    if split.method == "leave_last_n":
        return f"no user has more than split.n = {split.n} events"
    return "too few events for split.eval_fraction" if split.method == "hash" else "split.eval_path has no usable event"
