"""InteractionGen's executor: runs the Beam pipeline, checks its report, describes the examples."""

import json
import os
from collections.abc import Mapping
from typing import Any, Optional

from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from components import suppression
from components.artifacts import Artifacts, describe_examples
from components.drivers.fingerprint import note
from components.examples.interactions import KEPT_OF, LATER_NEGATIVE_SPLIT, NEGATIVE_SPLIT, PAST_OF
from components.examples.past import Read, link_past
from components.examples.reading import has_split, split_files
from components.examples.writing import SHARD_NAME, write_shard
from components.interaction_gen.log import inspect, parse_settings
from components.interaction_gen.outcome import check, summary
from components.interaction_gen.transforms import generate
from components.progress import progress
from components.tables.reading import digests

_MICROSECONDS_A_DAY = 86_400e6


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
        keep = exec_properties.get("keep")
        read = _lay_past(input_dict, examples.uri)
        log = inspect(
            parse_settings(exec_properties["settings"]),
            exec_properties["input_path"],
            exec_properties.get("users_path") or "",
            exec_properties.get("cutoff") or "",
            json.loads(exec_properties.get("excluded_types") or "[]"),
            read=read.files,
            known=[
                (path, split == NEGATIVE_SPLIT)
                for split, past in PAST_OF.items()
                if has_split(examples, past)
                for path in split_files(examples, past)
            ],
            suppression=suppression.read(exec_properties.get("suppression") or ""),
        )
        splits = ["train", "eval", *((NEGATIVE_SPLIT, LATER_NEGATIVE_SPLIT) if log.settings.has_negatives else ())]
        examples.split_names = artifact_utils.encode_split_names(splits)
        folders = {split: artifact_utils.get_split_uri([examples], split) for split in splits}
        if keep is not None:
            folders |= {
                KEPT_OF[split]: f"{examples.uri}/Split-{KEPT_OF[split]}" for split in splits if split in KEPT_OF
            }
        megabytes = sum(file.size for file in log.files) / 1e6
        progress(f"reading {len(log.files)} file{'s' * (len(log.files) > 1)}, {megabytes:,.1f} MB")
        with self._make_beam_pipeline() as pipeline:
            generate(pipeline, log, folders, rejects.uri, self._get_tmp_dir(), keep)
        with fileio.open(os.path.join(rejects.uri, "report.json")) as source:
            report = json.loads(source.read())
        check(report, log)
        if keep is not None:
            files = {**read.files, **dict(zip((file.path for file in log.files), digests(log.files)))}
            nights = read.nights + 1 if read.files else 0
            forgotten = len(log.suppression.hashes) if log.suppression else 0
            Read(files, _since(report, log.settings.window_days), nights, forgotten).write(examples.uri)
        for folder in [folders[split] for split in splits]:
            _fill_up(folder, log.partitions, self._get_tmp_dir())
        note(exec_properties, rejects.uri, of="interactions")
        describe_examples(examples, summary(report))


def _lay_past(input_dict: Artifacts, uri: str) -> Read:
    """Lays events of before beside those that will be written, and returns what was read of them; nothing without."""
    if not input_dict.get("before"):
        return Read({})
    before = artifact_utils.get_single_uri(input_dict["before"])
    link_past(before, uri)
    read = Read.of(before)
    assert read is not None  # or nobody would go on from there
    return read


def _since(report: Mapping[str, Any], window_days: Optional[float]) -> Optional[int]:
    return None if window_days is None else int(report["span"][1] - window_days * _MICROSECONDS_A_DAY)


def _fill_up(folder: str, shards: int, temporary: str) -> None:
    """Writes the shards that no user fell into, so that the names tell the truth about their number."""
    for index in range(shards):
        path = os.path.join(folder, SHARD_NAME.format(index=index, count=shards))
        if not fileio.exists(path):
            write_shard(path, [], temporary)
