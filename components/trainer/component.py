"""TFX's Trainer with more inputs: the catalogue's transformed examples, their Transform graph, and an earlier training.

The stock component knows one set of examples and one graph; a two-tower model has two, of events and of items. The
earlier training is the one that was judged, where a model is made to be shipped.
"""

from __future__ import annotations

from typing import Optional, Union

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration import data_types
from tfx.proto import trainer_pb2
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ExecutionParameter
from tfx.utils import json_utils, proto_utils

from components.settings import Settings
from components.trainer.executor import Executor


class TrainerSpec(standard_component_specs.TrainerSpec):
    """The stock specification, the catalogue, another training, and the number of epochs."""

    PARAMETERS = {  # noqa: RUF012 (the form that TFX reads)
        **standard_component_specs.TrainerSpec.PARAMETERS,
        "epochs": ExecutionParameter(type=int, optional=True),
    }
    INPUTS = {  # noqa: RUF012 (the form that TFX reads)
        **standard_component_specs.TrainerSpec.INPUTS,
        "catalogue": ChannelParameter(type=standard_artifacts.Examples),
        "catalogue_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
        "judged": ChannelParameter(type=standard_artifacts.ModelRun, optional=True),
        "before": ChannelParameter(type=standard_artifacts.ModelRun, optional=True),
    }


class Trainer(base_component.BaseComponent):
    """Trains the towers.

    Args:
        run_fn: Import path of the training function, `module.function`.
        examples: Transformed events.
        transform_graph: Their graph.
        catalogue: Transformed items.
        catalogue_graph: Their graph.
        settings: Reach `run_fn` as JSON, as `fn_args.custom_config`.
        epochs: Most passes over the events, where that is known at run time only: instead of `training.epochs` of the
            settings.
        judged: The run of a training whose model was judged, to learn by what that found out, on more events and
            without validation; where these are none, as the model is not blessed, there is no training. By default the
            training finds out for itself.
        before: The run of a training to go on from, whose vocabularies are the beginning of these; with few passes, and
            where there is none that was `judged` by what that one had found out.
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
        settings: Settings,
        epochs: Optional[Union[int, data_types.RuntimeParameter]] = None,
        judged: Optional[types.BaseChannel] = None,
        before: Optional[types.BaseChannel] = None,
    ) -> None:
        super().__init__(
            TrainerSpec(
                run_fn=run_fn,
                examples=examples,
                transform_graph=transform_graph,
                catalogue=catalogue,
                catalogue_graph=catalogue_graph,
                judged=judged,
                before=before,
                # Steps follow from epochs and batch size, and validation events are cut from `train`; the stock
                # executor wants these all the same.
                train_args=proto_utils.proto_to_json(trainer_pb2.TrainArgs(splits=["train"])),
                eval_args=proto_utils.proto_to_json(trainer_pb2.EvalArgs(splits=["train"])),
                custom_config=json_utils.dumps(settings.model_dump(mode="json")),
                epochs=epochs,
                model=types.Channel(type=standard_artifacts.Model),
                model_run=types.Channel(type=standard_artifacts.ModelRun),
            )
        )
