"""The Evaluator component: is the candidate good enough to serve?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Optional

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.evaluator import executor
from components.evaluator.earlier import FairBy
from components.evaluator.settings import EvaluatorSettings


class EvaluatorSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of `Evaluator`."""

    PARAMETERS = {  # noqa: RUF012 - TFX's way
        "item_features": component_spec.ExecutionParameter(type=str),
        "settings": component_spec.ExecutionParameter(type=str),
        "fair_by": component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {  # noqa: RUF012
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "catalogue": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "champion": component_spec.ChannelParameter(type=standard_artifacts.Model, optional=True),
        "champion_queries": component_spec.ChannelParameter(type=standard_artifacts.Examples, optional=True),
    }
    OUTPUTS = {  # noqa: RUF012
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
    }


class Evaluator(base_beam_component.BaseBeamComponent):
    """Asks candidate, champion and simple baselines the same point-in-time queries and blesses the candidate or not.

    The servables are asked through their signature `recommend`, with what was known just before the event: user,
    history, and what the user had seen, which is left out. The item that followed is the one relevant item.

    Outputs:
        evaluation: TFMA's result files and `metrics.json` (`components.evaluation_report.load_report`).
        blessing: as TFX's own Evaluator writes it.
    """

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        catalogue: types.BaseChannel,
        model: types.BaseChannel,
        champion: Optional[types.BaseChannel] = None,
        champion_queries: Optional[types.BaseChannel] = None,
        item_features: Sequence[str] = (),
        settings: EvaluatorSettings = EvaluatorSettings(),  # noqa: B008 - it is frozen
        fair_by: FairBy = "",
    ):
        """Makes the node.

        Args:
            examples: interactions; split `eval` holds the queries, to `train` the baselines are fitted.
            catalogue: the items.
            model: the candidate, a servable.
            champion: the servable to compare with; an artifact without a SavedModel means that there is none.
            champion_queries: what it was judged by on the night when it was pushed, split `eval`; without files where
                that is gone.
            item_features: the features of the catalogue, of one or several categories, by which diversity is measured.
            settings: what is measured and what must be reached.
            fair_by: what tells which of the champion's queries may be asked, see `components.evaluator.earlier`; empty
                asks none.
        """
        super().__init__(
            spec=EvaluatorSpec(
                examples=examples,
                catalogue=catalogue,
                model=model,
                champion=champion,
                champion_queries=champion_queries,
                item_features=json.dumps(list(item_features)),
                settings=settings.model_dump_json(),
                fair_by=fair_by,
                evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
                blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            )
        )
