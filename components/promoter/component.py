"""The Promoter component: the last step of a run that nobody watches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Union

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration import data_types
from tfx.types import artifact, component_spec, standard_artifacts

from components.drivers.always_run import AlwaysRunDriver
from components.promoter import executor


class Promotion(artifact.Artifact):
    """What became of a promotion: custom properties `promoted` (0 or 1), `label`, `version` and `summary`."""

    TYPE_NAME = "recommender.Promotion"


class PromoterSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of `Promoter`."""

    PARAMETERS = {  # noqa: RUF012 - TFX's way
        "base_path": component_spec.ExecutionParameter(type=str),
        "model_name": component_spec.ExecutionParameter(type=str),
        "label": component_spec.ExecutionParameter(type=str),
        "approved": component_spec.ExecutionParameter(type=str),
        "replicas": component_spec.ExecutionParameter(type=str),
        "asked_at": component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {"pushed_model": component_spec.ChannelParameter(type=standard_artifacts.PushedModel)}  # noqa: RUF012
    OUTPUTS = {"promotion": component_spec.ChannelParameter(type=Promotion)}  # noqa: RUF012


class Promoter(base_component.BaseComponent):
    """Promotes the pushed version by `serving.promotion`; unless approved, it only says so.

    Like the Pusher it always runs: where a label points may change at any time.

    Outputs:
        promotion: see `Promotion`.
    """

    SPEC_CLASS = PromoterSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
    DRIVER_CLASS = AlwaysRunDriver

    def __init__(
        self,
        pushed_model: types.BaseChannel,
        base_path: Union[str, data_types.RuntimeParameter],
        model_name: str,
        label: Union[str, data_types.RuntimeParameter],
        approved: Union[str, data_types.RuntimeParameter],
        replicas: Sequence[str],
    ):
        """Makes the node.

        Args:
            pushed_model: what the Pusher did.
            base_path: directory that holds `<model name>/<version>`.
            model_name: the model.
            label: `stable` or `canary`.
            approved: `true` or `false`.
            replicas: host:port of each model server; none: only the config that they read is written.
        """
        super().__init__(
            spec=PromoterSpec(
                pushed_model=pushed_model,
                base_path=base_path,
                model_name=model_name,
                label=label,
                approved=approved,
                replicas=json.dumps(list(replicas)),
                promotion=types.Channel(type=Promotion),
            )
        )
