"""A SavedModel is written though a thread comes between."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from components import saved_model


class Doubles(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([], tf.float32)])
    def double(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": 2 * x}


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """Errors that TensorFlow's next saves end with, after a part of the files is written."""
    errors: list[Exception] = []
    really = tf.saved_model.save

    def save(model: Any, directory: str, **options: Any) -> None:
        if errors:
            Path(directory, "half").mkdir(parents=True)
            raise errors.pop(0)
        really(model, directory, **options)

    monkeypatch.setattr(tf.saved_model, "save", save)
    return errors


def changed() -> RuntimeError:
    """As Python has it."""
    numbers = {1: 1}
    try:
        for number in numbers:
            numbers[number + 1] = 1
    except RuntimeError as error:
        return error
    raise AssertionError(numbers)


def test_it_saves_again_and_says_where_the_threads_were(
    failing: list[Exception], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failing.append(changed())
    model = Doubles()
    waits = threading.Event()
    other = threading.Thread(target=waits.wait)
    other.start()
    with caplog.at_level(logging.WARNING):
        saved_model.save(model, str(tmp_path / "model"), {"double": model.double})
    waits.set()
    other.join()
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    assert loaded.signatures["double"](tf.constant(3.0))["y"].numpy() == 6.0
    assert not (tmp_path / "model" / "half").exists()
    [record] = caplog.records
    assert record.exc_info is not None
    assert 'threading.py", line ' in record.getMessage()
    assert " in wait\n" in record.getMessage()


def test_it_saves_again_once(failing: list[Exception], tmp_path: Path) -> None:
    failing += [changed(), changed()]
    model = Doubles()
    with pytest.raises(RuntimeError, match="changed size"):
        saved_model.save(model, str(tmp_path / "model"), {"double": model.double})
    assert failing == []


@pytest.mark.parametrize("error", [RuntimeError("of another kind"), ValueError("changed size during iteration")])
def test_other_errors_are_not_tried_again(failing: list[Exception], tmp_path: Path, error: Exception) -> None:
    failing.append(error)
    model = Doubles()
    with pytest.raises(type(error), match=str(error)):
        saved_model.save(model, str(tmp_path / "model"), {"double": model.double})
    assert (tmp_path / "model" / "half").exists()
