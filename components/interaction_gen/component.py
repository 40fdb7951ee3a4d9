"""InteractionGen's TFX component: the node of the pipeline that reads the log of interactions."""

import json
from collections.abc import Sequence
from typing import Any, Optional, Union

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.orchestration import data_types
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components.data_profile import RejectedRows
from components.drivers.fingerprint import FingerprintDriver
from components.interaction_gen.executor import Executor
from components.interaction_gen.settings import InteractionSettings


class InteractionGenSpec(types.ComponentSpec):
    """What goes into InteractionGen and what comes out."""

    PARAMETERS = {  # noqa: RUF012 (TFX wants it so)
        "input_path": ExecutionParameter(type=str),
        "settings": ExecutionParameter(type=str),
        "users_path": ExecutionParameter(type=str),
        "cutoff": ExecutionParameter(type=str),
        "excluded_types": ExecutionParameter(type=str, optional=True),
        "keep": ExecutionParameter(type=int, optional=True),
        "suppression": ExecutionParameter(type=str, optional=True),
        "input_fingerprint": ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {"before": ChannelParameter(type=standard_artifacts.Examples, optional=True)}  # noqa: RUF012
    OUTPUTS = {  # noqa: RUF012
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "rejects": ChannelParameter(type=RejectedRows),
    }


class InteractionGen(base_beam_component.BaseBeamComponent):
    """Turns a log of interactions into point-in-time examples with the splits train and eval.

    Outputs:
        examples: `Examples`, see docs/architecture.md; where a log is read on, with the events of before beside.
        rejects: `RejectedRows`, what couldn't be used and why, and the figures of the log as a whole.
    """

    SPEC_CLASS = InteractionGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
    DRIVER_CLASS = FingerprintDriver

    def __init__(
        self,
        input_path: Union[str, data_types.RuntimeParameter],
        settings: InteractionSettings,
        users_path: Optional[Union[str, data_types.RuntimeParameter]] = None,
        cutoff: Union[str, data_types.RuntimeParameter] = "",
        excluded_types: Sequence[str] = (),
        before: Optional[types.BaseChannel] = None,
        keep: Optional[int] = None,
        suppression: str = "",
    ):
        """Constructs the node.

        Args:
            input_path: The log's files, a path or a glob on any Beam file system.
            settings: How to read, clean and split it.
            users_path: The files of `settings.users`.
            cutoff: ISO 8601 time from which on events are for evaluation; overrides the fraction of the split by time.
            excluded_types: Types of events whose items answers leave out; empty where it doesn't go by types.
            before: Examples that were made of some of the files, whose events are known: only the other files are read,
                and only of their events there are examples, with histories from all.
            keep: Keeps the events once more, with histories of at most so many items, and notes which files were read,
                so that the log can be read on; by default it can't.
            suppression: The list of users whose events are not read, see `components.suppression`; it may be missing.
        """
        optional: dict[str, Any] = {"keep": keep, "before": before}
        super().__init__(
            spec=InteractionGenSpec(
                input_path=input_path,
                settings=settings.model_dump_json(),
                users_path=users_path or "",
                cutoff=cutoff,
                excluded_types=json.dumps(list(excluded_types)),
                suppression=suppression or None,
                examples=types.Channel(type=standard_artifacts.Examples),
                rejects=types.Channel(type=RejectedRows),
                **{name: value for name, value in optional.items() if value is not None},
            )
        )
