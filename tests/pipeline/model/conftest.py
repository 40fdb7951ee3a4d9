"""What the tests of several modules share, since it is dear to make."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.model import preprocessing, trainer
from tests.pipeline.model.small_log import (
    EVENT_SPEC,
    FEATURES,
    ITEM_SPEC,
    QUERY_FEATURES,
    events,
    fn_args,
    items,
    transform,
)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Transform leaves of both tables."""
    root = tmp_path_factory.mktemp("workspace")
    sizes = {"categories": 100, "text_tokens": 100}
    config = {"features": QUERY_FEATURES, "time_features": ["hour", "weekday"], "user_id": True, **sizes}
    transform(events(), EVENT_SPEC, preprocessing.preprocess_interactions, config, root / "events", "train")
    config = {"features": FEATURES, **sizes}
    transform(items(), ITEM_SPEC, preprocessing.preprocess_catalogue, config, root / "items", "catalogue")
    return root


@pytest.fixture(scope="session")
def trained(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("trained")
    trainer.run_fn(fn_args(workspace, output))
    return output
