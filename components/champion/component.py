"""The Champion component: what serves now, as an artifact."""

from __future__ import annotations

from typing import Union

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration import data_types
from tfx.types import component_spec, standard_artifacts

from components.champion import driver, executor


class ChampionSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of `Champion`."""

    PARAMETERS = {  # noqa: RUF012 - TFX's way
        "base_path": component_spec.ExecutionParameter(type=str),
        "model_name": component_spec.ExecutionParameter(type=str),
        "champion_version": component_spec.ExecutionParameter(type=str, optional=True),
        "champion_fingerprint": component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {"model": component_spec.ChannelParameter(type=standard_artifacts.Model)}  # noqa: RUF012
    OUTPUTS = {"champion": component_spec.ChannelParameter(type=standard_artifacts.Model)}  # noqa: RUF012


class Champion(base_component.BaseComponent):
    """Copies the version that serves: the one that was promoted, else the newest that is not the candidate itself.

    It looks at the serving base path instead of at past runs, as a Resolver node would: what serves counts, whoever put
    it there, and Kubeflow Pipelines, which has no resolvers, runs it too. Its cache is valid as long as the champion
    stays the same.

    Outputs:
        champion: a servable with the custom properties `version` and `fingerprint`; without files when the candidate
            is the first version.
    """

    SPEC_CLASS = ChampionSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
    DRIVER_CLASS = driver.Driver

    def __init__(self, model: types.BaseChannel, base_path: Union[str, data_types.RuntimeParameter], model_name: str):
        """Makes the node.

        Args:
            model: the candidate, a servable.
            base_path: directory, or URI in an object store, that holds `<model name>/<version>`.
            model_name: the model.
        """
        super().__init__(
            spec=ChampionSpec(
                model=model,
                base_path=base_path,
                model_name=model_name,
                champion=types.Channel(type=standard_artifacts.Model),
            )
        )
