"""The work on one partition."""

import numpy as np
import pyarrow as pa
import pytest

from components.interaction_gen import partition
from components.interaction_gen.settings import InteractionSettings
from components.interaction_gen.split import Cut
from components.tables.row_report import Report
from components.tables.rows import ORDER


@pytest.mark.parametrize("ties", ["exclude", "log_order"])
def test_training_events_of_one_moment_stay_together_in_the_order_of_the_log(ties):
    """Who sorts the shuffled examples by time, ties as they come, gets the order of the log back."""
    rng = np.random.default_rng(0)
    count = 200
    table = pa.table(
        {
            "user_id": rng.choice(["ann", "bob"], count),
            "item_id": [f"i{n}" for n in range(count)],
            "timestamp": rng.integers(0, 5, count),
            ORDER: np.arange(count),
        }
    )
    settings = InteractionSettings.model_validate({"history": {"ties": ties}})
    ordered, _ = partition.ordered([table], settings)
    marked = partition.mark(ordered, settings, Cut(100))
    [columns] = partition.examples(marked, settings, Cut(100), None, Report())["train"]
    written = pa.table({name: columns[name] for name in ("user_id", "timestamp", "item_id")}).to_pandas()
    assert written["item_id"].tolist() != ordered["item_id"].to_pylist()  # shuffled
    by_time = written.sort_values(["user_id", "timestamp"], kind="stable")
    assert by_time["item_id"].tolist() == ordered["item_id"].to_pylist()
