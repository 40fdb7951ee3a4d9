"""What a version was made by."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

import pytest

from components.errors import InputError
from components.pusher.origin import ORIGIN, origin, read_origin, surroundings


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_origin(tmp_path) == {}
    (tmp_path / ORIGIN).parent.mkdir()
    (tmp_path / ORIGIN).write_text(origin({"config": {"name": "m"}}, {"users": []}))
    assert read_origin(tmp_path) == {
        "format": 1,
        "config": {"name": "m"},
        "files": {"users": []},
        "surroundings": surroundings(),
    }


@pytest.mark.parametrize(("text", "why"), [("{", "damaged"), ("{}", "damaged"), ('{"format": 2}', "update it")])
def test_one_that_can_not_be_read_is_told(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / ORIGIN).parent.mkdir()
    (tmp_path / ORIGIN).write_text(text)
    with pytest.raises(InputError, match=why):
        read_origin(tmp_path)


def test_the_surroundings_are_those_of_this_process() -> None:
    found = surroundings()
    assert found["python"] == platform.python_version()
    assert found["packages"]["numpy"] == version("numpy")
    assert found["machine"]["processor"]
