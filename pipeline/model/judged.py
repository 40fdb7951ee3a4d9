"""What a training has found out and come to, for a later one.

What is shipped must be what was judged but for the events: the same settings, also those that the data decided, the
same number of passes, the same shares of the linear part, the same second stage. And who trains on what is new alone
goes on from the weights.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from components.closed_forms.linear import Part, from_bytes, to_bytes
from components.errors import InputError
from components.trainer.report import LINEAR, RANKER, TRAINING_REPORT, WEIGHTS
from pipeline.model.checkpoint import get_weights, set_weights
from pipeline.model.linear import Ease
from pipeline.model.preprocessing import FIRST
from pipeline.model.ranker import NUM_FEATURES, Ranker
from pipeline.model.settings import TrainerSettings
from pipeline.model.towers import TwoTowerModel


@dataclass(frozen=True)
class Judged:
    """A training whose model was judged."""

    settings: TrainerSettings
    """Its own, with a value for all that they left to the data."""
    epochs: list[dict[str, float]]
    """Its passes, see `fit.Epoch`."""
    shares: Mapping[str, float]
    """What each part of the linear part counts; of one that gained nothing, and without any, none."""
    ease: Ease | None
    """For EASE; None without a linear part."""
    ranker: Ranker | None
    """The second stage, if there is one."""


def read_judged(uri: str, given: TrainerSettings) -> Judged:
    """Reads what a training left.

    Args:
        uri: Of its run.
        given: The settings of the training that is to follow it.

    Raises:
        InputError: It was one of an older version of this project.
    """
    with tf.io.gfile.GFile(os.path.join(uri, TRAINING_REPORT)) as file:
        report = json.load(file)
    if "settings" not in report:
        raise InputError(
            f"{uri}: the judged model was trained by an older version, which did not note what the shipped one is to "
            "be trained by; train it again by `recommender run --from Trainer`"
        )
    settings = TrainerSettings.model_validate({**given.model_dump(mode="json"), **report["settings"]})
    linear = report.get("linear")
    return Judged(
        settings,
        report["epochs"],
        linear["shares"] if linear else {},
        Ease(**linear["ease"]) if linear else None,
        _read_ranker(os.path.join(uri, RANKER), settings),
    )


def found_out(settings: TrainerSettings) -> dict[str, Any]:
    """What the data may have decided of resolved settings, as JSON."""
    return settings.model_dump(mode="json", include={"model", "training", "max_history"})


def save_ranker(ranker: Ranker, model_run_dir: str) -> None:
    """Writes the second stage's weights beside the report."""
    arrays = io.BytesIO()  # for NumPy wants to seek in what it writes
    np.savez(arrays, *ranker.get_weights())
    with tf.io.gfile.GFile(os.path.join(model_run_dir, RANKER), "wb") as file:
        file.write(arrays.getvalue())


def save_model(model: TwoTowerModel, linear: Sequence[Part], items: Sequence[bytes], model_run_dir: str) -> None:
    """Writes a model's weights and the linear part, on items [N] of the vocabulary, beside the report."""
    arrays = io.BytesIO()
    np.savez(arrays, *get_weights(model))
    for name, content in ((WEIGHTS, arrays.getvalue()), (LINEAR, to_bytes(linear, items))):
        with tf.io.gfile.GFile(os.path.join(model_run_dir, name), "wb") as file:
            file.write(content)


def go_on(model: TwoTowerModel, uri: str, num_items: int) -> tuple[Part, ...]:
    """Gives a new model the weights of an earlier one, whose vocabularies are the beginning of its own.

    Rows of what is new stay as they are, but for the bias, which becomes the least one, as that of an item without
    events is.

    Args:
        model: Built.
        uri: Of the earlier training's run.
        num_items: N, the items of the new vocabulary.

    Returns:
        The linear part of the earlier model, in which new items have no weights.

    Raises:
        InputError: The earlier training kept no weights, or its model is another one.
    """
    if not tf.io.gfile.exists(os.path.join(uri, WEIGHTS)):
        raise InputError(f"{uri}: no weights were kept to go on from; train anew by `recommender run --full`")
    with tf.io.gfile.GFile(os.path.join(uri, WEIGHTS), "rb") as file, np.load(io.BytesIO(file.read())) as arrays:
        before = [arrays[f"arr_{number}"] for number in range(len(arrays.files))]
    weights = get_weights(model)
    fit = len(before) == len(weights) and all(
        old.shape[1:] == new.shape[1:] and len(old.shape) == len(new.shape) and old.shape[:1] <= new.shape[:1]
        for old, new in zip(before, weights)
    )
    if not fit:
        raise InputError(f"{uri}: the model there is another one; train anew by `recommender run --full`")
    set_weights(model, [_grown(old, new) for old, new in zip(before, weights)])
    with tf.io.gfile.GFile(os.path.join(uri, LINEAR), "rb") as file:
        parts, _ = from_bytes(file.read())
    for part in parts:
        part.weights.resize((num_items, num_items))
    return parts


def _grown(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The old rows, and after them the new ones, or of biases the least."""
    if old.shape == new.shape:
        return old
    more = new[len(old) :] if new.ndim > 1 else np.full(len(new) - len(old), old[FIRST:].min(initial=0), new.dtype)
    return np.concatenate([old, more])


def _read_ranker(path: str, settings: TrainerSettings) -> Ranker | None:
    if not tf.io.gfile.exists(path):
        return None
    ranker = Ranker(settings.model.ranking)
    ranker(tf.zeros([1, 1, NUM_FEATURES]))
    with tf.io.gfile.GFile(path, "rb") as file, np.load(io.BytesIO(file.read())) as arrays:
        ranker.set_weights([arrays[f"arr_{number}"] for number in range(len(arrays.files))])
    return ranker
