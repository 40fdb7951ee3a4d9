"""What baselines are made of."""

from __future__ import annotations

import numpy as np
import pytest

from components.evaluator.baselines import base
from tests.components.evaluator.arrays import ragged
from tests.components.evaluator.baselines.toy import (
    fit,
    random_log,
)


def test_large_catalogues_are_worked_on_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    events, queries = random_log(), ragged([3, 0], [11])
    whole = {name: fit(name, events, item_knn_neighbours=3).scores(queries) for name in ("item_knn", "ease")}
    monkeypatch.setattr(base, "_BLOCK_CELLS", 30)
    for name, scores in whole.items():
        np.testing.assert_array_equal(fit(name, events, item_knn_neighbours=3).scores(queries), scores)
