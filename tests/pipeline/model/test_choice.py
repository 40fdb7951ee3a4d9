"""What the data decides: which tower reads the history, and what goes with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.model import choice
from pipeline.model.job import Transformed
from pipeline.model.settings import TrainerSettings
from tests.pipeline.model.tiny_data import write_log

EVENTS, USERS = 400, 30


@pytest.fixture
def decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Resolves settings for a log of 400 events of 30 users, where a transformer needs 13 events of each on average."""
    examples = write_log(tmp_path, EVENTS)
    monkeypatch.setattr(choice, "_EVENTS", EVENTS)
    monkeypatch.setattr(choice, "_PER_USER", EVENTS / USERS)
    monkeypatch.setattr(choice, "read_vocabulary", lambda graph: ([], np.full(8, EVENTS // 8)))
    monkeypatch.delenv("TF_CONFIG", raising=False)

    def resolved(model: dict[str, Any], training: dict[str, Any] | None = None, max_history: int = 200) -> Any:
        settings = TrainerSettings(
            seed=1,
            features={},
            query_features={},
            user_features=(),
            max_history=max_history,
            hold_out="latest",
            model=model,
            training=training or {},
        )
        inputs = Transformed(examples=examples, transform_graph=str(tmp_path), catalogue="", catalogue_graph="")
        return choice.resolved(inputs, settings)

    return resolved


@pytest.mark.slow
@pytest.mark.smoke
def test_many_events_of_each_user_are_for_a_transformer(decide: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = decide({})
    assert (found.model.history, found.model.width, found.max_history) == ("transformer", 128, 200)
    assert (found.training.loss, found.training.rate) == ("full", 0.002)
    assert decide({"history_length": 30}).max_history == 30
    with monkeypatch.context() as patch:
        patch.setattr(choice, "_PER_USER", EVENTS / USERS + 0.1)
        assert decide({}).model.history == "pooling"
    with monkeypatch.context() as patch:
        patch.setattr(choice, "_EVENTS", EVENTS + 1)
        assert decide({}).model.history == "pooling"
    with monkeypatch.context() as patch:
        patch.setattr(choice, "_MOST_EVENTS", EVENTS - 1)
        assert decide({}).model.history == "pooling"
        patch.setattr(choice.tf.config, "list_physical_devices", lambda kind: [kind])
        assert decide({}).model.history == "transformer"


@pytest.mark.slow
@pytest.mark.smoke
def test_where_a_transformer_can_not_be_had_it_is_pooling(decide: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for training in ({"workers": 2}, {"histories": "others"}):
        found = decide({}, training)
        assert (found.model.history, found.max_history, found.training.loss) == ("pooling", 50, "in_batch")
    assert decide({}, max_history=0).model.history == "pooling"
    assert decide({"dim": 66}).model.history == "pooling"
    monkeypatch.setenv("TF_CONFIG", "{}")
    assert decide({}).model.history == "pooling"


@pytest.mark.slow
@pytest.mark.smoke
def test_what_is_asked_for_is_taken(decide: Any) -> None:
    assert decide({"history": "attention"}).model.history == "attention"
    assert decide({"history": "attention"}, max_history=20).max_history == 20
    assert decide({"history": "transformer", "dim": 64}).model.width == 64
