"""Anomalies in words, from real statistics and real schemas."""

import pytest
import tensorflow_data_validation as tfdv

from components.example_validator.anomalies import describe
from tests.components.example_validator.data import SCHEMA, columns, statistics


def found(**changes):
    stats = statistics(columns(**changes))
    return describe(tfdv.validate_statistics(stats, SCHEMA), stats.datasets[0], SCHEMA)


def test_good_data_has_no_anomalies():
    assert found() == []


@pytest.mark.parametrize(
    ("changes", "feature", "count"),
    [
        ({"user_id": [None] * 3}, "user_id: ", "3 of 100 rows lack it"),
        (
            {"channel": ["fax", "fax", "tv"]},
            "channel: unexpected string values: ",
            "3 of 100 rows: 'fax' (2), 'tv' (1)",
        ),
        ({"rating": [9.0, 9.0]}, "rating: out-of-range values: ", "about 2 of 100 rows, from 1 to 9 in all"),
        ({"price": [-7.0]}, "price: out-of-range values: ", "about 1 of 100 rows, from -7 to 99 in all"),
        ({"surprise": ["x"]}, "surprise: new column: ", ""),
    ],
)
def test_an_anomaly_names_feature_fault_and_rows(changes, feature, count):
    (line,) = found(**changes)
    assert line.startswith(feature)
    assert line.endswith(count)


def test_a_column_that_is_not_there_at_all():
    data = columns()
    del data["rating"]
    stats = statistics(data)
    (line,) = describe(tfdv.validate_statistics(stats, SCHEMA), stats.datasets[0], SCHEMA)
    assert line.startswith("rating: ")
    assert line.endswith("100 of 100 rows lack it")
