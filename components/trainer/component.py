"""TFX's Trainer with two more inputs: the catalogue's transformed examples and their Transform graph.

The stock component knows one set of examples and one graph; a two-tower model has two, of events and of items.
"""

from __future__ import annotations

import json
import os
from typing import Any, Optional, Union

from tfx import types
from tfx.components.trainer import fn_args_utils
from tfx.components.trainer.executor import GenericExecutor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration import data_types
from tfx.proto import trainer_pb2
from tfx.types import artifact_utils, standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ExecutionParameter
from tfx.utils import json_utils, proto_utils

from components.errors import InputError

TRAINING_REPORT = "training.json"
"""What a `run_fn` leaves in `model_run_dir`: a JSON object whose `summary` the terminal shows."""


class TrainerSpec(standard_component_specs.TrainerSpec):
    """The stock specification, the catalogue, and the number of epochs."""

    PARAMETERS = {  # noqa: RUF012 (the form that TFX reads)
        **standard_component_specs.TrainerSpec.PARAMETERS,
        "epochs": ExecutionParameter(type=int, optional=True),
    }
    INPUTS = {  # noqa: RUF012 (the form that TFX reads)
        **standard_component_specs.TrainerSpec.INPUTS,
        "catalogue": ChannelParameter(type=standard_artifacts.Examples),
        "catalogue_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
    }


class Executor(GenericExecutor):
    """Calls `run_fn` with `FnArgs` that also have `examples`, `catalogue` and `catalogue_graph`, URIs all three."""

    def _GetFnArgs(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> fn_args_utils.FnArgs:
        fn_args = super()._GetFnArgs(input_dict, output_dict, exec_properties)
        for name in ("examples", "catalogue", "catalogue_graph"):
            setattr(fn_args, name, artifact_utils.get_single_uri(input_dict[name]))
        epochs = exec_properties.get("epochs")
        if epochs is not None:
            if epochs < 1:
                raise InputError(f"epochs {epochs}: at least one pass over the events is needed")
            fn_args.custom_config["epochs"] = epochs
        return fn_args

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Trains, and notes the report's summary on the model."""
        super().Do(input_dict, output_dict, exec_properties)
        run = artifact_utils.get_single_uri(output_dict[standard_component_specs.MODEL_RUN_KEY])
        with open(os.path.join(run, TRAINING_REPORT), encoding="utf-8") as file:
            summary = json.load(file)["summary"]
        model = artifact_utils.get_single_instance(output_dict[standard_component_specs.MODEL_KEY])
        model.set_string_custom_property("summary", summary)


class Trainer(base_component.BaseComponent):
    """Trains the towers.

    Args:
        run_fn: Import path of the training function, `module.function`.
        examples: Transformed events.
        transform_graph: Their graph.
        catalogue: Transformed items.
        catalogue_graph: Their graph.
        custom_config: JSON-serialisable settings that reach `run_fn` as `fn_args.custom_config`.
        epochs: Most passes over the events, where that is known at run time only; then `custom_config`
            has it as `epochs`.
    """

    SPEC_CLASS = TrainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        run_fn: str,
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        catalogue: types.BaseChannel,
        catalogue_graph: types.BaseChannel,
        custom_config: dict[str, Any],
        epochs: Optional[Union[int, data_types.RuntimeParameter]] = None,
    ) -> None:
        super().__init__(
            TrainerSpec(
                run_fn=run_fn,
                examples=examples,
                transform_graph=transform_graph,
                catalogue=catalogue,
                catalogue_graph=catalogue_graph,
                # Steps follow from epochs and batch size, and validation events are cut from `train`; the stock
                # executor wants these all the same.
                train_args=proto_utils.proto_to_json(trainer_pb2.TrainArgs(splits=["train"])),
                eval_args=proto_utils.proto_to_json(trainer_pb2.EvalArgs(splits=["train"])),
                custom_config=json_utils.dumps(custom_config),
                epochs=epochs,
                model=types.Channel(type=standard_artifacts.Model),
                model_run=types.Channel(type=standard_artifacts.ModelRun),
            )
        )
