"""Transform's graphs on a small log."""

from __future__ import annotations

import functools
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import tensorflow_transform as tft

from components.examples.reading import ragged, read_columns, scalars
from pipeline.model.inputs import read_vocabulary
from pipeline.model.job import Transformed
from pipeline.model.preprocessing import FIRST, preprocess_catalogue
from pipeline.model.reading import read_log
from tests.pipeline.model.small_log import ITEM_SPEC, NEW, events, transform

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


def test_events_become_indices_in_the_order_of_time(transformed: Transformed) -> None:
    vocabulary, _ = read_vocabulary(tft.TFTransformOutput(transformed.transform_graph))
    read = read_log(transformed.examples, max_history=1).parts[0]()
    index = {item.decode(): FIRST + n for n, item in enumerate(vocabulary)}
    expected = events()
    assert read.item.tolist() == [index[row["item_id"][0]] for row in expected]
    assert read.inputs["history"].tolist() == [[index[row["history"][0]] if row["history"] else 0] for row in expected]
    # Half weigh 2, half 4.
    np.testing.assert_allclose(np.unique(read.weight, return_counts=True), [[2 / 3, 4 / 3], [124, 124]], rtol=1e-6)


def test_scales_do_not_depend_on_the_batches_that_beam_makes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    # Large numbers of a small spread, where sums of floating-point numbers differ most.
    rows = [{"item_id": [f"{row}"], "year": [1.6e9 + 1000 * rng.random()]} for row in range(100)]
    for row in rows:
        angle = 0.3 * rng.random()
        row["about"] = [np.cos(angle), np.sin(angle)]
    rows[3]["about"] = [0.0, 0.0]
    spec = {name: ITEM_SPEC[name] for name in ("item_id", "year", "about")}
    kinds = {"year": "number", "about": "embedding"}
    preprocessing_fn = functools.partial(preprocess_catalogue, custom_config={"features": kinds})
    batches = {1: rows, 7: rows[::-1], 100: rows}
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        for size, order in batches.items():
            transform(pipeline, order, spec, preprocessing_fn, tmp_path / f"{size}", "catalogue", size)
    found, about = [], []
    for size in batches:
        types = {"item_id": bytes, "year": float, "about": float}
        table = read_columns(str(tmp_path / f"{size}" / "examples"), "catalogue", types)
        found.append(dict(zip(scalars(table, "item_id").tolist(), scalars(table, "year").tolist())))
        about.append(dict(zip(scalars(table, "item_id").tolist(), ragged(table, "about")[0].reshape(-1, 2).tolist())))
    assert len(found[0]) == 100
    assert np.std(list(found[0].values())) == pytest.approx(1, abs=1e-5)
    assert found[0] == found[1] == found[2]
    # What vectors of length 1 have in common is gone; the missing one stays zeros, and does not count.
    assert about[0] == about[1] == about[2]
    assert about[0].pop(b"3") == [0, 0]
    vectors = np.array([*about[0].values()])
    np.testing.assert_allclose(vectors.mean(axis=0), 0, atol=1e-5)
    assert (vectors**2).sum(axis=1).mean() == pytest.approx(1, abs=1e-4)


def test_side_features_are_tokens_categories_and_z_scores(transformed: Transformed) -> None:
    types = {"title": int, "genres": int, "year": float, "about": float, "item_id": bytes}
    table = read_columns(transformed.catalogue, "catalogue", types).to_pydict()
    last = table["item_id"].index([NEW.encode()])
    assert len(table["title"][0]) == 3  # the, thing, 0
    assert table["title"][0][:2] == table["title"][1][:2]
    assert table["title"][last] in ([], None)
    assert len(table["genres"][last]) == 2
    assert table["year"][last] == [0.0]
    assert table["about"][last] == [0.0, 0.0]
    assert table["about"][5] == [0.5, -0.5]  # as it comes
    numbers = np.arange(6)
    assert table["year"][5] == pytest.approx([(5 - numbers.mean()) / numbers.std()])
