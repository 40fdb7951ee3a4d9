"""The Indexer as a TFX component, apart from the Trainer so that a changed catalogue is indexed without training."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.indexer.executor import Executor
from components.indexer.settings import IndexerSettings


class IndexerSpec(ComponentSpec):
    """Inputs, outputs and properties of the Indexer."""

    PARAMETERS = {  # noqa: RUF012 (the form that TFX reads)
        "model_name": ExecutionParameter(type=str),
        "settings": ExecutionParameter(type=str),
        "filter_types": ExecutionParameter(type=str),
        "trained_catalogue": ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {  # noqa: RUF012
        "towers": ChannelParameter(type=standard_artifacts.Model),
        "catalogue": ChannelParameter(type=standard_artifacts.Examples),
        "interactions": ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {  # noqa: RUF012
        "model": ChannelParameter(type=standard_artifacts.Model),
    }


class Indexer(base_component.BaseComponent):
    """Makes the servable.

    Args:
        towers: The Trainer's model. Where there is none, or no events, for nothing is to be shipped, there is no
            servable either.
        catalogue: The items to answer with.
        interactions: The events; `train` gives popularity and stored histories.
        model_name: The name under which it will be served, for the warm-up requests.
        settings: See `IndexerSettings`.
        filter_types: Types of the features that the settings' `filters` name.
        trained_catalogue: URI of the Examples of the catalogue that the towers were trained with, where that is
            another: what it lists and `catalogue` doesn't is left out. Empty: the same.
    """

    SPEC_CLASS = IndexerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        towers: types.BaseChannel,
        catalogue: types.BaseChannel,
        interactions: types.BaseChannel,
        model_name: str,
        settings: IndexerSettings,
        filter_types: Mapping[str, str],
        trained_catalogue: str = "",
    ) -> None:
        super().__init__(
            IndexerSpec(
                towers=towers,
                catalogue=catalogue,
                interactions=interactions,
                model_name=model_name,
                settings=settings.model_dump_json(),
                filter_types=json.dumps(filter_types),
                trained_catalogue=trained_catalogue or None,
                model=types.Channel(type=standard_artifacts.Model),
            )
        )
