"""W3C's header: what is one, and what is made."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_the_specifications_example():
    found = traceparent.parse(f"00-{TRACE}-{SPAN}-01")
    assert found == (TRACE, SPAN, 1)
    assert str(found) == f"00-{TRACE}-{SPAN}-01"
    assert traceparent.parse(f"01-{TRACE}-{SPAN}-03-what.comes") == (TRACE, SPAN, 3)  # a later version


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "nonsense",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_what_is_none(text):
    assert traceparent.parse(text) is None


@pytest.mark.slow
@pytest.mark.smoke
@given(st.text() | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", fullmatch=True))
def test_what_is_read_is_what_was_written(text):
    found = traceparent.parse(text)
    if found is not None:
        assert str(found)[2:] == text[2 : len(str(found))]
        assert traceparent.parse(str(found)) == found


def test_a_new_one():
    made = []
    for _ in range(2):
        random.seed(1)  # as programs do
        made.append(traceparent.new())
    assert made[0].trace_id != made[1].trace_id
    assert traceparent.parse(str(made[0])) == made[0]
    assert made[0].flags == 0
    other = made[0].sibling()
    assert other.trace_id == made[0].trace_id
    assert other.parent_id != made[0].parent_id
