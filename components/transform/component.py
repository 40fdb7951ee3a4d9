"""A Transform of more events, from the one of those before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Optional

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.transform.executor import Executor
from components.transform.growing import Growing


class GrownTransformSpec(component_spec.ComponentSpec):
    """What goes in and comes out."""

    PARAMETERS = {  # noqa: RUF012 - TFX's way
        "splits": component_spec.ExecutionParameter(type=str),
        "growing": component_spec.ExecutionParameter(type=str),
        "replay": component_spec.ExecutionParameter(type=float, optional=True),
        "window_days": component_spec.ExecutionParameter(type=float, optional=True),
        "keep": component_spec.ExecutionParameter(type=int, optional=True),
    }
    INPUTS = {  # noqa: RUF012
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "graph_before": component_spec.ChannelParameter(type=standard_artifacts.TransformGraph),
        "transformed_before": component_spec.ChannelParameter(type=standard_artifacts.Examples, optional=True),
    }
    OUTPUTS = {  # noqa: RUF012
        "transform_graph": component_spec.ChannelParameter(type=standard_artifacts.TransformGraph),
        "transformed_examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }


class GrownTransform(base_component.BaseComponent):
    """Transforms what came since by the graph of before, whose vocabularies it lets grow at their ends.

    Nothing of before is read again, so it costs what is new, and rows of embeddings stay in their places. Scales and
    the vocabularies of features are those of before. From Examples without splits it makes outputs without files.

    Outputs:
        transform_graph: The graph with all values.
        transformed_examples: The events, new ones with those of before.
    """

    SPEC_CLASS = GrownTransformSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        graph_before: types.BaseChannel,
        splits: Mapping[str, str],
        growing: Growing,
        transformed_before: Optional[types.BaseChannel] = None,
        replay: Optional[float] = None,
        window_days: Optional[float] = None,
        keep: bool = False,
    ) -> None:
        """Makes the node.

        Args:
            examples: The new events.
            graph_before: The graph.
            splits: The splits of `examples` that are transformed, and what they are called afterwards; of those that
                are not there none. The first one's values are those that vocabularies grow by.
            growing: The vocabularies that grow.
            transformed_before: The events of before as the graph made them; by default there are none to go with.
            replay: So many events of before for each new one are training events once more, all of users that are drawn
                by a hash, and the others go to the split `past`. By default all of before stay training events.
            window_days: Events that are older than the newest one by more are not among those; by default all may be.
            keep: Whether the training events that are not learned again are kept as columns too, from which a later
                node draws; in `replay` of such a node they are those of before.
        """
        optional: dict[str, Any] = {"replay": replay, "window_days": window_days, "keep": int(keep) or None}
        super().__init__(
            spec=GrownTransformSpec(
                examples=examples,
                graph_before=graph_before,
                transformed_before=transformed_before,
                splits=json.dumps(dict(splits)),
                growing=growing.model_dump_json(),
                transform_graph=types.Channel(type=standard_artifacts.TransformGraph),
                transformed_examples=types.Channel(type=standard_artifacts.Examples),
                **optional,
            )
        )
