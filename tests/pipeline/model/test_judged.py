"""What a training has found out, as another one reads it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from scipy import sparse

from components.closed_forms.linear import Part
from components.errors import InputError
from pipeline.model.checkpoint import get_weights, set_weights
from pipeline.model.judged import found_out, go_on, read_judged, save_model, save_ranker
from pipeline.model.linear import Ease
from pipeline.model.ranker import NUM_FEATURES, Ranker
from pipeline.model.settings import ModelSettings, RankingSettings
from tests.pipeline.model.small_log import make_settings

EPOCHS = [{"epoch": 1, "loss": 2.0, "ndcg@10": 0.5}]


def write(run: Path, **more: object) -> str:
    judged = make_settings(learning_rate=0.5, epochs=3, loss="full").model_copy(
        update={"max_history": 2, "model": ModelSettings(dim=4, history="pooling").resolved()}
    )
    run.mkdir()
    (run / "training.json").write_text(json.dumps({"settings": found_out(judged), "epochs": EPOCHS, **more}))
    return str(run)


def test_settings_are_those_that_were_found(tmp_path: Path) -> None:
    given = make_settings({"dim": 8}, epochs=9)
    judged = read_judged(write(tmp_path / "run"), given)
    assert (judged.settings.model.dim, judged.settings.max_history) == (4, 2)
    assert (judged.settings.training.epochs, judged.settings.training.loss) == (3, "full")
    assert judged.settings.features == given.features
    assert (judged.epochs, judged.shares, judged.ease, judged.ranker) == (EPOCHS, {}, None, None)


def test_the_linear_part_without_its_weights(tmp_path: Path) -> None:
    linear = {"shares": {"slit": 0.1 + 0.2}, "ease": {"l2": 300.0, "exponent": 0.75}, "towers": {}, "together": {}}
    judged = read_judged(write(tmp_path / "run", linear=linear), make_settings())
    assert (judged.shares, judged.ease) == ({"slit": 0.1 + 0.2}, Ease(300.0, 0.75))


@pytest.mark.slow
def test_the_second_stage_comes_back_as_it_was(tmp_path: Path) -> None:
    run = write(tmp_path / "run")
    ranker = Ranker(RankingSettings())
    values = tf.constant(np.random.default_rng(1).normal(size=(2, 3, NUM_FEATURES)), tf.float32)
    ranker(values)
    ranker.set_weights([weight + 0.5 for weight in ranker.get_weights()])
    save_ranker(ranker, run)
    again = read_judged(run, make_settings()).ranker
    assert again is not None
    np.testing.assert_array_equal(again(values), ranker(values))


def _model(items: int, fill: float, width: int = 2) -> keras.Model:
    """A table of items, padding and unknown among them, a bias for each, and a direction."""
    model = keras.Model()
    for name, shape in (("table", [items + 2, width]), ("bias", [items + 2]), ("direction", [3])):
        setattr(model, name, model.add_weight(name=name, shape=shape))
    set_weights(model, [np.full(weight.shape, fill, np.float32) for weight in model.weights])
    return model


def test_rows_of_before_come_first_and_a_new_item_has_the_least_bias(tmp_path: Path) -> None:
    old = _model(2, 1.0)
    old.bias.assign([9.0, 9.0, 0.5, -0.25])
    part = Part("ease", sparse.csr_array(np.array([[0, 2], [3, 0]], np.float32)), np.ones(1, np.float32), 0.5)
    save_model(old, [part], [b"a", b"b"], str(tmp_path))
    new = _model(3, 7.0)
    [again] = go_on(new, str(tmp_path), 3)
    table, bias, direction = get_weights(new)
    assert table.tolist() == [[1, 1]] * 4 + [[7, 7]]
    assert bias.tolist() == [9, 9, 0.5, -0.25, -0.25]
    assert direction.tolist() == [1, 1, 1]
    assert again.weights.toarray().tolist() == [[0, 2, 0], [3, 0, 0], [0, 0, 0]]
    assert (again.name, again.share) == ("ease", 0.5)


@pytest.mark.parametrize("other", [{"items": 1}, {"width": 3}])
def test_another_model_is_not_gone_on_from(tmp_path: Path, other: dict[str, int]) -> None:
    save_model(_model(2, 1.0), [], [b"a", b"b"], str(tmp_path))
    with pytest.raises(InputError, match=r"the model there is another one; train anew by `recommender run --full`"):
        go_on(_model(**{"items": 3, "fill": 0.0, **other}), str(tmp_path), 3)
