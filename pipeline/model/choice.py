"""What the data decides of the settings: how the history is read, and how much of it."""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from components.examples.reading import read_batches, scalars
from components.progress import progress
from pipeline.model.inputs import read_vocabulary
from pipeline.model.job import Transformed
from pipeline.model.settings import ModelSettings, TrainerSettings, check_together
from pipeline.model.workers.cluster import TF_CONFIG

_EVENTS = 300_000
_PER_USER = 50
"""A transformer needs so many events in all, and so many of each user on average, to do better than pooling."""
_MOST_EVENTS = 3_000_000
"""Without a GPU a transformer takes about a minute for a million events and pass, pooling seconds."""


def resolved(inputs: Transformed, settings: TrainerSettings) -> TrainerSettings:
    """The settings with a value for all that they leave to the data.

    Args:
        inputs: What the two Transforms left.
        settings: The settings.
    """
    counts = read_vocabulary(tft.TFTransformOutput(inputs.transform_graph))[1]
    model = settings.model
    if model.history == "auto":
        history = "transformer" if _pays(inputs, settings, int(counts.sum())) else "pooling"
        model = model.model_copy(update={"history": history})
    model = model.resolved()
    return settings.model_copy(
        update={
            "model": model,
            "training": settings.training.resolved(model.history, len(counts), _has_gpu()),
            "max_history": min(settings.max_history, model.history_length or settings.max_history),
        }
    )


def _pays(inputs: Transformed, settings: TrainerSettings, num_events: int) -> bool:
    """Whether a transformer can be had and is worth its time."""
    try:
        # Not a copy, which is not checked.
        model = ModelSettings.model_validate({**settings.model.model_dump(), "history": "transformer"})
        check_together(model, settings.training, settings.max_history)
    except ValueError:
        return False
    most = num_events if _has_gpu() else _MOST_EVENTS
    if os.environ.get(TF_CONFIG) or not _EVENTS <= num_events <= most:
        return False
    users: set[int] = set()
    for batch in read_batches(inputs.examples, "train", {"user_hash": int}):
        users.update(np.unique(scalars(batch, "user_hash")).tolist())
    per_user = num_events / len(users)
    progress(f"{num_events:,} events, {per_user:.0f} for each user")
    return per_user >= _PER_USER


def _has_gpu() -> bool:
    return bool(tf.config.list_physical_devices("GPU"))
