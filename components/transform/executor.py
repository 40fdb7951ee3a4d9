"""GrownTransform's executor."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import tensorflow_transform as tft
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components.artifacts import NOT_SHIPPED, Artifacts, describe_examples
from components.examples.interactions import AGAIN, KEPT_OF, PAST, PAST_OF
from components.examples.linking import link_split
from components.examples.past import link_past
from components.examples.reading import COLUMNS, has_split, split_files
from components.examples.writing import SHARD_NAME, write_columns, write_shard
from components.transform.growing import Growing, as_columns, count_values, drawn, grow, times, transformed

_FILE = SHARD_NAME.format(index=0, count=1)
_MICROSECONDS_A_DAY = 86_400e6


class Executor(base_executor.BaseExecutor):
    """Executes GrownTransform."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """See `components.transform.component.GrownTransform` for inputs and outputs."""
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        grown = artifact_utils.get_single_instance(output_dict["transform_graph"])
        output = artifact_utils.get_single_instance(output_dict["transformed_examples"])
        if not artifact_utils.decode_split_names(examples.split_names):
            output.split_names = artifact_utils.encode_split_names([])
            grown.set_string_custom_property("summary", NOT_SHIPPED)
            return
        growing = Growing.model_validate_json(exec_properties["growing"])
        splits = {
            split: name for split, name in json.loads(exec_properties["splits"]).items() if has_split(examples, split)
        }
        first, *_ = splits
        before = artifact_utils.get_single_uri(input_dict["graph_before"])
        grow(before, growing.vocabularies, count_values(examples.uri, first, list(growing.vocabularies)), grown.uri)
        graph = tft.TFTransformOutput(grown.uri)
        for split, name in splits.items():
            path = os.path.join(output.uri, f"Split-{name}", f"{split}-{_FILE}")
            write_shard(path, transformed(split_files(examples, split), graph), self._get_tmp_dir())
        if input_dict.get("transformed_before"):
            source = artifact_utils.get_single_uri(input_dict["transformed_before"])
            replay = exec_properties.get("replay")
            if replay is not None:
                link_past(source, output.uri)
                self._learn_again(output.uri, graph, growing, replay, exec_properties.get("window_days"))
            for split in () if replay is not None else (*PAST_OF, PAST):
                link_split(source, split, output.uri, split)
        if exec_properties.get("keep"):
            new = [file for file in split_files(output, "train") if not os.path.basename(file).startswith(AGAIN)]
            path = os.path.join(output.uri, f"Split-{KEPT_OF['train']}", _FILE.replace(".gz", COLUMNS))
            write_columns(path, as_columns(new, graph), self._get_tmp_dir())
        output.split_names = artifact_utils.encode_split_names(sorted(set(splits.values())))
        sizes = {
            names.ids: [tft.TFTransformOutput(uri).vocabulary_size_by_name(names.ids) for uri in (before, grown.uri)]
            for names in growing.vocabularies.values()
        }
        told = ", ".join(f"{name} {new:,} ({new - old:,} new)" for name, (old, new) in sizes.items())
        describe_examples(output, f"vocabularies: {told or 'as they were'}")

    def _learn_again(
        self, output: str, graph: tft.TFTransformOutput, growing: Growing, replay: float, window_days: float | None
    ) -> None:
        """Draws from the events of before so many for each new one."""
        past = split_files(output, PAST)
        new = np.concatenate([times(file, growing) for file in split_files(output, "train")])
        since = new.max() - window_days * _MICROSECONDS_A_DAY if window_days else np.iinfo(np.int64).min
        old = sum(int((times(file, growing) >= since).sum()) for file in past)
        records = drawn(past, graph, growing, replay * len(new) / max(old, 1), len(past), int(since))
        write_shard(os.path.join(output, "Split-train", AGAIN + _FILE), records, self._get_tmp_dir())
