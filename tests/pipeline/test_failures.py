"""What went wrong, in words, and the exit code that goes with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.breaches import BreachError
from components.errors import InputError, LockedError
from pipeline.failures import explain


def test_the_input_error_behind_a_wrapped_one_is_found() -> None:
    wrapped = RuntimeError("while running")
    wrapped.__cause__ = InputError("items.csv: no column 'x'")
    assert explain(wrapped) == ("items.csv: no column 'x'", 2, True)


def test_a_lock_that_is_held_is_nobodys_fault() -> None:
    wrapped = RuntimeError("while running")
    wrapped.__cause__ = LockedError("output/shop: another run is at work here")
    assert explain(wrapped) == ("output/shop: another run is at work here", 4, True)


def test_data_out_of_the_limits_are_as_a_model_that_is_not_blessed() -> None:
    failure = explain(BreachError("beside version 7", ["users: 5", "items: 3"]))
    assert failure[1:] == (3, True)
    assert failure.message.splitlines() == [
        "the data are out of the limits (beside version 7):",
        "  users: 5",
        "  items: 3",
        "mend the data, or let this one run through by --accept REASON",
    ]


def test_an_input_error_in_a_worker_of_beams_is_found() -> None:
    here = InputError("items.csv: no column 'x' [while running 'Read/Do']")
    elsewhere = RuntimeError(
        'Traceback (most recent call last):\n  File "read.py", line 8, in process\n'
        "components.errors.InputError: items.csv: no column 'x' [while running 'Read/Do']\n\n"
    )
    assert explain(here) == explain(elsewhere) == ("items.csv: no column 'x'", 2, True)


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("tensorflow says: /x; No space left on device [while running 'Write']"),
        RuntimeError("database or disk is full"),
    ],
)
def test_a_full_disk_is_called_so(error: Exception) -> None:
    message, code, _ = explain(error, Path("/data/out"))
    assert "the disk is full under /data/out" in message
    assert code == 2


def test_a_missing_package_is_named_with_the_way_to_get_it() -> None:
    message, code, _ = explain(ModuleNotFoundError("No module named 'numpy'", name="numpy"))
    assert "'numpy' is not installed" in message
    assert "make setup" in message
    assert code == 1


def test_other_errors_name_their_type_and_an_interrupt_says_how_to_go_on() -> None:
    assert explain(ValueError("a bug")) == ("ValueError: a bug", 1, False)
    assert "run it again" in explain(KeyboardInterrupt()).message


def test_a_job_that_an_engine_gave_up_is_named_as_the_engine_knows_it() -> None:
    lost = RuntimeError(
        "Pipeline BeamApp-root-1130123751-177f551b_eb23c644-4872-425a-9572-0be991076fcd failed in state FAILED: "
        "java.net.ConnectException: finishConnect(..) failed: Connection refused"
    )
    message, code, expected = explain(lost)
    assert message.startswith(
        "the engine's job BeamApp-root-1130123751-177f551b is FAILED: java.net.ConnectException: finishConnect(..) "
        "failed: Connection refused; the engine's own log"
    )
    assert "run it again" in message
    assert (code, expected) == (1, False)
