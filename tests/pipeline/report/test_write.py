"""The pages as files: of which run, when there is none, and where they can't be written."""

from __future__ import annotations

from pathlib import Path

import pytest
from markupsafe import Markup

from components.errors import InputError
from pipeline.config import Config
from pipeline.metadata import connection_config
from pipeline.report import charts, write
from tests.pipeline.report import reports
from tests.pipeline.report.store import Execution, Store

FIRST, SECOND = "2026-01-01T03:04:05.678901", "2026-01-02T03:04:05.678901"


@pytest.fixture(autouse=True)
def _no_drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "_drawing", lambda *_: Markup("<svg></svg>"))


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Of two runs: the first published a version, the second failed in its first node."""
    (tmp_path / "shop").mkdir()
    store = Store(tmp_path / "shop")
    store.push(FIRST, "20260101030405", 1)
    store.execute(SECOND, "InteractionGen", Execution.FAILED)
    data = {"interactions": {"path": "log.csv"}}
    serving = {"base_path": tmp_path / "models"}
    return Config.model_validate({"name": "shop", "output": tmp_path, "data": data, "serving": serving})


@pytest.mark.parametrize(
    ("wanted", "run", "said"),
    [
        (None, SECOND, "Failed at InteractionGen"),
        ("2026-01-01", FIRST, "Published as version 20260101030405"),
        ("20260101030405", FIRST, "Published as version 20260101030405"),
    ],
)
def test_the_page_is_that_of_the_run_that_is_wanted(
    config: Config, tmp_path: Path, wanted: str | None, run: str, said: str
) -> None:
    out = tmp_path / "new folder" / "page.html"
    assert write.report(config, wanted, out).id == run
    assert said in out.read_text(encoding="utf-8")
    assert list(out.parent.iterdir()) == [out]


def test_nothing_is_written_of_a_run_that_is_not_there(config: Config, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="yesterday: no such run"):
        write.report(config, "yesterday", tmp_path / "page.html")
    with pytest.raises(InputError, match="yesterday: no such run"):
        write.compare(config, FIRST, "yesterday", tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_two_runs_are_compared_in_the_order_in_which_they_are_named(config: Config, tmp_path: Path) -> None:
    runs = write.compare(config, "2026-01-02", "20260101030405", tmp_path / "page.html")
    assert [run.id for run in runs] == [SECOND, FIRST]
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert 0 < page.index("Failed at InteractionGen") < page.index("Published as version 20260101030405")


def test_a_run_is_not_compared_with_itself(config: Config, tmp_path: Path) -> None:
    message = rf"^20260101030405 and 2026-01-01 are the same run, {FIRST}; name two$"
    with pytest.raises(InputError, match=message):
        write.compare(config, "20260101030405", "2026-01-01", tmp_path / "page.html")


def test_the_page_of_a_run_that_ended_says_why_it_failed_also_later(config: Config, tmp_path: Path) -> None:
    ended, later = tmp_path / "ended.html", tmp_path / "later.html"
    assert write.report_of_run(config, connection_config(config), SECOND, "row 3: no user", ended)
    write.report(config, SECOND, later)
    for page in (ended, later):
        assert "The run ended here: row 3: no user" in page.read_text(encoding="utf-8")


def test_a_run_that_failed_before_its_first_node_has_no_page(config: Config, tmp_path: Path) -> None:
    gone = "2026-01-03T03:04:05.678901"
    assert not write.report_of_run(config, connection_config(config), gone, "no such file", tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_where_no_page_can_be_written_is_told_before_anything_is_read(config: Config, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"^--out {tmp_path}: is a directory; name a file in it$"):
        write.report(config, "yesterday", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=rf"{tmp_path}/file.*can't be written"):
        write.compare(config, "yesterday", "today", tmp_path / "file" / "page.html")


def test_a_page_that_can_not_be_written_is_named(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    out = tmp_path / "page.html"
    monkeypatch.setattr(write, "write_atomically", full)
    with pytest.raises(InputError, match=rf"^{out}: can't be written: No space left on device$"):
        write.report(config, None, out)


@pytest.mark.parametrize("show", [False, True])
def test_users_are_named_only_where_the_config_says_so(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, show: bool
) -> None:
    said = "one user, &#39;bot-7&#39;, has 9 of 10 events"
    monkeypatch.setattr(write.samples, "ask", lambda *_: reports.samples("ann"))
    monkeypatch.setattr(write, "report_page", lambda _, asked, __: f"User {asked.users[0].id}: {said}")
    chosen = config.model_copy(update={"privacy": config.privacy.model_copy(update={"show_users": show})})
    write.report(chosen, None, tmp_path / "page.html")
    expected = f"User ann: {said}" if show else "User 1: one user, …, has 9 of 10 events"
    assert (tmp_path / "page.html").read_text() == expected


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("51% (user &#39;a&amp;b&#39;)", "51% (user …)"),
        (
            "user_id has blanks in 3 of 9 events, such as &#39;ann &#39;: set trim",
            "user_id has blanks in 3 of 9 events, such as …: set trim",
        ),
        (
            "item_id has blanks in 3 events, such as &#39;x &#39;",
            "item_id has blanks in 3 events, such as &#39;x &#39;",
        ),
    ],
)
def test_what_quotes_a_user_does_without(said: str, shown: str) -> None:
    assert write.unquoted(said) == shown
