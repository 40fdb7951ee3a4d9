"""InteractionGen's executor: runs the Beam pipeline, checks its report, describes the examples."""

import json
import os
from typing import Any

from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from components.artifacts import Artifacts, describe_examples
from components.examples.interactions import NEGATIVE_SPLIT
from components.examples.writing import SHARD_NAME, write_shard
from components.interaction_gen.log import inspect, parse_settings
from components.interaction_gen.outcome import check, summary
from components.interaction_gen.transforms import generate
from components.progress import progress


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


def _fill_up(folder: str, shards: int, temporary: str) -> None:
    """Writes the shards that no user fell into, so that the names tell the truth about their number."""
    for index in range(shards):
        path = os.path.join(folder, SHARD_NAME.format(index=index, count=shards))
        if not fileio.exists(path):
            write_shard(path, [], temporary)
