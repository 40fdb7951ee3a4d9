"""Transform's graphs on a small log."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow_transform as tft

from components.examples.reading import read_columns, scalars
from pipeline.model import inputs, preprocessing
from pipeline.model.preprocessing import FIRST
from pipeline.model.reading import read_log
from tests.pipeline.model.small_log import ITEM_SPEC, NEW, events, transform

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


def test_events_become_indices_in_the_order_of_time(workspace: Path) -> None:
    vocabulary, _ = inputs.read_vocabulary(tft.TFTransformOutput(str(workspace / "events" / "graph")))
    read = read_log(str(workspace / "events" / "examples"), max_history=1).parts[0]()
    index = {item.decode(): FIRST + n for n, item in enumerate(vocabulary)}
    expected = events()
    assert read.item.tolist() == [index[row["item_id"][0]] for row in expected]
    assert read.inputs["history"].tolist() == [[index[row["history"][0]] if row["history"] else 0] for row in expected]
    # Half weigh 2, half 4.
    np.testing.assert_allclose(np.unique(read.weight, return_counts=True), [[2 / 3, 4 / 3], [124, 124]], rtol=1e-6)


def test_z_scores_do_not_depend_on_the_batches_that_beam_makes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"item_id": [f"{row}"], "year": [1900 + 100 * rng.random()], "genres": [], "title": []} for row in range(900)
    ]
    config = {"features": {"year": "number"}, "categories": 9, "text_tokens": 9}
    found = []
    for batch_size, order in ((1, rows), (7, rows[::-1]), (900, rows)):
        root = tmp_path / f"{batch_size}"
        transform(order, ITEM_SPEC, preprocessing.preprocess_catalogue, config, root, "catalogue", batch_size)
        table = read_columns(str(root / "examples"), "catalogue", {"item_id": bytes, "year": float})
        found.append(dict(zip(scalars(table, "item_id").tolist(), scalars(table, "year").tolist())))
    assert len(found[0]) == 900
    assert found[0] == found[1] == found[2]


def test_side_features_are_tokens_categories_and_z_scores(workspace: Path) -> None:
    table = read_columns(
        str(workspace / "items" / "examples"),
        "catalogue",
        {"title": int, "genres": int, "year": float, "item_id": bytes},
    ).to_pydict()
    last = table["item_id"].index([NEW.encode()])
    assert len(table["title"][0]) == 3  # the, thing, 0
    assert table["title"][0][:2] == table["title"][1][:2]
    assert table["title"][last] in ([], None)
    assert len(table["genres"][last]) == 2
    assert table["year"][last] == [0.0]
    numbers = np.arange(6)
    assert table["year"][5] == pytest.approx([(5 - numbers.mean()) / numbers.std()])
