"""A request's context as a tf.Example, read back by TensorFlow's own messages."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.client import InvalidRequest
from serving.client.context import serialize

pytestmark = pytest.mark.smoke

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
_VALUES = st.one_of(
    st.lists(_TEXT | st.binary(), min_size=1),
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1),
)


def decoded(serialized: bytes) -> dict[str, tuple[str, list]]:
    """Feature name to kind and values, as TensorFlow reads them."""
    from tensorflow.core.example import example_pb2

    features = example_pb2.Example.FromString(serialized).features.feature
    kinds = {name: feature.WhichOneof("kind") for name, feature in features.items()}
    return {name: (kind, list(getattr(features[name], kind).value)) for name, kind in kinds.items()}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("ios", ("bytes_list", [b"ios"])),
        (b"\xff", ("bytes_list", [b"\xff"])),
        ("", ("bytes_list", [b""])),
        (["ä", "b"], ("bytes_list", [b"\xc3\xa4", b"b"])),
        (30, ("float_list", [30.0])),
        (0, ("float_list", [0.0])),
        (0.5, ("float_list", [0.5])),
        ((1, 0.5), ("float_list", [1.0, 0.5])),
        (np.float32(0.5), ("float_list", [0.5])),
        (np.int64(7), ("float_list", [7.0])),
        (np.array(["a", "b"]), ("bytes_list", [b"a", b"b"])),
    ],
)
def test_types(value, expected):
    assert decoded(serialize({"x": value})) == {"x": expected}


@pytest.mark.parametrize(
    ("value", "microseconds"),
    [
        (1_700_000_000_000_001, 1_700_000_000_000_001),
        (-1, -1),
        (np.int64(5), 5),
        (datetime(1970, 1, 2, 0, 0, 0, 3), 86_400_000_003),
        (datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), 0),
        (datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=timezone.utc), -1),
    ],
)
def test_timestamp(value, microseconds):
    assert decoded(serialize({"timestamp": value})) == {"timestamp": ("int64_list", [microseconds])}


def test_what_has_no_value_is_left_out():
    assert serialize({}) == serialize({"device": None, "tags": [], "timestamp": None}) == b""


@pytest.mark.slow
@pytest.mark.smoke
@given(st.dictionaries(_TEXT.filter(lambda name: name != "timestamp"), _VALUES))
def test_any_context_arrives_and_order_does_not_matter(context):
    expected = {
        name: ("float_list", values)
        if isinstance(values[0], float)
        else ("bytes_list", [v.encode() if isinstance(v, str) else v for v in values])
        for name, values in context.items()
    }
    serialized = serialize(context)
    assert decoded(serialized) == expected
    assert serialize(dict(reversed(context.items()))) == serialized


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ("device=ios", "it is a dict"),
        ({"": 1}, "'' is no name"),
        ({5: 1}, "5 is no name"),
        ({"\udcff": 1}, "UTF-8"),
        ({"device": "\udcff"}, "device=.* UTF-8"),
        ({"device": ["ios", None]}, "device=None is a NoneType"),
        ({"device": ["ios", 5]}, "device=5 is a int: .* or of numbers"),
        ({"age": [5, "6"]}, "age='6' is a str"),
        ({"device": {"a": 1}}, "device=.* is a dict"),
        ({"member": True}, "member=True is a bool"),
        ({"day": datetime(2024, 1, 1)}, "day=.* is a datetime"),
        ({"age": math.nan}, "age=nan is no number"),
        ({"age": math.inf}, "age=inf is no number"),
        ({"age": 1e39}, r"age=1e\+39 is no number"),
        ({"age": 10**400}, "age=1000"),
        ({"timestamp": "2024-01-01"}, "timestamp='2024-01-01': it is one time"),
        ({"timestamp": date(2024, 1, 1)}, "it is one time"),
        ({"timestamp": 1.7e15}, "it is one time"),
        ({"timestamp": True}, "it is one time"),
        ({"timestamp": 1 << 63}, "it is one time"),
        ({"timestamp": [1, 2]}, "it is one time"),
    ],
)
def test_wrong_contexts(context, message):
    with pytest.raises(InvalidRequest, match=message):
        serialize(context)
