"""Two folders, one after the other, and the one in a store that both mirror; runs are in test_output.py beside it."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from pipeline.local.mirror import METADATA, Mirror
from serving.stores import Lease, ObjectPath, StoreError, leased
from tests.components.conftest import generations as generations
from tests.components.conftest import gs as gs
from tests.components.stores import enter

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

PLACE = ObjectPath("gs://mirrored/runs/shop")


@pytest.fixture
def folders(generations: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two empty folders, and an empty bucket."""
    enter(generations, monkeypatch)
    store = fsspec.filesystem("gs")
    if store.exists("mirrored"):
        store.rm("mirrored", recursive=True)
    store.mkdir("mirrored")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    return tmp_path / "a", tmp_path / "b"


@contextlib.contextmanager
def mirrored(folder: Path) -> Iterator[Mirror]:
    """The mirror of a folder by a lease, what there is fetched."""
    with leased(PLACE / ".lock", {}) as lease:
        mirror = Mirror(PLACE, folder, lease)
        mirror.fetch()
        yield mirror


def make(folder: Path, number: int) -> None:
    """An artifact that the metadata know."""
    path = folder / "artifacts" / "Train" / "model" / str(number)
    path.mkdir(parents=True)
    (path / "data").write_text(f"{number} of {folder.name}")
    with contextlib.closing(sqlite3.connect(folder / METADATA)) as metadata, metadata:
        metadata.execute("CREATE TABLE IF NOT EXISTS Artifact (uri, state)")
        for kind in ("Artifact", "Execution", "Context"):
            metadata.execute(f"CREATE TABLE IF NOT EXISTS {kind}Property (string_value)")
        metadata.execute("INSERT INTO Artifact VALUES (?, 2)", (str(path),))


def delete(folder: Path, number: int) -> None:
    """Deletes an artifact as `recommender gc` does."""
    path = folder / "artifacts" / "Train" / "model" / str(number)
    with contextlib.closing(sqlite3.connect(folder / METADATA)) as metadata, metadata:
        metadata.execute("UPDATE Artifact SET state = 4 WHERE uri = ?", (str(path),))
    shutil.rmtree(path)


def here(folder: Path) -> dict[str, str]:
    """Artifacts that are in a folder, by number."""
    return {path.parent.name: path.read_text() for path in folder.glob("artifacts/Train/model/*/data")}


def there() -> set[str]:
    """Files of artifacts in the store, from the number on."""
    return {name.partition("/model/")[2] for name in PLACE.files() if name.startswith("artifacts/")}


def test_what_is_of_the_output_is_mirrored_and_scratch_is_not(folders: tuple[Path, Path]) -> None:
    one, two = folders
    kept = ("checkpoints/c/training.npz", "feedback/feedback.json", "logs/1.log", "nights.jsonl", "report.html")
    left = (
        ".lock",
        "artifacts/Train/.system/x/y",
        "batch/x",
        "tmp1/x",
        "versions/1/x",
        "tuning/studies.sqlite-journal",
    )
    with mirrored(one) as mirror:
        make(one, 1)
        for name in (*kept, *left, "logs/.2.log.7.new"):
            (one / name).parent.mkdir(parents=True, exist_ok=True)
            (one / name).write_text(name)
        mirror.put()
    assert set(PLACE.files()) == {".lock", METADATA, "artifacts/Train/model/1/data", *kept}
    with mirrored(two):
        assert all((two / name).read_text() == name for name in kept)
    assert here(two) == {"1": "1 of a"}


def test_a_file_is_moved_when_it_has_changed(folders: tuple[Path, Path]) -> None:
    one, two = folders
    page = "report.html"
    for folder, other, text in ((one, two, "first"), (two, one, "second"), (one, two, "third")):
        with mirrored(folder) as mirror:
            (folder / page).write_text(text)
            mirror.put()
        stamp = (PLACE / page).info()
        with mirrored(other) as mirror:
            assert (other / page).read_text() == text
            mirror.put()
        assert (PLACE / page).info() == stamp, "not put once more"
    with mirrored(two) as mirror:
        (two / page).unlink()
        mirror.put()
    assert page not in PLACE.files()
    with mirrored(one):
        assert not (one / page).exists()


def test_a_folder_that_was_moved_is_the_same(folders: tuple[Path, Path], tmp_path: Path) -> None:
    one, two = folders
    with mirrored(one) as mirror:
        make(one, 1)
        mirror.put()
        make(one, 2)  # which is not put yet
    moved = tmp_path / "moved"
    one.rename(moved)
    with mirrored(moved) as mirror:
        assert here(moved) == {"1": "1 of a", "2": "2 of a"}
        make(moved, 3)
        mirror.put()
    assert there() == {"1/data", "2/data", "3/data"}
    with mirrored(two):
        assert here(two) == {"1": "1 of a", "2": "2 of a", "3": "3 of moved"}


def test_who_has_lost_the_lock_puts_no_more_files(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = folders
    with mirrored(one) as mirror:
        for number in range(20):
            make(one, number)
        checks = iter(range(10))

        def check(lease: Lease) -> None:
            if next(checks, None) is None:
                raise StoreError("gs://mirrored", "lost")

        with monkeypatch.context() as patch:
            patch.setattr(Lease, "check", check)
            with pytest.raises(StoreError, match="lost"):
                mirror.put()
    assert len(there()) == 9  # the first look is before all of them


def test_a_note_that_is_damaged_is_none(folders: tuple[Path, Path]) -> None:
    one, _ = folders
    with mirrored(one) as mirror:
        make(one, 1)
        mirror.put()
    for note in ("null", "[]", '{"folder": 1}', '{"folder": "x", "objects": [1]}', "{"):
        (one / ".mirror.json").write_text(note)
        with mirrored(one) as mirror:
            mirror.put()
        assert (here(one), there()) == ({"1": "1 of a"}, {"1/data"})


@pytest.mark.parametrize("content", [b"", b"no SQLite at all, and long enough to be read as a page of it" * 9])
def test_metadata_that_are_none_are_named_and_cost_no_artifact(folders: tuple[Path, Path], content: bytes) -> None:
    one, two = folders
    with mirrored(one) as mirror:
        make(one, 1)
        mirror.put()
    (PLACE / METADATA).write_bytes(content)
    for folder in (one, two):
        with (
            pytest.raises(StoreError, match=r"metadata\.sqlite: this is no SQLite file"),
            mirrored(folder),
        ):
            pass
    assert (here(one), there()) == ({"1": "1 of a"}, {"1/data"})


def test_a_file_where_a_folder_is_to_be(folders: tuple[Path, Path]) -> None:
    one, _ = folders
    for name in ("checkpoints/a", "checkpoints/a/b"):
        (PLACE / name).write_bytes(b"")
    with (
        pytest.raises(
            StoreError, match=r"checkpoints/a(/b)?: one of a file and of a folder with the same name is too much"
        ),
        mirrored(one),
    ):
        pass


def test_what_was_done_here_counts_unless_somebody_went_on(folders: tuple[Path, Path]) -> None:
    one, two = folders
    with mirrored(one) as mirror:
        make(one, 1)
        mirror.put()
        make(one, 2)  # and is killed
    with mirrored(one) as mirror:
        assert here(one) == {"1": "1 of a", "2": "2 of a"}
        mirror.put()
        make(one, 3)
        (one / "artifacts/Train/model/3/more").write_text("of a")
        make(one, 4)  # is killed again
    with mirrored(two) as mirror:
        make(two, 3)
        mirror.put()
    with mirrored(one):
        assert here(one) == {"1": "1 of a", "2": "2 of a", "3": "3 of b"}
        assert not (one / "artifacts/Train/model/3/more").exists()


def test_what_no_metadata_know_goes(folders: tuple[Path, Path]) -> None:
    one, two = folders
    with mirrored(one) as mirror:
        make(one, 1)
        mirror.put()
    (PLACE / "artifacts/Train/model/2/of-a-killed-one").write_bytes(b"x")
    Mirror(PLACE, two).fetch()
    assert there() == {"1/data", "2/of-a-killed-one"}, "without the lock nothing is deleted"
    assert here(two) == {"1": "1 of a"}
    with mirrored(two) as mirror:
        make(two, 2)
        mirror.put()
    assert there() == {"1/data", "2/data"}


def test_a_deletion_is_everywhere(folders: tuple[Path, Path]) -> None:
    one, two = folders
    with mirrored(one) as mirror:
        for number in (1, 2):
            make(one, number)
        mirror.put()
    with mirrored(two) as mirror:
        delete(two, 1)  # and is killed
    assert there() == {"1/data", "2/data"}
    with mirrored(two) as mirror:
        mirror.put()
    assert there() == {"2/data"}
    with mirrored(one):
        assert here(one) == {"2": "2 of a"}
