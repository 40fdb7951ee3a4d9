"""The AllEvents component: what the shipped model is trained on."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.all_events import executor


class AllEventsSpec(component_spec.ComponentSpec):
    """Inputs and outputs of `AllEvents`."""

    PARAMETERS: dict[str, component_spec.ExecutionParameter] = {}  # noqa: RUF012 - TFX's way
    INPUTS = {  # noqa: RUF012
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
    }
    OUTPUTS = {"all_examples": component_spec.ChannelParameter(type=standard_artifacts.Examples)}  # noqa: RUF012


class AllEvents(base_component.BaseComponent):
    """Puts the evaluation's events with those of the training, if the model that was judged by them is blessed.

    It is the gate before all that makes the shipped model: without a blessing it leaves no split, and the nodes that
    follow have nothing to do.

    Outputs:
        all_examples: the splits `train`, all events, and `eval`, the queries, which are the later ones of these;
            `negative` and `later_negative` likewise where there may be any; none without the blessing.
    """

    SPEC_CLASS = AllEventsSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, examples: types.BaseChannel, blessing: types.BaseChannel):
        """Makes the node.

        Args:
            examples: the interactions.
            blessing: the Evaluator's verdict.
        """
        super().__init__(
            spec=AllEventsSpec(
                examples=examples, blessing=blessing, all_examples=types.Channel(type=standard_artifacts.Examples)
            )
        )
