"""A profile is read as it was written, and names nobody."""

from __future__ import annotations

import json

import pytest

from components.errors import InputError
from components.guards.profile import from_json, to_json
from tests.components.guards.data import log, profile, statistics


def test_what_is_written_is_read_without_ids() -> None:
    features = {"": statistics({"kind": ["a", None], "user_id": ["ann", "bob"]})}
    made = profile(features=features)
    text = to_json(made)
    found = from_json(text, "here")
    assert found is not None
    assert (found.log, found.listed, found.unlisted) == (log().without_ids(), 180, 0.02)
    assert found.missing() == {"kind": 0.5}, "whose events they are is no feature"
    assert "ann" not in text
    assert found.features == features


def test_a_profile_of_a_later_form_is_none_and_a_damaged_one_is_told() -> None:
    assert from_json(json.dumps({"format": 2}), "here") is None
    for text in ("{", '{"format": 1}', to_json(profile()).replace('"events"', '"event"')):
        with pytest.raises(InputError, match=r"version/data\.json: damaged: .*; remove that version"):
            from_json(text, "version/data.json")
