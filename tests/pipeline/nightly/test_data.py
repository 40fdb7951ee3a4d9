"""Which data count as new."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pytest

from components import suppression
from components.errors import InputError
from pipeline.config import Config
from pipeline.nightly.data import Found, find


def config(folder: Path, **changes: object) -> Config:
    features = {"look": {"type": "vector", "dim": 2, "path": f"{folder}/look.npy", "ids": f"{folder}/look.txt"}}
    return Config.model_validate(
        {
            "name": "shop",
            "data": {
                "interactions": {"path": f"{folder}/log/*.csv", "users": {"path": f"{folder}/users.csv"}},
                "catalogue": {"path": f"{folder}/items.csv", "features": features},
            },
            **changes,
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir()
    for name in ("log/1.csv", "users.csv", "items.csv", "look.npy", "look.txt"):
        (tmp_path / name).write_text("abc")
    return tmp_path


def test_each_file_and_each_setting_counts(folder: Path) -> None:
    found = find(config(folder))
    assert found[1:] == Found("", 5, 15)[1:]
    assert find(config(folder)) == found
    seen = {found.digest}
    for number, name in enumerate(("log/1.csv", "users.csv", "items.csv", "look.npy", "look.txt")):
        os.utime(folder / name, (1_700_000_000 + number,) * 2)
        seen.add(find(config(folder)).digest)
    (folder / "log" / "2.csv").write_text("abc")
    seen.add(find(config(folder)).digest)
    (folder / "log" / "2.csv").rename(folder / "log" / "3.csv")
    seen.add(find(config(folder)).digest)
    seen.add(find(config(folder, training={"epochs": 3})).digest)
    assert len(seen) == 9


def test_whom_to_forget_counts(folder: Path) -> None:
    listed = {"privacy": {"suppression": f"{folder}/suppression.json"}}
    found = find(config(folder, **listed))
    suppression.add(f"{folder}/suppression.json", ["ann"])
    assert find(config(folder, **listed)).digest != found.digest


def test_settings_of_nights_alone_make_no_data_new(folder: Path) -> None:
    assert find(config(folder, nightly={"notify": ["json://host"]})) == find(config(folder))


def test_missing_files_are_named(folder: Path) -> None:
    (folder / "users.csv").unlink()
    with pytest.raises(InputError, match=r"^users: there is no file .*/users\.csv$"):
        find(config(folder))


def test_files_in_an_object_store_count_likewise() -> None:
    store = fsspec.filesystem("memory")
    store.pipe("/nightly/1.csv", b"abc")
    shop = Config.model_validate({"name": "shop", "data": {"interactions": {"path": "memory://nightly/*.csv"}}})
    found = find(shop)
    assert found[1:] == (1, 3)
    assert find(shop) == found
    store.pipe("/nightly/1.csv", b"abd")
    assert find(shop).digest != found.digest
