"""The journal of the nights: what it keeps, and what it says of itself when it is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.errors import InputError
from pipeline.nightly.journal import Night, Step, hours_since, now, read, read_or_set_aside, write

LOOKED = Step("data", "nothing new: 1 files, 2 bytes")
RUN = Step("run", "version 7 is published", facts={"blessed": True}, seconds=1.5)


def night(day: int, *steps: Step, code: int = 0, ended: bool = True) -> Night:
    end = f"2026-01-{day:02}T01:00:00+00:00" if ended else ""
    return Night(f"2026-01-{day:02}T00:00:00+00:00", end, code=code, steps=list(steps))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    nights = [night(1, LOOKED, RUN), night(2, Step("run", "ü\u2028\x85", 3, "guards"), code=3), night(3, ended=False)]
    nights[0].labels = {"stable": 7}
    write(tmp_path / "nights.jsonl", nights)
    assert read(tmp_path / "nights.jsonl") == nights
    assert read(tmp_path / "none.jsonl") == []


def test_of_nights_without_work_the_last_one_stays(tmp_path: Path) -> None:
    idle = [night(day, LOOKED) for day in (2, 3, 4)]
    write(tmp_path / "n", [night(1, LOOKED, RUN), *idle, night(5, LOOKED, ended=False)])
    assert [one.began[8:10] for one in read(tmp_path / "n")] == ["01", "04", "05"]
    # A night with an exit code is none without work, and one under way may still get some.
    wrong = night(2, Step("data", "there is no file", 2, "input"), code=2)
    write(tmp_path / "n", [wrong, wrong, night(3, LOOKED)])
    assert len(read(tmp_path / "n")) == 3


def test_it_does_not_grow_for_ever(tmp_path: Path) -> None:
    write(tmp_path / "n", [night(1, RUN)] * 1_200)
    assert len(read(tmp_path / "n")) == 1_000


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "n").write_text('{"began": "2026-01-01T00:00:00+00:00", "steps": [], "of_tomorrow": 1}\n{"began"\n')
    with pytest.raises(InputError, match=r"n, line 2: no night \(.*remove the line, or the file"):
        read(tmp_path / "n")


@pytest.mark.parametrize("content", [b"\xff\xfe", b'{"began": "today", "steps": []}', b'{"began": 7, "steps": []}'])
def test_what_is_no_text_or_has_no_times_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "n").write_bytes(content)
    with pytest.raises(InputError, match="no night"):
        read(tmp_path / "n")


def test_a_damaged_file_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "nights.jsonl"
    assert read_or_set_aside(path) == ([], "")
    write(path, [night(1, RUN)])
    assert read_or_set_aside(path) == ([night(1, RUN)], "")
    path.write_bytes(path.read_bytes()[:-9])
    nights, why = read_or_set_aside(path)
    assert nights == []
    assert why.endswith("it is nights.jsonl.damaged from now on, and a new one is begun")
    assert [one.name for one in tmp_path.iterdir()] == ["nights.jsonl.damaged"]


def test_what_a_step_says_ends_no_line(tmp_path: Path) -> None:
    one = night(1, Step("run", "user 'a\u2028b\u0085c\x0cd\x1ee\nf'"))
    write(tmp_path / "n", [one, night(2, LOOKED)])
    assert read(tmp_path / "n") == [one, night(2, LOOKED)]


def test_the_newest_step_of_a_name_counts() -> None:
    assert night(1, Step("a", "1"), Step("a", "2"), Step("b", "3")).step("a") == Step("a", "2")
    assert night(1).step("a") is None


def test_times_are_told_in_utc() -> None:
    assert now().endswith("+00:00")
    assert 0 <= hours_since(now()) < 0.01
    assert hours_since("2026-01-01T01:00:00+02:00") > 24
