"""What `recommender gc` deletes, and what it never does."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from components.errors import InputError
from pipeline.config.retention import RetentionSettings
from pipeline.failures import DONE, LOCKED, NOT_BLESSED, WRONG_INPUT
from pipeline.local import clean_up
from pipeline.local.clean_up import gc
from pipeline.local.lock import lock
from pipeline.terminal import Outcome
from serving.promotion import Promoter, files
from tests.pipeline.local.nights import Artifact, Nights

pytestmark = [pytest.mark.slow, pytest.mark.smoke]  # all wait for the disk that SQLite flushes to

ALWAYS = RetentionSettings(versions=2, runs=1, days=None, logs=3)


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    return Nights(tmp_path)


def cleaned(nights: Nights, limits: RetentionSettings = ALWAYS, dry_run: bool = False) -> Any:
    """The facts, where all went well."""
    outcome = gc(nights.config, limits, dry_run)
    assert outcome.exit_code == DONE
    return outcome.facts


def test_versions_and_runs_beyond_the_limits_go_and_what_versions_were_made_from_stays(nights: Nights) -> None:
    for number in (1, 2, 3):
        nights.night(number)
    said = cleaned(nights, dry_run=True)
    assert len(nights.there()) == 12
    assert len(list(nights.versions.iterdir())) == 3
    facts = cleaned(nights)
    # The third night is the newest run; of the second its version needs the events and the model, not the statistics.
    left = {f"{node}/out/2026-01-0{number}" for number, node in [(2, "Read"), (2, "Train"), (2, "Push")]}
    left |= {f"{node}/out/2026-01-03" for node in ("Read", "Look", "Train", "Push")}
    assert nights.there() == left
    assert {path for path, state in nights.states().items() if state == Artifact.LIVE} == left
    # No execution that is left names others, so they are gone from the metadata too.
    assert nights.states().keys() == left
    assert len(nights.store.get_executions()) == 7
    assert sorted(int(path.name) for path in nights.versions.iterdir()) == [nights.version(2), nights.version(3)]
    assert facts["freed"].keys() - {"metadata"} == said["freed"].keys()
    assert said["freed"]["Examples"] == {"count": 1, "bytes": 20_000}
    assert said["freed"]["versions"]["count"] == 1
    assert said["freed"]["temporary"]["count"] == 3
    assert facts["versions"] == {nights.version(2): "within the limits", nights.version(3): "the newest"}
    [entry] = files.read_audit(nights.versions.parent, "shop")
    assert (entry.action, entry.from_version, entry.why) == ("retire", nights.version(1), "recommender gc")
    # Nothing is left to do.
    again = cleaned(nights, ALWAYS.model_copy(update={"logs": 9}))  # each call has a log of its own
    assert (again["freed"], again["paths"]) == ({}, [])


def test_what_is_gone_is_no_hit_of_the_cache(nights: Nights) -> None:
    from tfx.orchestration.portable import cache_utils

    from pipeline.metadata import Handle, connection_config

    for number in (1, 2, 3):
        nights.night(number)
    with Handle(connection_config(nights.config)) as handle:

        def hit(run: str) -> bool:
            context = handle.store.get_context_by_type_and_name("execution_cache", f"{run}/Look")
            return context is not None and cache_utils.get_cached_outputs(handle, context) is not None

        assert hit("2026-01-01")
        assert hit("2026-01-02")
        cleaned(nights)
        assert not hit("2026-01-01")
        assert not hit("2026-01-02")
        assert hit("2026-01-03")


def test_what_is_labelled_loaded_and_rolled_back_to_stays_with_its_lineage(nights: Nights) -> None:
    for number in range(1, 7):
        nights.night(number)
    first, second, third = (nights.version(number) for number in (1, 2, 3))
    promoter = Promoter(nights.versions.parent, "shop", ())
    for version, label in ((first, "stable"), (second, "stable"), (third, "canary")):
        promoter.promote(version, label)
    facts = cleaned(nights, RetentionSettings(versions=1, runs=1, days=0.001))
    assert facts["versions"] == {
        first: "loaded",
        second: "label stable",
        third: "label canary",
        nights.version(6): "the newest",
    }
    assert {f"Train/out/2026-01-0{number}" for number in (1, 2, 3, 6)} == {
        path for path in nights.there() if path.startswith("Train")
    }
    assert promoter.rollback().to_version == first


def test_a_run_that_was_killed_goes_on_from_what_it_has(nights: Nights) -> None:
    nights.night(1)
    nights.night(2, until="Train", pushes=False)
    half = nights.root / "artifacts" / "Push" / "out" / "2026-01-02"
    checkpoint = nights.root / "checkpoints" / "0123"
    again = nights.root.parent / ".shop.reproduce" / "models"
    for folder in (half, checkpoint, again):
        folder.mkdir(parents=True)
    with lock(again.parent):  # a version is being made again
        assert str(again) not in cleaned(nights, dry_run=True)["paths"]
    cleaned(nights, RetentionSettings(versions=1, runs=1, days=None))
    # The newest run that ended stays too, and what neither says that it made is gone.
    assert {f"Train/out/2026-01-0{number}" for number in (1, 2)} <= nights.there()
    assert not half.exists()
    assert not again.exists()
    assert checkpoint.exists()
    nights.night(3)
    cleaned(nights, RetentionSettings(versions=1, runs=1, days=None))
    assert not checkpoint.exists()


def test_age_takes_versions_runs_logs_pages_and_searches(nights: Nights) -> None:
    nights.night(1)
    nights.night(2)
    (nights.versions / str(nights.version(1)) / "assets.extra" / "release.json").write_text(
        '{"time": "2026-01-01T03:00:00+00:00"}'
    )
    old = time.time() - 100 * 86_400
    stale = [nights.root / name for name in ("logs/2026-01-01.log", "compare.html", "tuning/studies.sqlite")]
    best = nights.root / "tuning" / "best.yaml"
    best.parent.mkdir()
    for path in (*stale, best):
        path.write_text("x")
        os.utime(path, (old, old))
    facts = cleaned(nights, RetentionSettings(versions=5, runs=5, days=90))
    assert not any(path.exists() for path in stale)
    assert best.exists()
    assert sorted(facts["versions"]) == [nights.version(2)]
    assert {kind: of["count"] for kind, of in facts["freed"].items() if kind != "metadata"} == {
        "versions": 1,
        "logs": 1,
        "pages": 1,
        "temporary": 2,
        "tuning": 1,
    }


def test_a_budget_takes_the_oldest_until_it_is_kept_and_says_where_it_can_t(nights: Nights) -> None:
    for number in range(1, 6):
        nights.night(number)
    budget = (nights.bytes() - 290_000) / 1e9  # a night is 100 kB, beside its log and its metadata
    outcome = gc(nights.config, RetentionSettings(versions=None, runs=None, days=None, gigabytes=budget))
    assert outcome.exit_code == DONE
    assert [outcome.facts["runs"], sorted(outcome.facts["versions"])] == [
        [f"2026-01-0{number}" for number in (4, 5)],
        [nights.version(number) for number in (4, 5)],
    ]
    outcome = gc(nights.config, RetentionSettings(versions=None, runs=None, days=None, gigabytes=0.05e-3))
    assert outcome.exit_code == NOT_BLESSED
    assert sorted(outcome.facts["versions"]) == [nights.version(5)]


def test_thirty_nights_stay_flat(nights: Nights) -> None:
    sizes = []
    for number in range(1, 31):
        nights.night(number)
        if number % 3:  # to clean up is what takes time
            continue
        cleaned(nights, RetentionSettings(versions=3, runs=2, logs=5))
        for log in (nights.root / "logs").glob("2*-*.log"):  # this command's own have the time of this test
            log.unlink()
        sizes.append(nights.bytes())
    assert max(sizes[3:]) - min(sizes[3:]) < 20_000  # the audit trail grows by a line a night
    assert len(nights.store.get_executions()) < 15


class Killed(BaseException):
    """A process that ends here."""


@pytest.mark.parametrize(
    ("place", "calls"),
    [("remove_versions", 0), ("_mark", 0), ("_mark", 1), ("remove", 0), ("remove", 3), ("delete_rows", 0)],
)
def test_a_kill_anywhere_is_mended_by_running_again(
    nights: Nights, monkeypatch: pytest.MonkeyPatch, place: str, calls: int
) -> None:
    for number in (1, 2, 3):
        nights.night(number)
    where: Any = files if place == "remove_versions" else clean_up
    original: Callable[..., Any] = getattr(where, place)
    left = [calls]

    def dies(*arguments: Any) -> Any:
        if not left[0]:
            raise Killed
        left[0] -= 1
        return original(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(where, place, dies)
        with pytest.raises(Killed):
            gc(nights.config, ALWAYS)
    live = {path for path, state in nights.states().items() if state == Artifact.LIVE}
    assert live <= nights.there()  # what the cache would take is there
    cleaned(nights)
    there = nights.there()
    assert there == {path for path, state in nights.states().items() if state == Artifact.LIVE}
    assert there == {f"{node}/out/2026-01-02" for node in ("Read", "Train", "Push")} | {
        f"{node}/out/2026-01-03" for node in ("Read", "Look", "Train", "Push")
    }
    assert cleaned(nights)["freed"].keys() <= {"logs"}


def test_it_keeps_out_of_a_run_and_of_a_promotion(nights: Nights) -> None:
    for number in (1, 2, 3):
        nights.night(number)
    with lock(nights.root):
        assert gc(nights.config, ALWAYS).exit_code == LOCKED
    with files.lock(nights.versions.parent, "promote"):
        assert gc(nights.config, ALWAYS).exit_code == LOCKED
    Promoter(nights.versions.parent, "shop", ()).promote(nights.version(3), "stable")
    entry = files.new_entry("promote", "shop", "stable", nights.version(3), nights.version(1))
    files.write_journal(nights.versions.parent, files.Journal(entry, None, "", "", "", ""))
    assert gc(nights.config, ALWAYS).exit_code == WRONG_INPUT
    assert len(list(nights.versions.glob("2*"))) == 3
    assert len(nights.there()) == 12


def test_artifacts_in_an_object_store_go_too(nights: Nights) -> None:
    store = fsspec.filesystem("memory")
    for number in (1, 2):
        store.pipe(f"/bucket/{number}/data", b"x" * 30)
        nights.night(number, until="Look")
        read = nights.store.get_artifacts_by_uri(str(nights.root / "artifacts" / "Read" / "out" / f"2026-01-0{number}"))
        read[0].uri = f"memory://bucket/{number}"
        nights.store.put_artifacts(read)
    nights.night(3)
    facts = cleaned(nights, RetentionSettings(versions=1, runs=1))
    assert not store.exists("/bucket/1")
    assert not store.exists("/bucket/2")
    assert facts["freed"]["Examples"] == {"count": 2, "bytes": 60}


def test_where_the_metadata_name_other_folders_nothing_is_touched(nights: Nights) -> None:
    nights.night(1)
    moved = nights.folder / "elsewhere" / "shop"
    moved.parent.mkdir()
    nights.root.rename(moved)
    config = nights.config.model_copy(update={"output": moved.parent})
    outcome: Outcome = gc(config, ALWAYS)
    assert outcome.exit_code == WRONG_INPUT
    assert len(list(moved.glob("artifacts/*/out/*"))) == 4


def test_without_a_run_there_is_nothing_to_clean(tmp_path: Path) -> None:
    config = Nights(tmp_path).config.model_copy(update={"output": tmp_path / "other"})
    assert gc(config, ALWAYS).exit_code == WRONG_INPUT
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't be written"):
        gc(config.model_copy(update={"output": tmp_path / "file"}), ALWAYS)


@pytest.mark.parametrize("said", ['{"time": "yesterday"}', '{"time": 7}', "{}"])
def test_a_version_that_tells_no_time_is_as_old_as_its_folder(tmp_path: Path, said: str) -> None:
    (tmp_path / "1" / "assets.extra").mkdir(parents=True)
    (tmp_path / "1" / "assets.extra" / "release.json").write_text(said)
    os.utime(tmp_path / "1", (7, 7))
    assert clean_up._published(tmp_path / "1") == 7
