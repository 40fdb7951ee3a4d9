"""What a training reads of the Transforms' outputs."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow_transform as tft

from pipeline.model import inputs
from tests.pipeline.model.small_log import ITEMS

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


def test_vocabulary_is_ordered_by_frequency_with_its_counts(workspace: Path) -> None:
    vocabulary, counts = inputs.read_vocabulary(tft.TFTransformOutput(str(workspace / "events" / "graph")))
    assert vocabulary[0] == ITEMS[0].encode()
    assert set(vocabulary) == {item.encode() for item in ITEMS}
    assert counts.tolist() == [48, 40, 40, 40, 40, 40]
