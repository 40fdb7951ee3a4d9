"""The Pusher component: a blessed model becomes the newest version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Optional, Union

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration import data_types
from tfx.types import component_spec, standard_artifacts

from components.data_profile import DataProfile
from components.drivers.always_run import AlwaysRunDriver
from components.pusher import executor


class PusherSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of `Pusher`."""

    PARAMETERS = {  # noqa: RUF012 - TFX's way
        "base_path": component_spec.ExecutionParameter(type=str),
        "model_name": component_spec.ExecutionParameter(type=str),
        "origin": component_spec.ExecutionParameter(type=str),
        "record": component_spec.ExecutionParameter(type=str, optional=True),
        "retain": component_spec.ExecutionParameter(type=int, optional=True),
        "asked_at": component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {  # noqa: RUF012
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        "infra_blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing),
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "champion": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "profile": component_spec.ChannelParameter(type=DataProfile),
        "judged": component_spec.ChannelParameter(type=standard_artifacts.Model, optional=True),
    }
    OUTPUTS = {"pushed_model": component_spec.ChannelParameter(type=standard_artifacts.PushedModel)}  # noqa: RUF012


class Pusher(base_component.BaseComponent):
    """Publishes the servable as `<base path>/<model name>/<version>`, by rename, if both blessings are there.

    TFX's own Pusher copies into place, so that a server may see half a model, and pushes the same model again and
    again. This one pushes nothing when the newest version already gives the same answers. It always runs, also where
    nothing else changed, because the base path may have. The version says itself how good it is and where it comes
    from: see `components.versions.release` and, where the exec property `record` is set, which takes the code of all
    nodes, `components.pusher.origin`.

    Outputs:
        pushed_model: custom properties `pushed` (0 or 1), `version` (that serves this model, also when it was there
            before), `reason` (a sentence), `pushed_destination` (the version's directory).
    """

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
    DRIVER_CLASS = AlwaysRunDriver

    def __init__(
        self,
        model: types.BaseChannel,
        model_blessing: types.BaseChannel,
        infra_blessing: types.BaseChannel,
        evaluation: types.BaseChannel,
        champion: types.BaseChannel,
        examples: types.BaseChannel,
        profile: types.BaseChannel,
        base_path: Union[str, data_types.RuntimeParameter],
        model_name: str,
        origin: Mapping[str, Any],
        retain: Optional[int] = None,
        judged: Optional[types.BaseChannel] = None,
    ):
        """Makes the node.

        Args:
            model: what is published, a servable: the candidate, or what was trained on all events for it; without files
                where there is none, as the candidate is not blessed.
            model_blessing: the Evaluator's verdict.
            infra_blessing: the ServableValidator's verdict.
            evaluation: the Evaluator's figures.
            champion: what the candidate was held against.
            examples: the interactions.
            profile: what the data are like, which the version carries for Guards of the next run.
            base_path: directory that holds `<model name>/<version>`, made if missing, or a URI of an object store.
            model_name: the model.
            origin: what else the version's lineage is to say, such as the code's version.
            retain: how many versions are kept, see `serving.promotion.prune`; None keeps all.
            judged: the candidate, where that is another one: the figures are its own.
        """
        super().__init__(
            spec=PusherSpec(
                model=model,
                model_blessing=model_blessing,
                infra_blessing=infra_blessing,
                evaluation=evaluation,
                champion=champion,
                examples=examples,
                profile=profile,
                judged=judged,
                base_path=base_path,
                model_name=model_name,
                origin=json.dumps(dict(origin)),
                retain=retain,
                pushed_model=types.Channel(type=standard_artifacts.PushedModel),
            )
        )
