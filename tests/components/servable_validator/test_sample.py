"""Whom the servable is asked for."""

from __future__ import annotations

import pytest

from components.errors import InputError
from components.servable_validator import sample
from tests.components.servable_validator.interactions import event, write_examples


def test_sample_is_drawn_from_the_interactions(interactions):
    drawn = sample.draw(str(interactions))
    assert drawn.users == {"ann": ["1", "2"], "bob, jr": ["🎬"]}
    assert drawn.histories == [["3"], ["1", "2"]]
    assert drawn.items == ["1", "2", "🎬"]


def test_of_equal_times_the_later_row_is_newer(tmp_path):
    write_examples(tmp_path, "train", [event("u", item, 5) for item in ("a", "b", "a", "c")])
    write_examples(tmp_path, "eval", [])
    drawn = sample.draw(str(tmp_path))
    assert drawn.users == {"u": ["c", "a", "b"]}
    assert drawn.histories == []


def test_sample_without_events(tmp_path):
    write_examples(tmp_path, "train", [])
    with pytest.raises(InputError, match="no training events"):
        sample.draw(str(tmp_path))
