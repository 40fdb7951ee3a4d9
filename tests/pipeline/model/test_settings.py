"""Settings of the model and of its training that are refused."""

from __future__ import annotations

from typing import Any

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
        ModelSettings(history="transformer", dim=64, attention_heads=3)
    with pytest.raises(ValueError, match="attention_heads 4: dim 66 must be a multiple of it"):
        ModelSettings(history="transformer", dim=66)
    ModelSettings(attention_heads=3)


def test_what_is_left_open_goes_by_how_the_history_is_read() -> None:
    pooling, transformer = ModelSettings().resolved(), ModelSettings(history="transformer", dropout=0.1).resolved()
    assert (pooling.history, pooling.width, pooling.dropout, pooling.shared_item_table) == ("pooling", 64, 0.2, False)
    assert (pooling.history_length, transformer.history_length) == (50, None)
    assert (transformer.width, transformer.heads, transformer.dropout) == (128, 4, 0.1)
    assert transformer.shared_item_table is True
    assert pooling.resolved() == pooling
    assert ModelSettings(history="none", dim=8, user_id=True).resolved().width == 8
    training = TrainingSettings(l2=0.5)
    assert training.resolved("pooling", 10).loss == "in_batch"
    assert training.resolved("pooling", 10).rate == 0.006
    few, many = (training.resolved("transformer", count) for count in (20_000, 20_001))
    assert (few.loss, few.rate, few.decay, few.l2) == ("full", 0.002, "cosine", 0.5)
    assert many.loss == "in_batch"
    assert TrainingSettings(loss="mixed").resolved("transformer", 10).loss == "mixed"


def test_a_gpu_multiplies_in_bfloat16_and_compiles_a_transformer() -> None:
    def found(*how: Any, **settings: Any) -> tuple[bool | None, bool | None]:
        resolved = TrainingSettings(**settings).resolved(*how)
        return resolved.mixed_precision, resolved.jit_compile

    assert found("transformer", 10, True) == (True, True)
    assert found("pooling", 10, True) == (True, False)
    assert found("transformer", 10) == (False, False)
    assert found("transformer", 10, True, mixed_precision=False, jit_compile=False) == (False, False)
    assert found("pooling", 10, jit_compile=True) == (False, True)


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


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ({"purchase": {"events": ["buy"]}, "view": {"events": ["see", "buy"]}}, "purchase and view both learn 'buy'"),
        ({"purchase": {"events": ["buy"], "weight": 0}}, "all weights are 0"),
        ({"purchase": {"events": []}}, "at least 1 item"),
        ({"purchase": {"events": ["buy"], "weight": -1}}, "greater than or equal to 0"),
        ({"a=b": {"events": ["buy"]}}, "'a=b' is no name"),
    ],
)
def test_tasks_that_can_not_be(tasks: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ModelSettings(tasks=tasks)


def test_what_tasks_count_adds_up_to_one() -> None:
    tasks = {"purchase": {"events": ["buy"], "weight": 3}, "view": {"events": ["see"]}, "like": {"events": ["heart"]}}
    assert ModelSettings(tasks=tasks).resolved().task_shares == {"purchase": 0.6, "view": 0.2, "like": 0.2}
    assert ModelSettings().task_shares == {}
