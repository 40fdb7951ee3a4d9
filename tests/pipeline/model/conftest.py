"""What the tests of several modules share, since it is dear to make."""

from __future__ import annotations

import functools
from pathlib import Path

import apache_beam as beam
import pytest

from pipeline.model.job import Transformed
from pipeline.model.preprocessing import preprocess_catalogue, preprocess_interactions
from tests.pipeline.model import small_log
from tests.shared import made_once


@pytest.fixture(scope="session")
def transformed(tmp_path_factory: pytest.TempPathFactory) -> Transformed:
    """What Transform leaves of the small log."""
    root = made_once(tmp_path_factory, "transformed", _transform)
    return Transformed(
        examples=str(root / "events" / "examples"),
        transform_graph=str(root / "events" / "graph"),
        catalogue=str(root / "items" / "examples"),
        catalogue_graph=str(root / "items" / "graph"),
    )


def _transform(root: Path) -> None:
    sizes = {"categories": 100, "text_tokens": 100}
    event_config = {
        "features": small_log.QUERY_FEATURES,
        "time_features": ["hour", "weekday"],
        "user_id": True,
        "event": True,
        **sizes,
    }
    item_config = {"features": small_log.FEATURES, **sizes}
    of_events = functools.partial(preprocess_interactions, custom_config=event_config)
    of_items = functools.partial(preprocess_catalogue, custom_config=item_config)
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        small_log.transform(pipeline, small_log.events(), small_log.EVENT_SPEC, of_events, root / "events", "train")
        small_log.transform(pipeline, small_log.items(), small_log.ITEM_SPEC, of_items, root / "items", "catalogue")
