"""CatalogueGen's TFX component: the node of the pipeline that reads the catalogue."""

from typing import Optional, Union

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.orchestration import data_types
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components.catalogue_gen.driver import Driver
from components.catalogue_gen.executor import Executor
from components.catalogue_gen.settings import CatalogueSettings


class CatalogueGenSpec(types.ComponentSpec):
    """What goes into CatalogueGen and what comes out."""

    PARAMETERS = {  # noqa: RUF012 (TFX wants it so)
        "input_path": ExecutionParameter(type=str),
        "settings": ExecutionParameter(type=str),
        "input_fingerprint": ExecutionParameter(type=str, optional=True),
        "encoders": ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {  # noqa: RUF012
        "interactions": ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {  # noqa: RUF012
        "examples": ChannelParameter(type=standard_artifacts.Examples),
    }


class CatalogueGen(base_beam_component.BaseBeamComponent):
    """Turns a catalogue into one example an item, and adds the items that only the log knows.

    Outputs:
        examples: `Examples` with the single split "catalogue", see docs/architecture.md.
    """

    SPEC_CLASS = CatalogueGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
    DRIVER_CLASS = Driver

    def __init__(
        self,
        interactions: types.BaseChannel,
        settings: CatalogueSettings,
        input_path: Optional[Union[str, data_types.RuntimeParameter]] = None,
    ):
        """Constructs the node.

        Args:
            interactions: InteractionGen's examples.
            settings: How to read the catalogue.
            input_path: The catalogue's files, a path or a glob on any Beam file system; without it the items come from
                the log alone.
        """
        super().__init__(
            spec=CatalogueGenSpec(
                input_path=input_path or "",
                settings=settings.model_dump_json(),
                interactions=interactions,
                examples=types.Channel(type=standard_artifacts.Examples),
            )
        )
