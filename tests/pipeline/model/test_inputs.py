"""What a training reads of the Transforms' outputs."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow_transform as tft

from pipeline.model.inputs import read_data, read_vocabulary
from pipeline.model.job import Transformed
from pipeline.model.preprocessing import FIRST
from pipeline.model.towers import SideFeature
from tests.pipeline.model.small_log import IN_CONTEXT, ITEMS, events, make_settings

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


def test_vocabulary_is_ordered_by_frequency_with_its_counts(transformed: Transformed) -> None:
    vocabulary, counts = read_vocabulary(tft.TFTransformOutput(transformed.transform_graph))
    assert vocabulary[0] == ITEMS[0].encode()
    assert set(vocabulary) == {item.encode() for item in ITEMS}
    assert counts.tolist() == [48, 40, 40, 40, 40, 40]


def test_side_features_are_in_the_order_of_the_vocabulary(transformed: Transformed) -> None:
    vocabulary, _ = read_vocabulary(tft.TFTransformOutput(transformed.transform_graph))
    number = np.array([ITEMS.index(item.decode()) for item in vocabulary])
    data = read_data(transformed, make_settings())
    values = data.vocabulary.item_features.values
    # The numbers 0 to 5, and none for the item that nobody had: the mean is 2.5, the variance 35 / 12.
    np.testing.assert_allclose(values["year"], (number - 2.5) / np.sqrt(35 / 12), rtol=1e-5)
    even = values["genres"][number % 2 == 0]
    assert (even == even[0]).all()
    assert not (even == values["genres"][number % 2 == 1]).all()
    np.testing.assert_array_equal(values["about"], np.stack([number / np.float32(10), np.full(6, -0.5)], 1, dtype="f4"))
    assert [(f.name, f.is_number, f.width) for f in data.vocabulary.candidate_features] == [
        ("genres", False, 0),
        ("title", False, 0),
        ("year", True, 0),
        ("about", False, 2),
    ]
    # The three genres of the log, and one that only the item has that nobody had.
    assert data.vocabulary.candidate_features[0].vocabulary_size == 4
    assert data.vocabulary.num_users == 0


def test_a_context_has_features_of_the_event_of_time_and_of_the_user(transformed: Transformed) -> None:
    data = read_data(transformed, make_settings(IN_CONTEXT))
    assert data.vocabulary.query_features == (
        SideFeature("device", False, 1),
        SideFeature("age", True),
        SideFeature("hour", False, 24),
        SideFeature("weekday", False, 7),
    )
    assert data.vocabulary.num_users == 7
    [log] = [part() for part in data.events.parts]
    # Hour by hour from the epoch on, a Thursday, which has the number 3.
    assert log.inputs["query_hour"][:30, 0].tolist() == [FIRST + hour % 24 for hour in range(30)]
    assert log.inputs["query_weekday"][[0, 23, 24, 96], 0].tolist() == [FIRST + day for day in (3, 3, 4, 0)]
    assert log.inputs["query_device"][:2, 0].tolist() == [0, FIRST]
    assert len(np.unique(log.inputs["user"])) == 7


def test_a_log_that_is_too_long_comes_in_parts(transformed: Transformed) -> None:
    data = read_data(transformed, make_settings(events_in_memory=100))
    assert len(data.events.parts) > 1
    assert data.events.size == len(events()) == 248
