"""An output in an object store: several machines, kills at any write, bad lines, and what is deleted."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import itertools
import sqlite3
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tfx.orchestration.pipeline import Pipeline

from components import suppression
from components.errors import LockedError
from pipeline.config import Config
from pipeline.config.retention import RetentionSettings
from pipeline.failures import FAILED, LOCKED, WRONG_INPUT, explain
from pipeline.local import mirror
from pipeline.local.clean_up import gc
from pipeline.local.mirror import METADATA
from pipeline.local.output import keep_some, refresh, working
from pipeline.local.run import at_terminal
from pipeline.local.runner import run_pipeline
from pipeline.metadata import connection_config
from pipeline.terminal import Outcome, Terminal
from serving import stores
from serving.stores import ObjectPath, StoreError, leased
from tests.components.conftest import generations as generations
from tests.components.conftest import gs as gs
from tests.components.conftest import killer as killer
from tests.components.conftest import s3 as s3
from tests.components.stores import Killed, Proxy, Request, enter, new_bucket
from tests.e2e.world import wait_for
from tests.pipeline.local.dag import First, Second, Third
from tests.pipeline.local.nights import Nights

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

DONE, CACHED = (
    {"First": "done", "Second": "done", "Third": "done"},
    dict.fromkeys(("First", "Second", "Third"), "cached"),
)


@dataclasses.dataclass(frozen=True)
class Machine:
    """A machine with a folder of its own for what lies in stores."""

    work: Path
    patches: pytest.MonkeyPatch

    def folder(self, place: ObjectPath) -> Path:
        """The folder of a pipeline."""
        self.patches.setenv("RECOMMENDER_WORK", str(self.work))
        return config_of(place).folder()

    @contextlib.contextmanager
    def at_work(self, place: ObjectPath) -> Iterator[Any]:
        """Keeps others out."""
        folder = self.folder(place)
        folder.mkdir(parents=True, exist_ok=True)
        with working(config_of(place), folder) as keep:
            yield keep

    def run(self, place: ObjectPath, text: str = "a") -> dict[str, str]:
        """Runs the DAG; returns states by node."""
        with self.at_work(place) as keep:
            one = First(text=text)
            two = Second(source=one.outputs["out"])
            three = Third(source=two.outputs["out"])
            root = str(self.folder(place) / "artifacts")
            pipeline = Pipeline("shop", root, components=[one, two, three], enable_cache=True)
            console = Console(file=io.StringIO())
            results = run_pipeline(pipeline, connection_config(config_of(place)), Terminal(console), keep=keep)
            assert Path(results["Third"].outputs["out"].uri).read_text() == text * 4
        return {name: result.state for name, result in results.items()}


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """One machine after the other."""
    return (Machine(tmp_path / f"machine {number} of jörg", monkeypatch) for number in itertools.count())


@pytest.fixture(autouse=True)
def _no_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "_LOOK_SECONDS", 1e6)
    monkeypatch.setattr(stores, "LEASE_SECONDS", 3600.0)


@pytest.fixture
def place(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> ObjectPath:
    """The place of a pipeline in an empty bucket."""
    enter(s3, monkeypatch)
    return new_place("s3")


def new_place(kind: str) -> ObjectPath:
    return new_bucket(kind) / "runs" / "shop"


def config_of(place: ObjectPath) -> Config:
    return Config.model_validate(
        {"name": place.name, "output": str(place.parent), "data": {"interactions": {"path": "log.csv"}}}
    )


def artifacts(place: ObjectPath, folder: Path) -> dict[str, bool]:
    """URIs of artifacts as the store's metadata have them, and whether they are to be there."""
    copy = folder / f"{uuid.uuid4().hex}.sqlite"
    try:
        copy.write_bytes((place / METADATA).read_bytes())
    except FileNotFoundError:
        return {}
    with contextlib.closing(sqlite3.connect(copy)) as database:
        return {uri: state not in (3, 4) for uri, state in database.execute("SELECT uri, state FROM Artifact")}


def check_whole(place: ObjectPath, folder: Path) -> int:
    """Makes sure that each artifact of the metadata is there; returns how many."""
    found = artifacts(place, folder)
    for uri, stays in found.items():
        assert uri.startswith(f"{place}/artifacts/")
        assert not stays or ObjectPath(uri).exists(), uri
    return len(found)


def test_another_machine_has_all_from_the_cache(place: ObjectPath, machines: Iterator[Machine], tmp_path: Path) -> None:
    one, two = next(machines), next(machines)
    assert one.run(place) == DONE
    assert check_whole(place, tmp_path) == 3
    assert two.run(place) == CACHED
    assert two.folder(place) != one.folder(place)
    assert two.run(place, "b") == DONE
    assert one.run(place, "b") == CACHED
    assert check_whole(place, tmp_path) == 6


def test_googles_store(
    generations: dict[str, str], machines: Iterator[Machine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(generations, monkeypatch)
    place = new_place("gs")
    assert next(machines).run(place) == DONE
    assert check_whole(place, tmp_path) == 3
    assert next(machines).run(place) == CACHED


def test_a_kill_at_any_write_leaves_the_state_before_or_after(
    s3: dict[str, str],
    machines: Iterator[Machine],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    killer: dict[str, int],
) -> None:
    enter(s3, monkeypatch)
    before, done = 0, False
    for writes in itertools.count():
        place, killed = new_place("s3"), next(machines)
        killer["left"] = writes
        with contextlib.suppress(Killed):
            killed.run(place)
            done = True
        killer["left"] = 1 << 30
        there = check_whole(place, tmp_path)
        assert there in (before, before + 1)
        before = there
        (place / ".lock").unlink()  # or it would have to run out
        if writes % 2:
            states = next(machines).run(place)
            assert list(states.values()) == ["cached"] * there + ["done"] * (3 - there)
            names = [name for name in place.files() if name.startswith("artifacts/")]
            assert len(names) == check_whole(place, tmp_path) == 3, "what the killed one left is gone"
        if writes in (5, 6):  # in the middle; the machine itself goes on in what it has, or in what another one did
            assert killed.run(place) == CACHED if writes == 5 else set(killed.run(place)) == set(CACHED)
        if done:
            break
    assert writes >= 2 + 3 * 2 + 1, "the lease, and a look whether it is one; a file and the metadata a node; its end"


@pytest.mark.parametrize("fate", ["lose", "twice", "late", "cut", "503"])
def test_metadata_over_a_bad_line(
    s3: dict[str, str], machines: Iterator[Machine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fate: str
) -> None:
    with Proxy(s3["AWS_ENDPOINT_URL"]) as proxy:
        enter({**s3, "AWS_ENDPOINT_URL": proxy.url}, monkeypatch)
        place, writes = new_place("s3"), 0

        def every_other(asked: Request) -> str:
            nonlocal writes
            if asked.method != "PUT" or METADATA not in asked.path:
                return "pass"
            writes += 1
            return fate if writes % 2 else "pass"

        proxy.fate = every_other
        assert next(machines).run(place) == DONE
        assert proxy.fates.count(fate) >= 2
        assert check_whole(place, tmp_path) == 3


def test_a_store_that_refuses_the_metadata_keeps_the_old_ones(
    s3: dict[str, str], machines: Iterator[Machine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = next(machines), next(machines)
    with Proxy(s3["AWS_ENDPOINT_URL"]) as proxy:
        enter({**s3, "AWS_ENDPOINT_URL": proxy.url}, monkeypatch)
        place, writes = new_place("s3"), 0

        def second(asked: Request) -> str:
            nonlocal writes
            writes += asked.method == "PUT" and METADATA in asked.path
            return "403" if writes == 2 and asked.method == "PUT" and METADATA in asked.path else "pass"

        proxy.fate = second
        with pytest.raises(StoreError, match=rf"{place}/{METADATA}: ") as raised:
            one.run(place)
        assert explain(raised.value).exit_code == FAILED
        assert check_whole(place, tmp_path) == 1
        proxy.fate = lambda asked: "pass"
        assert two.run(place) == {"First": "cached", "Second": "done", "Third": "done"}
        # What the first one has of its own, under the same names, is not mixed in.
        assert one.run(place) == CACHED


def test_two_machines_exclude_each_other(place: ObjectPath, machines: Iterator[Machine]) -> None:
    one, two = next(machines), next(machines)
    with one.at_work(place):
        for machine, where in ((two, place), (one, one.folder(place))):
            with pytest.raises(LockedError, match=rf"{where}: another run is at work here \(process ") as raised:
                machine.run(place)
            assert explain(raised.value).exit_code == LOCKED
    assert two.run(place) == DONE


def test_a_lease_that_is_lost_ends_the_work(
    place: ObjectPath, machines: Iterator[Machine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = next(machines)
    one.run(place)
    monkeypatch.setattr(stores, "_RENEWED", 1e-4)  # several times a second

    def work() -> None:
        with one.at_work(place) as keep:
            (place / ".lock").write_bytes(b"{}")  # somebody has taken it and is through
            (one.folder(place) / "logs").mkdir(exist_ok=True)
            for number in itertools.count():
                (one.folder(place) / "logs" / "1.log").write_text("x" * number)
                keep()
                time.sleep(0.1)

    with pytest.raises(StoreError, match=r"/\.lock: this lock could not be renewed") as raised:
        work()
    assert explain(raised.value).exit_code == FAILED
    assert check_whole(place, tmp_path) == 3


def test_checkpoints_and_searches_go_up_as_they_are_written(
    place: ObjectPath, machines: Iterator[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "_LOOK_SECONDS", 0.02)
    one, two = next(machines), next(machines)
    with contextlib.suppress(Killed), one.at_work(place):
        folder = one.folder(place)
        (folder / "checkpoints" / "a1").mkdir(parents=True)
        (folder / "tuning").mkdir()
        with contextlib.closing(sqlite3.connect(folder / "tuning" / "studies.sqlite")) as database:
            database.execute("CREATE TABLE trials (number)")
            for content in (b"one pass", b"two passes"):
                (folder / "checkpoints" / "a1" / "training.npz").write_bytes(content)
                database.execute("INSERT INTO trials VALUES (1)")
                database.commit()
                there = place / "checkpoints/a1/training.npz"
                wait_for(lambda: there.is_file() and there.read_bytes() == content, "its upload")  # noqa: B023
            wait_for((place / "tuning/studies.sqlite").is_file, "its upload")
        raise Killed
    with two.at_work(place):
        there = two.folder(place)
        assert (there / "checkpoints" / "a1" / "training.npz").read_bytes() == b"two passes"
        with contextlib.closing(sqlite3.connect(there / "tuning" / "studies.sqlite")) as database:
            assert database.execute("SELECT count(*) FROM trials").fetchone() == (2,)
        (there / "checkpoints" / "a1" / "training.npz").unlink()  # the training is done
    assert [name for name in place.files() if name.startswith("checkpoints/")] == []
    with one.at_work(place):
        assert not (one.folder(place) / "checkpoints" / "a1" / "training.npz").exists()


def test_what_gc_deletes_goes_from_the_store_and_from_other_machines(
    place: ObjectPath, machines: Iterator[Machine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = next(machines), next(machines)
    one.folder(place)
    nights = Nights(tmp_path, str(place.parent))
    with one.at_work(place):
        for number in (1, 2, 3):
            nights.night(number)
    refresh_at(two, place)
    assert len([*two.folder(place).glob("artifacts/*/out/*")]) == 12
    one.folder(place)
    outcome = gc(nights.config, RetentionSettings(versions=1, runs=1, days=None, logs=1))
    assert outcome.facts is not None
    left = {f"{node}/out/2026-01-03/data" for node in ("Read", "Look", "Train", "Push")}
    assert {name[len("artifacts/") :] for name in place.files() if name.startswith("artifacts/")} == left
    assert set(artifacts(place, tmp_path)) == {f"{place}/artifacts/{name[: -len('/data')]}" for name in left}
    assert len([name for name in place.files() if name.startswith("logs/2026")]) <= 1
    refresh_at(two, place)
    here = two.folder(place) / "artifacts"
    assert {str(path.relative_to(here)) for path in here.rglob("data")} == left


def refresh_at(machine: Machine, place: ObjectPath) -> None:
    machine.folder(place)
    refresh(config_of(place))


def test_what_is_read_is_fetched_though_somebody_is_at_work(place: ObjectPath, machines: Iterator[Machine]) -> None:
    one, two = next(machines), next(machines)
    one.run(place)
    with one.at_work(place):
        refresh_at(two, place)
    assert len([*two.folder(place).glob("artifacts/*/out/*/value")]) == 3
    assert (two.folder(place) / METADATA).is_file()


def test_a_nights_own_files(place: ObjectPath, machines: Iterator[Machine]) -> None:
    one, two = next(machines), next(machines)
    folder = one.folder(place)
    (folder / "feedback").mkdir(parents=True)
    (folder / "nights.jsonl").write_text("a night")
    (folder / "feedback" / "feedback.json").write_text("{}")
    names = ("nights.jsonl", "feedback")
    with leased(place / ".nightly.lock", {}) as lease:
        keep_some(config_of(place), lease, names)
    folder = two.folder(place)
    refresh(config_of(place), names)
    assert (folder / "nights.jsonl").read_text() == "a night"
    assert (folder / "feedback" / "feedback.json").read_text() == "{}"


def test_who_is_forgotten_stands_in_the_store_at_once(place: ObjectPath) -> None:
    path = str(config_of(place).suppression())
    assert path == f"{place}/suppression.json"
    assert suppression.read(path) is None
    suppression.add(path, ["ann"])
    found = suppression.add(path, ["bob"])
    assert suppression.read(path) == found
    assert [found.has(name) for name in ("ann", "bob", "eve")] == [True, True, False]


def test_what_stores_and_disks_refuse(
    place: ObjectPath, machines: Iterator[Machine], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    one, two = next(machines), next(machines)
    one.run(place)

    def nothing(root: Path, terminal: Terminal) -> Outcome:
        with working(config, root):
            return Outcome(facts={})

    nobodys = ObjectPath("s3://nobodys/runs/shop")
    config = config_of(nobodys)
    with pytest.raises(ValueError, match=rf"{nobodys}: can't be written: .*bucket does not exist"):
        at_terminal(config, nothing)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    config = config_of(place)
    two.folder(place)
    with monkeypatch.context() as patched, stores.opened(str(place)) as (store, _):
        patched.setattr(store, "get_file", full)
        outcome = at_terminal(config, nothing)
    assert outcome.exit_code == WRONG_INPUT
    said = " ".join(capfd.readouterr().out.split())
    assert f"the disk is full under {config.folder()}; free some space" in said
    assert "RECOMMENDER_WORK=DIR" in said
    assert at_terminal(config, nothing).exit_code == 0
