"""`recommender batch`: the file that it writes, and what is said where it can't."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.errors import InputError
from pipeline import batch
from pipeline.config import Config

NASTY = ["a,b", 'say "hi"', "123456789012345678901234567890123456789", " leading", "🎬", "line\u2028separator"]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """With a pushed version that knows the nasty users."""
    version = tmp_path / "models" / "shop" / "20260102030405"
    (version / "assets").mkdir(parents=True)
    (version / "saved_model.pb").touch()
    (version / "assets" / "users.txt").write_text("\n".join(NASTY), encoding="utf-8")
    return Config.model_validate(
        {
            "name": "shop",
            "data": {"interactions": {"path": "log.csv"}},
            "serving": {"base_path": tmp_path / "models", "default_k": 2},
        }
    )


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose answers are the user's id with a number, and one item short of k."""

    def answers(path: Path, users: list[str], k: int) -> Iterator[tuple[list[str], list[list[str]]]]:
        for user in users:
            yield [user], [[*(f"{user} {rank}" for rank in range(1, k)), ""]]

    monkeypatch.setattr(batch, "_answers", answers)


def read(path: Path) -> list[list[str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_everybody_whom_the_model_knows(config: Config, tmp_path: Path) -> None:
    out = tmp_path / "new folder" / "top.csv"
    assert batch.batch(config, "all", 3, out) == len(NASTY)
    assert read(out) == [
        ["user_id", "top1", "top2", "top3"],
        *([user, f"{user} 1", f"{user} 2", ""] for user in NASTY),
    ]
    assert list(out.parent.iterdir()) == [out]


def test_users_of_a_file_and_the_configs_k(config: Config, tmp_path: Path) -> None:
    (tmp_path / "users.txt").write_bytes(b"ann\r\n\nbob")
    out = tmp_path / "top.csv"
    assert batch.batch(config, str(tmp_path / "users.txt"), None, out) == 2
    assert read(out)[1:] == [["ann", "ann 1", ""], ["bob", "bob 1", ""]]


@pytest.mark.parametrize("content", [None, b"\n\n", b"\xff\xfe"], ids=["absent", "empty", "not UTF-8"])
def test_a_file_without_users(config: Config, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "users.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=r"users\.txt"):
        batch.batch(config, str(file), 3, tmp_path / "top.csv")
    assert not (tmp_path / "top.csv").exists()


def test_what_was_there_stays_if_the_model_fails(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path, users: list[str], k: int) -> Iterator[tuple[list[str], list[list[str]]]]:
        yield users[:1], [["item"] * k]
        raise KeyboardInterrupt

    monkeypatch.setattr(batch, "_answers", fails)
    out = tmp_path / "out" / "top.csv"
    out.parent.mkdir()
    out.write_text("old", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt):
        batch.batch(config, "all", 3, out)
    assert [(path.name, path.read_text()) for path in out.parent.iterdir()] == [("top.csv", "old")]


def test_no_version(config: Config, tmp_path: Path) -> None:
    other = config.model_copy(update={"name": "other"})
    with pytest.raises(InputError, match="no version"):
        batch.batch(other, "all", 3, tmp_path / "top.csv")
