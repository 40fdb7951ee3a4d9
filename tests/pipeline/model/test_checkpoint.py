"""Checkpoints of a training: what is saved is read again, and what can't be read is no checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from pipeline.model.checkpoint import Checkpoint, get_state, set_state


@pytest.fixture
def model() -> keras.Model:
    """One weight, 3, and an optimizer that has made a step; a metric has its sums in the model's weights."""
    model = keras.Sequential([keras.layers.Dense(1, use_bias=False, kernel_initializer=keras.initializers.Constant(3))])
    model.build([None, 1])
    model.compile(optimizer=keras.optimizers.Adam(0.5), loss="mse", metrics=[keras.metrics.Mean()])
    model.optimizer.apply_gradients([(tf.ones([1, 1]), model.trainable_weights[0])])
    return model


def test_a_new_checkpoint_goes_on_where_the_last_one_was(model: keras.Model, tmp_path: Path) -> None:
    weights, variables = get_state(model)
    assert weights == [pytest.approx(np.array([[2.5]]), rel=1e-5)]
    history = [{"epoch": 1, "loss": 0.5}]
    Checkpoint(str(tmp_path)).save(model, history, refit=2, average=[np.array([7.0]), np.array([8.0])])
    set_state(model, ([np.zeros([1, 1])], [np.zeros_like(variable) for variable in variables]))
    again = Checkpoint(str(tmp_path))
    assert (again.history, again.refit) == (history, 2)
    assert [value.tolist() for value in again.others("average")] == [[7.0], [8.0]]
    assert again.others("best") == []
    again.apply(model)
    for one, other in zip((*weights, *variables), (*get_state(model)[0], *get_state(model)[1])):
        assert np.array_equal(one, other)
    assert [path.name for path in tmp_path.iterdir()] == ["training.npz"]
    again.remove()
    assert not tmp_path.exists()


@pytest.mark.parametrize("writes", [True, False])
def test_who_has_no_folder_or_must_not_write_saves_nothing(model: keras.Model, tmp_path: Path, writes: bool) -> None:
    checkpoint = Checkpoint(None) if writes else Checkpoint(str(tmp_path), writes=False)
    checkpoint.save(model, [{"epoch": 1}])
    checkpoint.remove()
    assert (checkpoint.history, checkpoint.refit, checkpoint.others("weight")) == ([], 0, [])
    assert tmp_path.exists()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half of it", b"\x93NUMPY"])
def test_a_checkpoint_that_is_cut_short_is_ignored(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "training.npz").write_bytes(content)
    assert Checkpoint(str(tmp_path)).history == []
