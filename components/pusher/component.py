"""The Pusher component: a blessed model becomes the newest version."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.pusher import driver, executor


class PusherSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of `Pusher`."""

    PARAMETERS = {  # noqa: RUF012 - TFX's way
        "base_path": component_spec.ExecutionParameter(type=str),
        "model_name": component_spec.ExecutionParameter(type=str),
        "asked_at": component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {  # noqa: RUF012
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        "infra_blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing),
    }
    OUTPUTS = {"pushed_model": component_spec.ChannelParameter(type=standard_artifacts.PushedModel)}  # noqa: RUF012


class Pusher(base_component.BaseComponent):
    """Publishes the servable as `<base path>/<model name>/<version>`, by rename, if both blessings are there.

    TFX's own Pusher copies into place, so that a server may see half a model, and pushes the same model again and
    again. This one pushes nothing when the newest version already gives the same answers. It always runs, also where
    nothing else changed, because the base path may have.

    Outputs:
        pushed_model: custom properties `pushed` (0 or 1), `version` (that serves this model, also when it was there
            before), `reason` (a sentence), `pushed_destination` (the version's directory).
    """

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
    DRIVER_CLASS = driver.Driver

    def __init__(
        self,
        model: types.BaseChannel,
        model_blessing: types.BaseChannel,
        infra_blessing: types.BaseChannel,
        base_path: str,
        model_name: str,
    ):
        """Makes the node.

        Args:
            model: the candidate, a servable.
            model_blessing: the Evaluator's verdict.
            infra_blessing: the ServableValidator's verdict.
            base_path: directory that holds `<model name>/<version>`; made if missing.
            model_name: the model.
        """
        super().__init__(
            spec=PusherSpec(
                model=model,
                model_blessing=model_blessing,
                infra_blessing=infra_blessing,
                base_path=base_path,
                model_name=model_name,
                pushed_model=types.Channel(type=standard_artifacts.PushedModel),
            )
        )
