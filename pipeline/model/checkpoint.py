"""Saves a training after each pass, so that a killed one goes on where it was."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from typing import Any

import numpy as np
import tf_keras as keras

from components.progress import progress
from serving.files import replacing

State = tuple[list[np.ndarray], list[np.ndarray]]
"""A model's weights and its optimizer's variables."""

_FILE = "training.npz"


class Checkpoint:
    """The last finished pass of one training, in a directory of its own.

    Weights, the optimizer's variables and the passes so far are one file, replaced by rename. A training that goes on
    from there comes to the same weights as one that was never killed, because the order and the noise of a pass are
    functions of the seed and the pass. Made anew it reads what is there. Of several workers only one `writes`; without
    a directory there is nothing to go on from and nothing is saved.
    """

    def __init__(self, directory: str | None, writes: bool = True) -> None:
        self._directory = directory or ""
        self._writes = writes and directory is not None
        self.history: list[dict[str, Any]] = []
        """The passes of the training that is validated."""
        self.refit = 0
        """Passes of the training on all events that follows."""
        self._arrays: dict[str, np.ndarray] = {}
        if directory is None:
            return
        try:
            with np.load(os.path.join(directory, _FILE)) as file:
                arrays = {name: file[name] for name in file.files}
            state = json.loads(str(arrays["state"]))
        except FileNotFoundError:
            return
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            progress(f"the checkpoint in {directory} can't be read ({error}): training from the start")
            return
        self._arrays = arrays
        self.history, self.refit = state["history"], state["refit"]
        passes = f"{self.refit} on all events" if self.refit else str(len(self.history))
        progress(f"going on after {passes} passes of a training that was stopped")

    def apply(self, model: keras.Model) -> None:
        """Puts the saved weights and the optimizer's variables into `model`, which must be built alike."""
        set_state(model, (self.others("weight"), self.others("optimizer")))

    def others(self, name: str) -> list[np.ndarray]:
        """What was saved as `name` beside weights and variables; empty if nothing was."""
        return [self._arrays[key] for key in sorted(self._arrays) if key.startswith(f"{name}_")]

    def save(
        self, model: keras.Model, history: list[dict[str, Any]], refit: int = 0, **others: list[np.ndarray]
    ) -> None:
        """Writes the state of `model`, which must be built and compiled.

        Args:
            model: After the last pass.
            history: The passes of the training that is validated.
            refit: Passes of the training on all events, if it is that one.
            others: Further arrays by name.
        """
        if not self._writes:
            return
        weights, variables = get_state(model)
        arrays = {"state": np.array(json.dumps({"history": history, "refit": refit}))}
        for name, values in {"weight": weights, "optimizer": variables, **others}.items():
            arrays |= {f"{name}_{number:04d}": value for number, value in enumerate(values)}
        os.makedirs(self._directory, exist_ok=True)
        with replacing(os.path.join(self._directory, _FILE), "wb") as file:
            np.savez(file, **arrays)

    def remove(self) -> None:
        """Removes the directory: the training is done."""
        if self._writes:
            shutil.rmtree(self._directory, ignore_errors=True)


def get_state(model: keras.Model) -> State:
    """A copy of the state of `model`, which must be built and compiled."""
    return get_weights(model), [v.numpy() for v in _optimizer_variables(model)]


def get_weights(model: keras.Model) -> list[np.ndarray]:
    """A copy of the weights of `model`, which must be built."""
    return [weight.numpy() for weight in _weights(model)]


def set_weights(model: keras.Model, weights: list[np.ndarray]) -> None:
    """Puts weights into `model`, which must be built alike."""
    for variable, value in zip(_weights(model), weights):
        variable.assign(value)


def set_state(model: keras.Model, state: State) -> None:
    """Puts a state into `model`, which must be built alike."""
    weights, variables = state
    for variable, value in zip([*_weights(model), *_optimizer_variables(model)], [*weights, *variables]):
        variable.assign(value)


def _weights(model: keras.Model) -> list[Any]:
    """The weights without the sums of metrics, which begin anew each pass and lie spread over the replicas."""
    sums = {id(variable) for metric in model.metrics for variable in metric.variables}
    return [weight for weight in model.weights if id(weight) not in sums]


def _optimizer_variables(model: keras.Model) -> list[Any]:
    model.optimizer.build(model.trainable_variables)
    return list(model.optimizer.variables)
