"""Whether a version can be made again; tests/e2e/test_run.py asks it of one that a run has pushed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from components.errors import InputError
from components.pusher.origin import ORIGIN, origin
from components.tables.reading import digests, find_files
from pipeline.code import digest
from pipeline.config import Config
from pipeline.failures import DONE, NOT_BLESSED
from pipeline.local import reproduce as module
from pipeline.local.lock import lock
from pipeline.local.reproduce import config_of, find_differences, lay_out, reproduce
from pipeline.pipeline import NO_PART
from pipeline.terminal import Outcome

VERSION = "20260102030405"


class Made:
    """A version in a base path, and the log that it was made from, one file a day."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.days = [folder / "log" / f"dt=2026-01-0{day}" / "events.csv" for day in (1, 2)]
        for day in self.days:
            day.parent.mkdir(parents=True)
            day.write_text("user_id,item_id,timestamp\na,b,1\n")
        self.config = Config.model_validate(
            {
                "name": "shop",
                "output": str(folder / "output"),
                "serving": {"base_path": str(folder / "models")},
                "data": {"interactions": {"path": str(folder / "log")}},
                "model": {"dim": 8},
            }
        )
        self.version = folder / "models" / "shop" / VERSION
        self.publish(self.version, "same")

    def publish(self, version: Path, fingerprint: str) -> None:
        (version / "assets.extra").mkdir(parents=True)
        (version / "saved_model.pb").touch()
        (version / "assets.extra" / "recommender.json").write_text(json.dumps({"fingerprint": fingerprint}))
        (version / ORIGIN).write_text(origin(self.record(), {"interactions": self.files()}))

    def record(self) -> dict[str, Any]:
        modules = ["components.hashing"]
        return {
            "config": self.config.model_dump(mode="json", exclude=NO_PART),
            "code": {"Trainer": {"modules": modules, "digest": digest(*modules)}},
            "parameters": [],
            "reindexed": False,
        }

    def files(self) -> list[dict[str, Any]]:
        found = find_files(str(self.folder / "log"), "auto", "log")
        return [{"path": file.path, "bytes": file.size, "digest": each} for file, each in zip(found, digests(found))]

    def said(self, **changes: Any) -> dict[str, Any]:
        """What the version says, with changes."""
        return {**json.loads((self.version / ORIGIN).read_text()), **changes}

    def differences(self, **changes: Any) -> list[tuple[str, str, bool]]:
        return [(found.what, found.name, found.stops) for found in find_differences(self.said(**changes))]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def test_where_all_is_as_it_was_nothing_differs(made: Made) -> None:
    assert made.differences() == []
    outcome = reproduce(made.config, VERSION, check=True)
    assert (outcome.exit_code, outcome.facts["reproducible"], outcome.facts["same"]) == (DONE, True, None)
    (made.folder / "log" / "dt=2026-01-03").mkdir()
    (made.folder / "log" / "dt=2026-01-03" / "events.csv").write_text("later days are no difference")
    assert made.differences() == []


def test_each_file_that_is_not_what_it_was_is_named(made: Made) -> None:
    first, second = map(str, made.days)
    text = made.days[0].read_text()
    made.days[0].write_text(text + "a,c,2\n")
    assert made.differences() == [], "a log that has grown has its beginning still"
    made.days[0].write_text(text.replace("b", "x"))
    made.days[1].unlink()
    assert made.differences() == [("file", first, True), ("file", second, True)]
    assert reproduce(made.config, VERSION).exit_code == NOT_BLESSED
    unsure = [{**file, "digest": ""} for file in made.said()["files"]["interactions"]]
    assert made.differences(files={"interactions": unsure[:1]}) == [("file", first, False)]


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"reindexed": True}, ("run", "reindex", True)),
        ({"went_on": True}, ("run", "incremental", True)),
        ({"parameters": ["epochs"]}, ("run", "parameter epochs", False)),
        ({"files": {}}, ("run", "files", True)),
        ({"config": {"name": "shop", "data": {"interactions": {"path": "x"}}, "n": 1}}, ("config", "n", True)),
        ({"code": {"Trainer": {"modules": ["components.hashing"], "digest": "f0" * 32}}}, ("code", "Trainer", False)),
        ({"code": {"Gone": {"modules": ["components.gone"], "digest": "f0" * 32}}}, ("code", "Gone", False)),
    ],
)
def test_what_else_differs(made: Made, changes: Mapping[str, Any], found: tuple[str, str, bool]) -> None:
    assert made.differences(**changes) == [found]


def test_packages_python_and_machine_are_compared(made: Made) -> None:
    surroundings = made.said()["surroundings"]
    surroundings["python"] = "2.7.18"
    surroundings["packages"] |= {"numpy": "0.1", "lost": "1.0"}
    surroundings["machine"]["cores"] = "1000"
    assert made.differences(surroundings=surroundings) == [
        ("python", "", False),
        ("package", "lost", False),
        ("package", "numpy", False),
        ("machine", "cores", False),
    ]


def test_a_version_of_before_says_so(made: Made) -> None:
    (made.version / ORIGIN).unlink()
    with pytest.raises(InputError, match="doesn't say what it was made by"):
        reproduce(made.config, VERSION)
    with pytest.raises(InputError, match="neither a version"):
        reproduce(made.config, "1")
    (made.version / ORIGIN).write_text('{"format": 9}')
    with pytest.raises(InputError, match="of format 9, and this program knows 1"):
        reproduce(made.config, VERSION)


@pytest.mark.parametrize(("fingerprint", "code"), [("same", DONE), ("another", NOT_BLESSED), (None, NOT_BLESSED)])
def test_it_is_made_in_a_folder_of_its_own_and_compared(
    made: Made, monkeypatch: pytest.MonkeyPatch, fingerprint: str | None, code: int
) -> None:
    scratch = made.folder / "output" / ".shop.reproduce"
    (scratch / "models" / "killed").mkdir(parents=True)
    ran: list[Config] = []

    def run(config: Config, accept: str) -> Outcome:
        ran.append(config)
        assert accept
        assert not (scratch / "models").exists()
        pushed = config.serving.base_path / "shop" / "20260102030406"
        if fingerprint is not None:
            made.publish(pushed, fingerprint)
        return Outcome(0, {"pushed": {"path": str(pushed)} if fingerprint else None, "breaches": []})

    monkeypatch.setattr(module, "run", run)
    outcome = reproduce(made.config, VERSION)
    assert (outcome.exit_code, outcome.facts["reproduced"]) == (code, fingerprint)
    assert outcome.facts["out"] == (None if code == DONE else scratch)
    assert sorted(path.name for path in scratch.iterdir() if path.is_dir()) == (
        [] if code == DONE else ["data", "models"][: 1 + bool(fingerprint)]
    )
    [config] = ran
    assert (config.model.dim, config.output, config.serving.base_path) == (8, scratch, scratch / "models")
    with lock(scratch), pytest.raises(Exception, match="another run"):
        reproduce(made.config, VERSION)


def test_the_config_reads_the_files_of_then_and_no_others(made: Made) -> None:
    later = made.folder / "log" / "dt=2026-01-03" / "events.csv"
    later.parent.mkdir()
    later.write_text("later")
    made.days[1].write_text(made.days[1].read_text() + "grown")
    scratch = made.folder / "scratch"
    config = config_of(made.said(), scratch)
    read = find_files(config.data.interactions.path, "auto", "log")
    assert [file.path for file in read] == [
        str(scratch / "data" / "interactions" / f"dt=2026-01-0{day}" / "events.csv") for day in (1, 2)
    ]
    assert digests(read) == [file["digest"] for file in made.said()["files"]["interactions"]]
    assert Path(read[0].path).is_symlink()


def test_folders_that_tell_a_column_are_kept_and_one_file_is_named_itself(tmp_path: Path) -> None:
    only = tmp_path / "log" / "dt=2026-01-01" / "a.csv"
    only.parent.mkdir(parents=True)
    only.write_text("x")
    laid = lay_out([{"path": str(only), "bytes": 1}], tmp_path / "out")
    assert laid == str(tmp_path / "out" / "dt=2026-01-01" / "a.csv")
    assert lay_out([{"path": "s3://bucket/a.csv", "bytes": 1}], tmp_path / "out") is None
