"""Interactions for a sample."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.components.servable_validator.interactions import event, write_examples


@pytest.fixture
def interactions(tmp_path: Path) -> Path:
    uri = tmp_path / "interactions"
    train = [event("ann", "2", 5), event("bob, jr", "🎬", 6), event("ann", "1", 7, "2"), event("ann", "2", 6, "2")]
    write_examples(uri, "train", train)
    write_examples(uri, "eval", [event("new", "3", 9), event("new", "4", 10, "3"), event("ann", "5", 11, "1", "2")])
    return uri
