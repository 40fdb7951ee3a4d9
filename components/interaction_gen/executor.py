"""InteractionGen's executor: runs the Beam pipeline, checks its report, describes the examples."""

import json
import os
from typing import Any

from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from components.artifacts import Artifacts, describe_examples
from components.errors import InputError
from components.examples.interactions import NEGATIVE_SPLIT
from components.examples.writing import SHARD_NAME, write_shard
from components.interaction_gen.log import Log, inspect, parse_settings
from components.interaction_gen.partition import AGED, HAD
from components.interaction_gen.sanity import as_time
from components.interaction_gen.spread import ROWS_SPREAD
from components.interaction_gen.transforms import generate
from components.progress import progress
from components.tables.row_report import counted


class Executor(base_beam_executor.BaseBeamExecutor):
    """Executes InteractionGen."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Reads the log and writes the examples.

        Raises:
            InputError: The log or the settings can't be used.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        rejects = artifact_utils.get_single_instance(output_dict["rejects"])
        log = inspect(
            parse_settings(exec_properties["settings"]),
            exec_properties["input_path"],
            exec_properties.get("users_path") or "",
            exec_properties.get("cutoff") or "",
            json.loads(exec_properties.get("excluded_types") or "[]"),
        )
        splits = ["train", "eval", *([NEGATIVE_SPLIT] if log.settings.has_negatives else [])]
        examples.split_names = artifact_utils.encode_split_names(splits)
        folders = {split: artifact_utils.get_split_uri([examples], split) for split in splits}
        megabytes = sum(file.size for file in log.files) / 1e6
        progress(f"reading {len(log.files)} file{'s' * (len(log.files) > 1)}, {megabytes:,.1f} MB")
        with self._make_beam_pipeline() as pipeline:
            generate(pipeline, log, folders, rejects.uri, self._get_tmp_dir())
        with fileio.open(os.path.join(rejects.uri, "report.json")) as source:
            report = json.loads(source.read())
        check(report, log)
        for folder in folders.values():
            _fill_up(folder, log.partitions, self._get_tmp_dir())
        describe_examples(examples, summary(report))


def check(report: dict[str, Any], log: Log) -> None:
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


def summary(report: dict[str, Any]) -> str:
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


def _fill_up(folder: str, shards: int, temporary: str) -> None:
    """Writes the shards that no user fell into, so that the names tell the truth about their number."""
    for index in range(shards):
        path = os.path.join(folder, SHARD_NAME.format(index=index, count=shards))
        if not fileio.exists(path):
            write_shard(path, [], temporary)
