"""The Champion component: what serves now, as an artifact."""

from __future__ import annotations

from typing import Any, Union

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
        "goes_on": component_spec.ExecutionParameter(type=int, optional=True),
        "champion_version": component_spec.ExecutionParameter(type=str, optional=True),
        "champion_fingerprint": component_spec.ExecutionParameter(type=str, optional=True),
        "champion_examples": component_spec.ExecutionParameter(type=str, optional=True),
        "champion_judged": component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {"model": component_spec.ChannelParameter(type=standard_artifacts.Model)}  # noqa: RUF012
    OUTPUTS = {  # noqa: RUF012
        "champion": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "queries": component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }


class Champion(base_component.BaseComponent):
    """Copies the version that serves: the one that was promoted, else the newest that is not the candidate itself.

    It looks at the serving base path instead of at past runs, as a Resolver node would: what serves counts, whoever put
    it there, and Kubeflow Pipelines, which has no resolvers, runs it too. Its cache is valid as long as the champion
    stays the same.

    A version that was trained on all events has seen tonight's queries, or most of them, and would win by knowing the
    answers. So its stand-in is the model that was judged for it, by lineage in MLMD. Where that is gone, or there is no
    MLMD, as on Kubeflow Pipelines, the champion is known by what its version says of itself alone: by its lead.

    Outputs:
        champion: a servable with the custom properties `version` and `fingerprint`; without files when the candidate
            is the first version, and without a SavedModel where the champion is known by its lead alone.
        queries: the split `eval` of the Examples that it was judged by when it was pushed, to which MLMD leads; without
            files where it doesn't, as on Kubeflow Pipelines, or they are gone.
    """

    SPEC_CLASS = ChampionSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
    DRIVER_CLASS = driver.Driver

    def __init__(
        self,
        model: types.BaseChannel,
        base_path: Union[str, data_types.RuntimeParameter],
        model_name: str,
        goes_on: bool = False,
    ):
        """Makes the node.

        Args:
            model: the candidate, a servable.
            base_path: directory, or URI in an object store, that holds `<model name>/<version>`.
            model_name: the model.
            goes_on: see `components.champion.champion.find_champion`.
        """
        optional: dict[str, Any] = {"goes_on": 1} if goes_on else {}
        super().__init__(
            spec=ChampionSpec(
                model=model,
                base_path=base_path,
                model_name=model_name,
                champion=types.Channel(type=standard_artifacts.Model),
                queries=types.Channel(type=standard_artifacts.Examples),
                **optional,
            )
        )
