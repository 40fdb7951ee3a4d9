"""What a training is told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.model.job import Job
from pipeline.model.settings import ModelSettings, TrainerSettings, TrainingSettings

SETTINGS = TrainerSettings(
    seed=1,
    features={"genres": "categories"},
    query_features={},
    user_features=(),
    max_history=5,
    hold_out="latest",
    model=ModelSettings(dim=8),
    training=TrainingSettings(epochs=3),
)


def fn_args(**changes: Any) -> SimpleNamespace:
    """As TFX hands them to `run_fn`."""
    return SimpleNamespace(
        examples="/events",
        transform_graph_path="/events/graph",
        catalogue="/items",
        catalogue_graph="/items/graph",
        custom_config={**SETTINGS.model_dump(mode="json"), **changes},
        model_run_dir="/run",
        serving_model_dir="/model",
        judged="/judged",
        before="/before",
    )


def test_a_job_is_what_tfx_says_and_the_same_after_json() -> None:
    job = Job.of(fn_args())
    assert job.settings == SETTINGS
    assert (job.inputs.examples, job.inputs.transform_graph) == ("/events", "/events/graph")
    assert (job.inputs.catalogue, job.inputs.catalogue_graph) == ("/items", "/items/graph")
    assert (job.model_run_dir, job.serving_model_dir) == ("/run", "/model")
    assert (job.judged, job.before) == ("/judged", "/before")
    assert Job.model_validate_json(job.model_dump_json()) == job


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hold_out": "first"}, "hold_out"),
        ({"held_out": "latest"}, "held_out"),
        ({"model": {"dimm": 8}}, "model.dimm"),
        ({"training": {"epochs": 0}}, "training.epochs"),
    ],
)
def test_settings_that_no_training_has_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Job.of(fn_args(**changes))
