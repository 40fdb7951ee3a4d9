"""What is written while libraries are loaded is shown only with an error."""

from __future__ import annotations

import os

import pytest

from serving import stderr


def test_what_is_written_meanwhile_is_shown_only_with_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with stderr.held_back():
        os.write(2, b"no driver\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"
    with pytest.raises(ModuleNotFoundError), stderr.held_back():
        __import__(os.write(2, b"no driver\n") and "none_of_that_name")
    assert capfd.readouterr().err == "no driver\n"
