"""ServableValidator as a TFX component: what TFX's InfraValidator is where there is Docker."""

from __future__ import annotations

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
    }
    OUTPUTS = {  # noqa: RUF012
        "blessing": ChannelParameter(type=standard_artifacts.InfraBlessing),
    }


class ServableValidator(base_component.BaseComponent):
    """Loads the servable in the model server, asks it over gRPC and REST, and blesses it if it keeps the contract.

    Args:
        model: The servable.
        examples: The interactions that whom to ask for is drawn from.
        settings: See `ServableValidatorSettings`.
    """

    SPEC_CLASS = ServableValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self, model: types.BaseChannel, examples: types.BaseChannel, settings: ServableValidatorSettings
    ) -> None:
        super().__init__(
            ServableValidatorSpec(
                model=model,
                examples=examples,
                settings=settings.model_dump_json(),
                blessing=types.Channel(type=standard_artifacts.InfraBlessing),
            )
        )
