"""The Guards component: no model is trained on data that are not like those of the last pushed version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Union

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration import data_types
from tfx.types import component_spec, standard_artifacts

from components.data_profile import DataProfile, RejectedRows
from components.guards import driver, executor
from components.guards.settings import GuardSettings


class GuardsSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of `Guards`."""

    PARAMETERS = {  # noqa: RUF012 - TFX's way
        "base_path": component_spec.ExecutionParameter(type=str),
        "model_name": component_spec.ExecutionParameter(type=str),
        "settings": component_spec.ExecutionParameter(type=str),
        "features": component_spec.ExecutionParameter(type=str),
        "accept": component_spec.ExecutionParameter(type=str),
        "last_pushed": component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {  # noqa: RUF012
        "rejects": component_spec.ChannelParameter(type=RejectedRows),
        "catalogue": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
    }
    OUTPUTS = {"profile": component_spec.ChannelParameter(type=DataProfile)}  # noqa: RUF012


class Guards(base_component.BaseComponent):
    """Stops the run where the data are too far from those that the last pushed version was made from.

    Each version carries the profile of its data, so, as Champion does, the node looks at the serving base path and not
    at past runs: it works where the metadata of those are gone or never were, and on Kubeflow Pipelines. Its cache is
    valid as long as no other version is pushed.

    Outputs:
        profile: what the data are like, for the Pusher, and the checks; the custom properties `last_pushed`, the
            version that they were held against, and where a breach was let through `accepted`, the reason, and
            `breaches`, a line each.
    """

    SPEC_CLASS = GuardsSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
    DRIVER_CLASS = driver.Driver

    def __init__(
        self,
        rejects: types.BaseChannel,
        catalogue: types.BaseChannel,
        statistics: types.BaseChannel,
        features: Mapping[str, str],
        base_path: Union[str, data_types.RuntimeParameter],
        model_name: str,
        settings: GuardSettings,
        accept: Union[str, data_types.RuntimeParameter] = "",
    ):
        """Makes the node.

        Args:
            rejects: InteractionGen's, with the log's profile.
            catalogue: the items.
            statistics: of the interactions.
            features: those of the items, and their types.
            base_path: directory, or URI in an object store, that holds `<model name>/<version>`.
            model_name: the model.
            settings: the limits.
            accept: why a breach is let through this time; empty lets none through. It is part of the cache's key, so a
                later run that does not say it is judged again.
        """
        super().__init__(
            spec=GuardsSpec(
                rejects=rejects,
                catalogue=catalogue,
                statistics=statistics,
                features=json.dumps(dict(features)),
                base_path=base_path,
                model_name=model_name,
                settings=settings.model_dump_json(),
                accept=accept,
                profile=types.Channel(type=DataProfile),
            )
        )
