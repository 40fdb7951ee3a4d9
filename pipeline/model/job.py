"""What a training is told: its data, its settings and where to write. Free of TensorFlow, as the workers' start is."""

from __future__ import annotations

from typing import Any

from components.settings import Settings
from pipeline.model.settings import TrainerSettings


class Transformed(Settings):
    """URIs of what the two Transforms left."""

    examples: str
    """The events."""
    transform_graph: str
    """Their graph."""
    catalogue: str
    """The items."""
    catalogue_graph: str
    """Their graph."""


class Job(Settings):
    """A training; its workers get it as JSON."""

    inputs: Transformed
    settings: TrainerSettings
    model_run_dir: str
    """Where the report and TensorBoard's logs go."""
    serving_model_dir: str
    """Where the towers go."""
    judged: str = ""
    """URI of the run of a training whose model was judged, see `pipeline.model.judged`; empty where this is one whose
    model will be."""
    before: str = ""
    """URI of the run of a training to go on from; empty where this one begins anew."""

    @classmethod
    def of(cls, fn_args: Any) -> Job:
        """The training that TFX's `FnArgs`, as `components.trainer` extends them, ask for.

        Raises:
            ValidationError: `custom_config` is not what `TrainerSettings` are.
        """
        return cls(
            inputs=Transformed(
                examples=fn_args.examples,
                transform_graph=fn_args.transform_graph_path,
                catalogue=fn_args.catalogue,
                catalogue_graph=fn_args.catalogue_graph,
            ),
            settings=TrainerSettings.model_validate(fn_args.custom_config),
            model_run_dir=fn_args.model_run_dir,
            serving_model_dir=fn_args.serving_model_dir,
            judged=fn_args.judged,
            before=fn_args.before,
        )
