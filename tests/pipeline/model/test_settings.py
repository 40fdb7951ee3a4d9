"""Settings of the model and of its training that are refused."""

from __future__ import annotations

import pytest

from pipeline.model.settings import ModelSettings, TrainingSettings, check_together


def test_settings_that_leave_nothing_to_learn_from_are_refused() -> None:
    with pytest.raises(ValueError, match="history none needs"):
        ModelSettings(history="none")


@pytest.mark.parametrize(
    "wrong", [{"workers": 0}, {"workers": 9, "batch_size": 8}, {"workers": 2, "jit_compile": True}]
)
def test_wrong_settings(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="workers"):
        TrainingSettings(**wrong)


def test_heads_of_a_transformer_share_the_width() -> None:
    with pytest.raises(ValueError, match="attention_heads 3: dim 64 must be a multiple of it"):
        ModelSettings(history="transformer", attention_heads=3)
    ModelSettings(attention_heads=3)


@pytest.mark.parametrize(
    ("training", "words"),
    [({"histories": "others"}, "training.histories others"), ({"workers": 2}, "training.workers")],
)
def test_whole_sequences_need_an_order_and_one_process(training: dict[str, object], words: str) -> None:
    settings = TrainingSettings(**training)
    with pytest.raises(ValueError, match=words):
        check_together(ModelSettings(history="transformer"), settings, 50)
    check_together(ModelSettings(), settings, 50)


def test_a_transformer_needs_histories() -> None:
    with pytest.raises(ValueError, match=r"history\.max_length is 0"):
        check_together(ModelSettings(history="transformer"), TrainingSettings(), 0)
    check_together(ModelSettings(), TrainingSettings(), 0)
