"""ServableValidator as a TFX component: what TFX's InfraValidator is where there is Docker."""

from __future__ import annotations

from typing import Optional

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.servable_validator.executor import Executor
from components.servable_validator.settings import ServableValidatorSettings


class ServableValidatorSpec(ComponentSpec):
    """Inputs, outputs and properties of the ServableValidator."""

    PARAMETERS = {  # noqa: RUF012 (the form that TFX reads)
        "settings": ExecutionParameter(type=str),
    }
    INPUTS = {  # noqa: RUF012
        "model": ChannelParameter(type=standard_artifacts.Model),
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "judged": ChannelParameter(type=standard_artifacts.Model, optional=True),
        "judged_examples": ChannelParameter(type=standard_artifacts.Examples, optional=True),
    }
    OUTPUTS = {  # noqa: RUF012
        "blessing": ChannelParameter(type=standard_artifacts.InfraBlessing),
    }


class ServableValidator(base_component.BaseComponent):
    """Loads the servable in the model server, asks it over gRPC and REST, and blesses it if it keeps the contract.

    Args:
        model: The servable that is to be pushed.
        examples: The interactions that whom to ask for is drawn from, whose training events the servable knows.
        settings: See `ServableValidatorSettings`.
        judged: The servable that was judged, where that is another: both must be alike. Where there is nothing to be
            pushed, as this one is not blessed, it is this one that is asked.
        judged_examples: Likewise of this one.
    """

    SPEC_CLASS = ServableValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel,
        settings: ServableValidatorSettings,
        judged: Optional[types.BaseChannel] = None,
        judged_examples: Optional[types.BaseChannel] = None,
    ) -> None:
        super().__init__(
            ServableValidatorSpec(
                model=model,
                examples=examples,
                judged=judged,
                judged_examples=judged_examples,
                settings=settings.model_dump_json(),
                blessing=types.Channel(type=standard_artifacts.InfraBlessing),
            )
        )
