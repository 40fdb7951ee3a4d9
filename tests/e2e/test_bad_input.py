"""Every wrong input ends with exit code 2 and one message that names the culprit and the fix, and pushes nothing.

After it is mended, the same root runs.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import pytest

from tests.e2e.conftest import Small
from tests.e2e.world import NAME, Ended, recommender, run, versions, write_config, write_table

LOG = "data/interactions.csv"
ITEMS = "data/items.csv"


def lines(folder: Path, name: str) -> list[str]:
    """A file's lines."""
    return (folder / name).read_text(encoding="utf-8").split("\n")


def replace(folder: Path, name: str, changed: list[str]) -> None:
    """Writes them back."""
    (folder / name).write_text("\n".join(changed), encoding="utf-8")


def edit_rows(folder: Path, name: str, edit: Callable[[list[str]], list[str]], rows: Optional[slice] = None) -> None:
    """Edits the cells of some rows of a file of ours, whose ids are quoted where they need it."""
    import csv

    with open(folder / name, encoding="utf-8", newline="") as file:
        header, *table = csv.reader(file)
    chosen = rows or slice(None)
    table[chosen] = [edit(row) for row in table[chosen]]
    write_table(folder / name, header, table)


@dataclass(frozen=True)
class Case:
    """A fault, and the words that its message must have."""

    name: str
    spoil: Callable[[Path], Any]
    words: tuple[str, ...]
    node: str = "InteractionGen"
    """The node whose input it is."""
    at_once: bool = False
    """Whether it is found before any node has run."""


def remove_column(folder: Path) -> None:
    replace(folder, LOG, [lines(folder, LOG)[0].replace("item_id", "itemid"), *lines(folder, LOG)[1:]])


def latin_1(folder: Path) -> None:
    rows = [f"Jürgen {number % 40},Käse {number % 30},{1_700_000_000 + number},3" for number in range(500)]
    (folder / LOG).write_bytes("\n".join(["user_id,item_id,timestamp,rating", *rows]).encode("latin-1"))


def double_items(folder: Path) -> None:
    replace(folder, ITEMS, [*lines(folder, ITEMS)[:-1], lines(folder, ITEMS)[5], ""])


CASES = (
    Case("missing file", lambda f: (f / LOG).unlink(), ("interactions", LOG, "no file"), at_once=True),
    Case("empty file", lambda f: (f / LOG).write_bytes(b""), (LOG, "is empty"), at_once=True),
    Case("header only", lambda f: replace(f, LOG, [lines(f, LOG)[0], ""]), (LOG, "no rows")),
    Case("missing column", remove_column, (LOG, "no column 'item_id'", "did you mean 'itemid'?"), at_once=True),
    Case(
        "text for a time",
        lambda f: edit_rows(f, LOG, lambda row: [*row[:2], "yesterday", row[3]]),
        (LOG, "timestamp is not a time", ",yesterday,", "rows 2, 3", "max_rejected_fraction"),
    ),
    Case(
        "text for a rating",
        lambda f: edit_rows(f, LOG, lambda row: [*row[:3], "good"]),
        (LOG, "rating is not a number", ",good", "rows 2, 3", "max_rejected_fraction"),
    ),
    Case("Latin-1", latin_1, (LOG, "UTF-8", "rows 2, 3", "mend the data")),
    Case(
        "missing users",
        lambda f: (f / "data/users.csv").unlink(),
        ("users", "data/users.csv", "no file"),
        at_once=True,
    ),
    Case(
        "users of another log",
        lambda f: edit_rows(f, "data/users.csv", lambda row: [f"x{row[0]}", *row[1:]]),
        ("data/users.csv", "lists none of the log's users", "users.id"),
    ),
    Case("duplicate items", double_items, (ITEMS, "must be unique", "' leading' (rows 6, 62)"), "CatalogueGen"),
    Case(
        "catalogue of another shop",
        lambda f: edit_rows(f, ITEMS, lambda row: [f"sku {row[0]}", *row[1:]]),
        (ITEMS, "catalogue without the items of the log", "60 of 60 items", "item_id"),
        "CatalogueGen",
    ),
    Case(
        "text for a price",
        lambda f: edit_rows(f, ITEMS, lambda row: [*row[:4], "cheap"]),
        (ITEMS, "price", "cheap", "max_rejected_fraction"),
        "CatalogueGen",
    ),
)


def assert_refused(ended: Ended, folder: Path, words: tuple[str, ...]) -> None:
    """One message, no traceback, exit code 2, nothing pushed."""
    assert ended.code == 2, ended.text
    assert ended.text.count("error: ") == 1, ended.text
    message = ended.text.partition("error: ")[2]
    for word in words:
        assert word in message, f"{word!r} is not in: {message}"
    assert "Traceback" not in ended.text
    assert "the whole story" not in ended.text
    assert versions(folder) == []


@contextlib.contextmanager
def spoiled(folder: Path, tmp_path_factory: pytest.TempPathFactory, spoil: Callable[[Path], Any]) -> Iterator[None]:
    """Data and config are spoiled inside the block and mended after it."""
    copy = tmp_path_factory.mktemp("good")
    shutil.copytree(folder / "data", copy / "data")
    shutil.copy(folder / "config.yaml", copy)
    spoil(folder)
    yield
    shutil.rmtree(folder / "data")
    shutil.copytree(copy, folder, dirs_exist_ok=True)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_data(
    case: Case, folder: Path, cli: Callable[..., Ended], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with spoiled(folder, tmp_path_factory, case.spoil):
        ended = cli(folder, "run", "--config", "config.yaml")
        assert_refused(ended, folder, case.words)
        if case.at_once:
            assert ended.states() == {}
        else:
            assert ended.states()[case.node] == "failed"
    mended = cli(folder, "run", "--config", "config.yaml", "--only", case.node)
    assert mended.code == 0, mended.text
    assert mended.states()[case.node] == "done"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("data.interactions.min_user_events=1000", (LOG, "no training event is left", "user")),
        (
            "data.interactions.cutoff=2100-01-01",
            (LOG, "evaluation split is empty", "the cutoff is after the last event"),
        ),
        ("data.interactions.cutoff=1999-01-01", (LOG, "no training event is left")),
        ("data.interactions.split={eval_fraction: 0.0001}", (LOG, "evaluation split is empty", "split.eval_fraction")),
        ("data.interactions.delimiter=';'", (LOG, "no column", "its delimiter looks like ','")),
        ("data.interactions.cutoff=tomorrow", ("cutoff 'tomorrow' is no ISO 8601 time",)),
    ],
)
def test_settings_that_do_not_fit_the_data(
    setting: str, words: tuple[str, ...], folder: Path, cli: Callable[..., Ended]
) -> None:
    ended = cli(folder, "run", "--config", "config.yaml", "--set", setting)
    assert_refused(ended, folder, words)
    mended = cli(folder, "run", "--config", "config.yaml", "--only", "InteractionGen")
    assert mended.code == 0, mended.text


@pytest.mark.slow
def test_few_bad_rows_are_counted_and_the_run_goes_on(folder: Path, cli: Callable[..., Ended]) -> None:
    edit_rows(folder, LOG, lambda row: [*row[:2], "yesterday", row[3]], slice(0, 3))
    edit_rows(folder, LOG, lambda row: [*row[:3], "good"], slice(3, 5))
    edit_rows(folder, LOG, lambda row: ["", *row[1:]], slice(5, 6))
    content = (folder / LOG).read_bytes().split(b"\n")
    content[8] = b"J\xfcrgen,item-1,1700000000,3"
    (folder / LOG).write_bytes(b"\n".join(content))
    ended = cli(folder, "run", "--config", "config.yaml", "--only", "InteractionGen")
    assert ended.code == 0, ended.text
    [line] = ended.lines
    rejected = line.summary.partition("rejected ")[2]
    assert rejected.startswith("7 (")
    for words in ("3 timestamp is not a time", "2 rating is not a number", "1 user_id is missing", "is not UTF-8"):
        assert words in rejected, rejected


@pytest.mark.slow
def test_unknown_node_names_the_nodes(folder: Path, cli: Callable[..., Ended]) -> None:
    for option in ("--only", "--from"):
        ended = cli(folder, "run", "--config", "config.yaml", option, "Traner")
        assert_refused(ended, folder, (f"{option} Traner", "did you mean Trainer?", "InteractionGen, ", "Pusher"))
    both = cli(folder, "run", "--config", "config.yaml", "--only", "Trainer", "--from", "Trainer")
    assert_refused(both, folder, ("--from and --only exclude each other",))


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model.dmi": 8}, ("config.yaml", "model.dmi", "unknown key", "did you mean 'dim'?")),
        ({"data.interactions.columns.user": "u"}, ("data.interactions.columns.user", "unknown key", "user_id")),
        ({"trainig": {"epochs": 2}}, ("trainig", "did you mean 'training'?")),
        ({"model.dim": "wide"}, ("config.yaml", "model.dim", "integer", "'wide'")),
        ({"training.epochs": 0}, ("training.epochs", "greater than or equal to 1", "0")),
        ({"data.interactions.rating_range": [5, 1]}, ("data.interactions", "lowest and the highest")),
        ({"data.catalogue.display": "{title"}, ("data.catalogue.display",)),
        ({"data.interactions.features": {"user_id": {"type": "category"}}}, ("user_id", "reserved")),
        ({"name": "two words"}, ("config.yaml", "name", "two words")),
        ({"data.interactions": {}}, ("data.interactions.path: missing",)),
        ({"evaluation.thresholds": {"hit_rate@7": {"min": 0.1}}}, ("evaluation", "'hit_rate@7' is not measured")),
        ({"data.dataset": "movilens-100k"}, ("movilens-100k", "movielens-100k")),
        ({"serving.base_path": "hdfs://b/models"}, ("serving.base_path", "hdfs://b/models", "local or mounted")),
        ({"output": "hdfs://host/output"}, ("output", "hdfs://host/output", "local or mounted")),
        ({"serving.port": 99999}, ("serving.port", "65535", "99999")),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_config(changes: dict[str, Any], words: tuple[str, ...], folder: Path, cli: Callable[..., Ended]) -> None:
    write_config(folder / "config.yaml", changes)
    assert_refused(cli(folder, "run", "--config", "config.yaml"), folder, words)
    assert_refused(cli(folder, "validate", "--config", "config.yaml"), folder, words)
    write_config(folder / "config.yaml")
    assert cli(folder, "validate", "--config", "config.yaml").code == 0


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"name: [small", ("config.yaml", "not valid YAML", "line 1")),
        (b"\tname: small", ("config.yaml", "not valid YAML", "line 1")),
        (b"just words", ("config.yaml", "expected keys and values, found text")),
        (b"", ("config.yaml", "expected keys and values")),
        (b"name: sm\xfcll", ("config.yaml", "can't be read", "utf-8")),
        (None, ("config.yaml", "no such config file", "--config")),
    ],
)
def test_config_that_is_none(content: Optional[bytes], words: tuple[str, ...], folder: Path) -> None:
    """As real processes, which end before TensorFlow is imported."""
    (folder / "config.yaml").unlink()
    if content is not None:
        (folder / "config.yaml").write_bytes(content)
    ended = run(folder, plain=True)
    assert_refused(ended, folder, words)
    assert ended.seconds < 10


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.dim", ("--set 'model.dim'", "expected key=value")),
        ("=5", ("--set '=5'", "expected key=value")),
        ("model.dim=[8", ("--set 'model.dim=[8'", "not valid YAML")),
        ("name.first=x", ("--set 'name.first=x'", "'name' has no keys")),
        ("model.dimm=8", ("model.dimm", "did you mean 'dim'?")),
    ],
)
def test_bad_override(override: str, words: tuple[str, ...], folder: Path, cli: Callable[..., Ended]) -> None:
    assert_refused(cli(folder, "run", "--config", "config.yaml", "--set", override), folder, words)


@pytest.mark.slow
@pytest.mark.smoke
def test_missing_file_as_a_user_meets_it(folder: Path) -> None:
    """`validate` finds it without TensorFlow, so in seconds."""
    (folder / LOG).unlink()
    ended = recommender(folder, "validate", "--config", "config.yaml")
    assert_refused(ended, folder, ("interactions", LOG, "no file"))


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("key", ["serving.base_path", "output"])
def test_place_that_is_a_file(key: str, folder: Path, cli: Callable[..., Ended]) -> None:
    (folder / "taken").write_text("a file", encoding="utf-8")
    ended = cli(folder, "run", "--config", "config.yaml", "--set", f"{key}=taken")
    assert_refused(ended, folder, ("taken", "can't be written"))
    assert (folder / "taken").read_text(encoding="utf-8") == "a file"
    assert cli(folder, "validate", "--config", "config.yaml").code == 0


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("key", ["serving.base_path", "output"])
def test_place_that_takes_no_files(key: str, folder: Path, cli: Callable[..., Ended]) -> None:
    ended = cli(folder, "run", "--config", "config.yaml", "--set", f"{key}=/proc/recommender")
    assert_refused(ended, folder, ("/proc/recommender", "can't be written"))


@pytest.mark.slow
@pytest.mark.smoke
def test_read_only_place(folder: Path, mount: Callable[..., Path]) -> None:
    place = mount("ro", "ro")
    ended = run(folder, "--set", f"serving.base_path={place}")
    assert_refused(ended, folder, (str(place), "can't be written", "Read-only file system"))


@pytest.fixture
def mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Path]]:
    """Mounts small file systems: mount(name, options)."""
    mounted: list[Path] = []

    def make(name: str, options: str) -> Path:
        place = tmp_path_factory.mktemp(name)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"can't mount a small file system here: {done.stderr.strip()}")
        mounted.append(place)
        return place

    if not shutil.which("mount"):
        pytest.skip("there is no mount command here")
    yield make
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=False)


def fill(place: Path, leave: int) -> Path:
    """Writes a file that leaves so many bytes free."""
    ballast = place / "ballast"
    free = shutil.disk_usage(place).free
    ballast.write_bytes(b"\0" * max(free - leave, 0))
    return ballast


@pytest.mark.slow
@pytest.mark.parametrize("leave", [0, 800_000], ids=["from the start", "on the way"])
def test_disk_full_for_artifacts(leave: int, folder: Path, mount: Callable[..., Path]) -> None:
    place = mount("output", "size=8m")
    ballast = fill(place, leave)
    ended = run(folder, "--set", f"output={place}")
    assert ended.code == 2, ended.text
    assert "disk is full" in ended.text or "No space left on device" in ended.text
    assert str(place) in ended.text
    assert "free" in ended.text
    assert "Traceback" not in ended.text
    assert versions(folder) == []
    ballast.unlink()
    again = run(folder, "--set", f"output={place}", "--only", "CatalogueGen")
    assert again.code == 0, again.text
    kept = "InteractionGen" in ended.states()
    assert again.states()["InteractionGen"] == ("cached" if kept else "done")
    assert kept == bool(leave)


@pytest.mark.slow
def test_disk_full_for_versions(small: Small, mount: Callable[..., Path]) -> None:
    """What is trained is not lost: with space it is pushed."""
    place = mount("models", "size=2m")
    ballast = fill(place, 100_000)
    ended = run(small.folder, "--set", f"serving.base_path={place}")
    assert ended.code == 2, ended.text
    assert ended.states()["Trainer"] == "cached"
    assert ended.states()["Pusher"] == "failed"
    assert str(place / NAME) in ended.text
    assert "No space left on device" in ended.text
    assert "Traceback" not in ended.text
    assert [path.name for path in (place / NAME).iterdir()] == []
    ballast.unlink()
    again = run(small.folder, "--set", f"serving.base_path={place}")
    assert again.code == 0, again.text
    assert len([path for path in (place / NAME).iterdir() if (path / "saved_model.pb").is_file()]) == 1
