"""The report of real runs: of the first, of one that is not blessed, of one that fails, and two beside each other."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import browser
from tests.e2e.conftest import Small
from tests.e2e.world import Ended, versions

pytestmark = pytest.mark.slow

MOST_BYTES = 5_000_000


def read(page: Path) -> str:
    assert page.stat().st_size < MOST_BYTES
    return page.read_text(encoding="utf-8")


def section(html: str, name: str) -> str:
    """What a section says, without its tags."""
    [found] = re.findall(rf'<section id="{name}">(.*?)</section>', html, re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", found).split())


def test_a_run_leaves_a_page_and_says_where(first_run: Small, tmp_path: Path) -> None:
    path = first_run.root / "report.html"
    assert f"report: {path}" in first_run.ended.stdout
    html = read(path)
    [version] = versions(first_run.folder)
    assert f"Published as version {version.name}" in html
    assert "Events by " in section(html, "data")
    assert "pass" in section(html, "training")
    assert "history overlap@10" in section(html, "metrics")
    assert "Coverage at 10" in section(html, "exposure")
    assert section(html, "users").count("Took next") == 10
    assert section(html, "users").count("Title of ") > 50
    assert 10 < section(html, "users").count("because of Title of ") <= 100
    assert "kind: film" in section(html, "users")
    assert "10 items, from the one with the most training events" in section(html, "similar")
    assert "training.epochs" in section(html, "lineage")
    assert "was trained on all events" in section(html, "blessing")
    assert "Title of [bold]x[/] &lt;" in html
    with browser.started(tmp_path / "profile") as chromium:
        browser.check(chromium, path, "report")


def test_two_runs_beside_each_other(small: Small, cli: Callable[..., Ended], tmp_path: Path) -> None:
    [version] = versions(small.folder)
    again = (
        "--set",
        "training.epochs=2",
        "--set",
        "evaluation.thresholds={hit_rate@10: {min: 0.9999}}",
        "--config",
        "config.yaml",
    )
    ended = cli(small.folder, "run", *again)
    assert ended.code == 3, ended.text
    html = read(small.root / "report.html")
    assert "Not blessed by the Evaluator" in html
    assert "0.9999 the threshold ✗ failed" in section(html, "blessing")
    assert f"version {version.name}" in section(html, "lineage")

    page = small.folder / "old.html"
    ended = cli(small.folder, "report", "--version", version.name, "--out", "old.html", "--config", "config.yaml")
    assert ended.code == 0, ended.text
    assert f"version {version.name}: {page}" in ended.stdout
    assert f"Published as version {version.name}" in read(page)

    newest = re.findall(r"<dt>run</dt><dd><code>([^<]+)</code>", html)[0]
    ended = cli(small.folder, "compare", version.name, newest, "--out", "compare.html", "--config", "config.yaml")
    assert ended.code == 0, ended.text
    html = read(small.folder / "compare.html")
    assert "the same queries, so the intervals of the differences are paired" in section(html, "metrics")
    assert re.search(r"hit@10 0\.\d{4} ±0\.\d{4} 0\.\d{4} ±0\.\d{4} [+−]0\.\d{4} ", section(html, "metrics"))
    assert "training.epochs 15 2" in section(html, "config")
    assert section(html, "users").count("served from: ") == 20
    with browser.started(tmp_path / "profile") as chromium:
        browser.check(chromium, small.folder / "compare.html", "compare")

    for arguments, words in (
        (("report", "--version", "20990101000000"), "no run here pushed it"),
        (("report", "--version", "newest"), "Invalid value for '--version'"),
        (("report", "--run", "2026", "--version", version.name), "exclude each other"),
        (("report", "--out", "data"), "is a directory"),
        (("compare", version.name, version.name), "are the same run"),
        (("compare", version.name, "yesterday"), "no such run"),
    ):
        ended = cli(small.folder, *arguments, "--config", "config.yaml")
        assert ended.code == 2, ended.text
        assert words in ended.text


def test_a_run_that_fails_leaves_a_page_that_says_why(small: Small, cli: Callable[..., Ended]) -> None:
    ended = cli(small.folder, "run", "--config", "config.yaml", "--set", "evaluation.slices=[[nothing]]")
    assert ended.code == 2, ended.text
    path = small.root / "report.html"
    assert f"report: {path}" in ended.stdout
    reason = "no query has the feature &#39;nothing&#39;"
    for html in (read(path), _later(small, cli)):
        assert "Failed at Evaluator" in html
        assert f"The run ended here: evaluation.slices: {reason}" in section(html, "metrics")
        assert f"The run ended here: evaluation.slices: {reason}" in section(html, "blessing")
        assert "The run ended before this, at Evaluator." in section(html, "latency")
        assert section(html, "users").count("Took next") == 10  # the model is there


def _later(small: Small, cli: Callable[..., Ended]) -> str:
    """The same run's page, written by another process than the run's."""
    ended = cli(small.folder, "report", "--out", "later.html", "--config", "config.yaml")
    assert ended.code == 0, ended.text
    return read(small.folder / "later.html")
