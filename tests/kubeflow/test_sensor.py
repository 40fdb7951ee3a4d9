"""The sensor, which tells new data from old."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from components.errors import InputError
from kubeflow.sensor import newest_partition


def write(path: Path, text: str = "u,i\n1,2\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_folder_with_a_wildcard_is_a_partition(tmp_path):
    write(tmp_path / "dt=2026-11-20" / "part-0.csv")
    write(tmp_path / "dt=2026-11-21" / "part-0.csv")
    pattern = f"{tmp_path}/dt=*/*.csv"
    before = newest_partition(pattern)
    assert before.path == f"{tmp_path}/dt=2026-11-21"
    write(tmp_path / "dt=2026-11-21" / "part-1.csv")
    after = newest_partition(pattern)
    assert after.path == before.path
    assert after.digest != before.digest


def test_without_a_folder_with_a_wildcard_a_file_is_one(tmp_path):
    write(tmp_path / "events-1.csv")
    assert newest_partition(f"{tmp_path}/events-*.csv").path == f"{tmp_path}/events-1.csv"
    assert newest_partition(f"{tmp_path}/events-1.csv").path == f"{tmp_path}/events-1.csv"


def test_numbers_in_names_count_as_numbers(tmp_path):
    for name in ("2026-9-30", "2026-10-1", "2025-12-31"):
        write(tmp_path / f"dt={name}" / "part.csv")
    assert newest_partition(f"{tmp_path}/dt=*/part.csv").path.endswith("dt=2026-10-1")


def test_only_content_and_name_of_the_newest_count(tmp_path):
    old, new = write(tmp_path / "events-1.csv"), write(tmp_path / "events-2.csv")
    pattern = f"{tmp_path}/events-*.csv"
    before = newest_partition(pattern)
    os.utime(new, (1, 1))
    write(old, "late,rows\n")
    assert newest_partition(pattern) == before
    write(new, "u,i\n1,3\n")  # of the same size
    assert newest_partition(pattern).digest != before.digest
    write(new)
    assert newest_partition(pattern) == before
    new.rename(tmp_path / "events-3.csv")
    assert newest_partition(pattern).digest != before.digest


def test_a_marker_holds_a_half_written_partition_back_and_its_time_tells_a_rewritten_one(tmp_path):
    write(tmp_path / "dt=1" / "part.csv")
    marker = write(tmp_path / "dt=1" / "_SUCCESS", "")
    write(tmp_path / "dt=2" / "part.csv")
    pattern = f"{tmp_path}/dt=*/_SUCCESS"
    before = newest_partition(pattern)
    assert before.path == f"{tmp_path}/dt=1"
    os.utime(marker, (10**9, 10**9))
    assert newest_partition(pattern).digest != before.digest
    write(tmp_path / "dt=2" / "_SUCCESS", "")
    assert newest_partition(pattern).path == f"{tmp_path}/dt=2"


@pytest.mark.parametrize(("pattern", "newest"), [("events-*.csv", "events-1.csv"), ("dt=*/*.csv", "dt=1")])
def test_a_relative_pattern_is_one_of_the_current_folder(tmp_path, monkeypatch, pattern, newest):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "events-1.csv")
    write(tmp_path / "dt=1" / "part.csv")
    assert newest_partition(pattern).path == newest


@pytest.mark.parametrize("pattern", ["/nowhere/dt=*/x.csv", "nosuch://bucket/*"])
def test_nothing_to_look_at_is_told(pattern):
    with pytest.raises(InputError, match=r"kubeflow\.trigger\.partitions: "):
        newest_partition(pattern)
