"""A headless Chromium that looks at pages as people do: what it says, what it asks for, how it looks."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SCREENSHOTS = Path(__file__).parents[1] / "build" / "screenshots"
"""Where they are kept; git ignores it."""

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)
_HIGHEST = 16_000  # pixels of a screenshot; taller ones Chromium leaves blank


@dataclasses.dataclass
class Browser:
    """The browser."""

    driver: Any

    def open(self, page: Path, width: int, theme: str) -> None:
        """Opens a page as a window of that width shows it to somebody who likes it `light` or `dark`."""
        self.driver.get("about:blank")
        self.console(), self.requests()  # what was before
        media = [{"name": "prefers-color-scheme", "value": theme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get(page.as_uri())

    def run(self, script: str) -> Any:
        """Runs a script on the page; returns its value."""
        return self.driver.execute_script(script)

    def console(self) -> list[str]:
        """What the page wrote to the console, refused requests among it, since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """What the page asked for since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [
            event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in asked if not url.startswith(("data:", "about:"))]

    def screenshot(self, name: str) -> Path:
        """Takes a picture of the whole page."""
        width, height = self.run("const d = document.documentElement; return [d.clientWidth, d.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": min(height, _HIGHEST), "scale": 1}
        options = {"captureBeyondViewport": True, "clip": clip}
        taken = self.driver.execute_cdp_cmd("Page.captureScreenshot", options)
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        path.write_bytes(base64.b64decode(taken["data"]))
        return path


@contextlib.contextmanager
def started(profile: Path) -> Iterator[Browser]:
    """Starts Chromium with an empty profile; skips the test where there is none."""
    binary = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    chromedriver = shutil.which("chromedriver")
    if binary is None or chromedriver is None:
        pytest.skip("no Chromium here: apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


def check(browser: Browser, page: Path, name: str) -> None:
    """Looks at a page at all widths and in both themes: it is quiet, asks for nothing, fits, and is filled."""
    for theme in ("light", "dark"):
        for width in (1280, 360):
            browser.open(page, width, theme)
            assert browser.console() == []
            assert browser.requests() == [page.as_uri()]
            assert browser.run("return document.documentElement.scrollWidth") <= width
            empty = browser.run(
                "return [...document.querySelectorAll('section')]"
                ".filter(s => s.innerText.trim().length <= s.querySelector('h2').innerText.length + 20).map(s => s.id)"
            )
            assert empty == []
            colour = browser.run("return getComputedStyle(document.body).backgroundColor")
            assert colour == ("rgb(255, 255, 255)" if theme == "light" else "rgb(18, 21, 28)")
            assert browser.screenshot(f"{name}_{theme}_{width}").stat().st_size > 20_000
