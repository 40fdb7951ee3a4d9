"""Pages with the worst that data can hold, and of runs that failed, as Chromium shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.report.page import report_page
from tests import browser
from tests.pipeline.report import reports
from tests.pipeline.report.reports import NASTY


@pytest.mark.slow
def test_hostile_and_unfinished_pages(tmp_path: Path) -> None:
    pages = {
        "hostile": report_page(reports.findings(NASTY * 3), reports.samples(NASTY * 3), ["this model"]),
        "failed": report_page(reports.failed("no space left on /" + "long" * 40), None, []),
    }
    with browser.started(tmp_path / "profile") as chromium:
        for name, html in pages.items():
            (tmp_path / f"{name}.html").write_text(html, encoding="utf-8")
            browser.check(chromium, tmp_path / f"{name}.html", f"report_{name}")
            assert chromium.run("return document.querySelectorAll('main img, main script').length") == 0


@pytest.mark.slow
def test_the_button_changes_the_theme_and_marks_say_what_they_are(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(report_page(reports.findings(), reports.samples(), ["this model"]), encoding="utf-8")
    with browser.started(tmp_path / "profile") as chromium:
        chromium.open(page, 1280, "light")
        colours = []
        for _ in range(4):
            colours.append(chromium.run("return getComputedStyle(document.body).backgroundColor"))
            chromium.run("document.getElementById('theme').click()")
        light, dark = "rgb(255, 255, 255)", "rgb(18, 21, 28)"
        assert colours == [light, light, dark, light]  # auto, light, dark, auto
        said = chromium.run(
            "const mark = document.querySelector('#slices [data-tip]');"
            "mark.dispatchEvent(new PointerEvent('pointerover', {bubbles: true, clientX: 40, clientY: 40}));"
            "const tip = document.getElementById('tip'); return [tip.hidden, tip.textContent]"
        )
        assert said == [False, "head, this model: 0.5000"]
        assert chromium.console() == []
