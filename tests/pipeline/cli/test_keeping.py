"""`recommender gc` and `forget`, as a user types them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pipeline.config import Config
from pipeline.config.retention import RetentionSettings
from pipeline.terminal import Outcome
from serving.client.answer_log import pseudonym as pseudonym_of
from tests.pipeline.cli.command import recommender


def test_options_replace_the_limits_of_the_config(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[Any, ...]] = []

    def note(config: Config, *values: Any) -> Outcome:
        called.append((config.name, *values))
        return Outcome(3)

    stand_in = ModuleType("pipeline.local.clean_up")
    stand_in.gc = note  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    arguments = ("--versions", "2", "--gigabytes", "0.5", "--dry-run", "--set", "retention.runs=7")
    ended = recommender("gc", *arguments, "--config", "shop.yaml", cwd=shop)
    assert (ended.returncode, ended.stderr) == (3, "")
    assert called == [("shop", RetentionSettings(versions=2, runs=7, gigabytes=0.5), True)]


@pytest.mark.parametrize("more", [(), ("--offline",)])
def test_users_are_named_one_by_one_or_in_a_file(
    shop: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    called: list[Any] = []

    def note(config: Config, ids: list[str], promoter: Any, also: Any, pseudonym: Any) -> Outcome:
        called.append((str(config.serving.base_path), ids, also, pseudonym and pseudonym("ann")))
        assert promoter("nightly")._targets == (() if more else ("127.0.0.1:8500",))
        return Outcome(1)

    stand_in = ModuleType("pipeline.local.forget.forget")
    stand_in.forget = note  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    (shop / "gone.txt").write_bytes("\ufeffbob, jr\r\n\na\u2028b\n42\n".encode())
    (shop / "logged").mkdir()
    arguments = ("--user", "ann", "--users", "gone.txt", "--also", "answers", "--base-path", "elsewhere")
    logs = ("--set", "nightly.answers=[logg*, none]", "--set", "feedback.key_env=ANSWERS_KEY")
    told = recommender("forget", *arguments, *logs, "--config", "shop.yaml", *more, cwd=shop)
    assert "the environment has no variable ANSWERS_KEY" in told.stderr
    environ = {"ANSWERS_KEY": "secret"}
    ended = recommender("forget", *arguments, *logs, "--config", "shop.yaml", *more, cwd=shop, environ=environ)
    assert (ended.returncode, ended.stderr) == (1, "")
    also = [Path("answers"), Path("logged")]
    assert called == [("elsewhere", ["ann", "bob, jr", "a\u2028b", "42"], also, pseudonym_of("ann", "secret"))]


def test_nobody_to_forget_and_a_file_that_is_missing(shop: Path) -> None:
    nobody = recommender("forget", "--config", "shop.yaml", cwd=shop)
    assert (nobody.returncode, nobody.stderr) == (2, "error: name a user: the empty id is nobody's\n")
    missing = recommender("forget", "--users", "gone.txt", "--config", "shop.yaml", cwd=shop)
    assert missing.returncode == 2
    assert missing.stderr.startswith("error: --users gone.txt: can't be read: ")


def test_a_limit_that_is_none_is_told(shop: Path) -> None:
    ended = recommender("gc", "--days", "0", "--config", "shop.yaml", cwd=shop)
    assert ended.returncode == 2
    assert ended.stderr == "error: --days: Input should be greater than 0 (got 0.0)\n"
