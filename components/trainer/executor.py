"""The Trainer's executor: what TFX's hands to `run_fn`, and the second table."""

from __future__ import annotations

import json
import os
from typing import Any

from tfx.components.trainer import fn_args_utils
from tfx.components.trainer.executor import GenericExecutor
from tfx.types import artifact_utils, standard_component_specs

from components.artifacts import NOT_SHIPPED, Artifacts
from components.errors import InputError
from components.trainer.report import TRAINING_REPORT


class Executor(GenericExecutor):
    """Calls `run_fn` with `FnArgs` that also have `examples`, `catalogue`, `catalogue_graph`, `judged` and `before`,
    URIs all of them, the last two empty without such an input."""

    def _GetFnArgs(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> fn_args_utils.FnArgs:
        fn_args = super()._GetFnArgs(input_dict, output_dict, exec_properties)
        for name in ("examples", "catalogue", "catalogue_graph"):
            setattr(fn_args, name, artifact_utils.get_single_uri(input_dict[name]))
        for name in ("judged", "before"):
            there = input_dict.get(name)
            setattr(fn_args, name, artifact_utils.get_single_uri(there) if there else "")
        epochs = exec_properties.get("epochs")
        if epochs is not None:
            if epochs < 1:
                raise InputError(f"epochs {epochs}: at least one pass over the events is needed")
            fn_args.custom_config["training"]["epochs"] = epochs
        return fn_args

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Trains, if there are events, and notes the report's summary on the model."""
        model = artifact_utils.get_single_instance(output_dict[standard_component_specs.MODEL_KEY])
        examples = artifact_utils.get_single_instance(input_dict[standard_component_specs.EXAMPLES_KEY])
        if input_dict.get("judged") and not artifact_utils.decode_split_names(examples.split_names):
            model.set_string_custom_property("summary", NOT_SHIPPED)
            return
        super().Do(input_dict, output_dict, exec_properties)
        run = artifact_utils.get_single_uri(output_dict[standard_component_specs.MODEL_RUN_KEY])
        with open(os.path.join(run, TRAINING_REPORT), encoding="utf-8") as file:
            summary = json.load(file)["summary"]
        model.set_string_custom_property("summary", summary)
