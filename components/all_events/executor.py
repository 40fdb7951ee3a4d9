"""AllEvents' executor."""

from __future__ import annotations

from typing import Any

from tfx.components.util import model_utils
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components.artifacts import NOT_SHIPPED, Artifacts, describe_examples
from components.examples.interactions import KEPT_OF, LATER_NEGATIVE_SPLIT, NEGATIVE_SPLIT, PAST_OF
from components.examples.linking import link_split
from components.examples.past import Read
from components.examples.reading import has_split

_LATER = "later-"
"""Stands before the names of the evaluation's files, so that they come last: of equal times what is read later counts
as the newer."""
_PARTS = (("train", "train", ""), ("eval", "train", _LATER), ("eval", "eval", ""))
_NEGATIVE_PARTS = (
    (NEGATIVE_SPLIT, NEGATIVE_SPLIT, ""),
    (LATER_NEGATIVE_SPLIT, NEGATIVE_SPLIT, _LATER),
    (LATER_NEGATIVE_SPLIT, LATER_NEGATIVE_SPLIT, ""),
)


class Executor(base_executor.BaseExecutor):
    """Lays the files of both splits together."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """See `components.all_events.component.AllEvents` for inputs and outputs."""
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        output = artifact_utils.get_single_instance(output_dict["all_examples"])
        if not model_utils.is_model_blessed(artifact_utils.get_single_instance(input_dict["blessing"])):
            output.split_names = artifact_utils.encode_split_names([])
            output.set_string_custom_property("summary", NOT_SHIPPED)
            return
        parts = [*_PARTS, *(_NEGATIVE_PARTS if has_split(examples, NEGATIVE_SPLIT) else ())]
        for split, as_split, prefix in parts:
            link_split(examples.uri, split, output.uri, as_split, prefix)
        for name in (*PAST_OF.values(), *KEPT_OF.values()):
            link_split(examples.uri, name, output.uri, name)
        read = Read.of(examples.uri)
        if read is not None:
            read.write(output.uri)
        output.split_names = artifact_utils.encode_split_names(
            list(dict.fromkeys(as_split for _, as_split, _ in parts))
        )
        describe_examples(output, "the events of the training and of the evaluation together")
