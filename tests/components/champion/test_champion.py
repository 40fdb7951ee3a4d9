"""Which version is the champion, and its copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from components.champion.champion import copy_champion, find_champion
from components.errors import InputError
from components.versions import Version, publish
from serving.promotion import Promoter
from tests.components.nodes import make_model


def test_the_champion_is_the_newest_version_that_is_not_the_candidate(candidate: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    assert find_champion(str(candidate), str(base), "m") is None
    publish(candidate / "Format-Serving", base / "m")
    assert find_champion(str(candidate), str(base), "m") is None
    old = publish(make_model(tmp_path / "old", "old") / "Format-Serving", base / "m")
    publish(candidate / "Format-Serving", base / "m")
    assert find_champion(str(candidate), str(base), "m") == old


def test_the_champion_is_what_was_promoted(candidate: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    old, other, new = (
        publish(make_model(tmp_path / name, name) / "Format-Serving", base / "m") for name in ("old", "other", "new")
    )
    promoter = Promoter(base, "m", [])
    promoter.promote(old.number, "stable")
    promoter.promote(other.number, "canary")
    assert find_champion(str(candidate), str(base), "m") == old
    promoter.promote(new.number, "stable")
    assert find_champion(str(candidate), str(base), "m") == other, "that is the candidate itself"
    (base / "models.config").write_text("nonsense")
    with pytest.raises(InputError, match=r"not a models\.config"):
        find_champion(str(candidate), str(base), "m")


def test_a_version_that_goes_while_it_is_copied(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="7: this version was removed while it was read; run again"):
        copy_champion(Version(7, tmp_path / "7", ""), str(tmp_path / "output"))


def test_what_was_shipped_for_the_candidate_is_not_its_champion(candidate: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shipped = make_model(tmp_path / "shipped", "shipped") / "Format-Serving"
    version = publish(shipped, base / "m", {"fingerprint": "shipped", "judged": "new"})
    assert find_champion(str(candidate), str(base), "m") is None
    Promoter(base, "m", []).promote(version.number, "stable")
    assert find_champion(str(candidate), str(base), "m") is None
    other = make_model(tmp_path / "other", "other")
    assert find_champion(str(other), str(base), "m") == version


def test_a_run_in_full_is_held_against_the_last_one_of_its_kind(candidate: Path, tmp_path: Path) -> None:
    """What went on since has learned its queries."""
    base = tmp_path / "base"

    def push(name: str, before: str = "") -> Version:
        about = {"lineage": {"before": before} if before else {}}
        return publish(make_model(tmp_path / name, name) / "Format-Serving", base / "m", about)

    push("older")
    full = push("full")
    first = push("first night", str(full.number))
    second = push("second night", str(first.number))
    assert find_champion(str(candidate), str(base), "m") == full
    assert find_champion(str(candidate), str(base), "m", goes_on=True) == second
    Promoter(base, "m", []).promote(first.number, "stable")
    assert find_champion(str(candidate), str(base), "m") == full
    assert find_champion(str(candidate), str(base), "m", goes_on=True) == first
    shutil.rmtree(full.path)
    assert find_champion(str(candidate), str(base), "m") is None
