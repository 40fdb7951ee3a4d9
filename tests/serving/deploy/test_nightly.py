"""What calls for the nights where there is no cluster: systemd's units by systemd, the cron line by a shell."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.nightly import journal
from tests.pipeline.cli.command import check_command_line

NIGHTLY = Path(__file__).parents[3] / "serving" / "deploy" / "nightly"
HOME, CONFIG = "/srv/recommender", "/etc/recommender/recommender.yaml"


def cron_line() -> tuple[str, str]:
    """When, and what."""
    [line] = [line for line in (NIGHTLY / "crontab").read_text().splitlines() if re.match(r"[\d*]", line)]
    *when, command = line.split(" ", 5)
    return " ".join(when), command


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A checkout with an environment, and a config without data."""
    program = tmp_path / "home" / ".venv" / "bin" / "recommender"
    program.parent.mkdir(parents=True)
    root = Path(__file__).parents[3]
    start = f"import sys; sys.path.insert(0, {str(root)!r}); from pipeline.cli import main; main()"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c {start!r} "$@"\n')
    program.chmod(0o755)
    (tmp_path / "shop.yaml").write_text(
        "name: shop\noutput: output\ndata: {interactions: {path: log.csv}}\nserving: {base_path: models}\n"
    )
    return tmp_path


@pytest.mark.slow
@pytest.mark.smoke
def test_the_cron_line_does_a_night_with_no_more_of_an_environment_than_cron_has(place: Path) -> None:
    when, command = cron_line()
    assert re.fullmatch(r"\d+ \* \* \* \*", when)
    for there, here in ((HOME, place / "home"), (CONFIG, place / "shop.yaml")):
        assert there in command
        command = command.replace(there, str(here))
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(place), "SHELL": "/bin/sh"}
    ended = subprocess.run(["/bin/sh", "-c", command], env=environment, cwd="/", check=False, capture_output=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, b"", b"")
    assert "interactions: there is no file log.csv" in (place / "home" / "nights.log").read_text("utf-8")
    [night] = journal.read(place / "home" / "output" / "shop" / journal.FILE)
    assert (night.code, night.cause) == (2, "input")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd on this machine")
def test_systemd_understands_the_units(place: Path) -> None:
    for name in ("recommender-nightly.service", "recommender-nightly.timer"):
        text = (NIGHTLY / name).read_text().replace(f"{HOME}/", f"{place}/home/")
        (place / name).write_text(text)
    ended = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, place.glob("recommender-nightly.*"))],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    when = re.findall(r"^OnCalendar=(.+)$", (NIGHTLY / "recommender-nightly.timer").read_text(), re.MULTILINE)
    subprocess.run(["systemd-analyze", "calendar", *when], check=True, capture_output=True)


def test_units_and_cron_line_type_a_command_that_there_is() -> None:
    service = (NIGHTLY / "recommender-nightly.service").read_text()
    [started] = re.findall(r"^ExecStart=(.+)$", service, re.MULTILINE)
    assert cron_line()[1].startswith(f"cd {HOME} && {started.removeprefix(f'{HOME}/')} >> ")
    program, *words = started.split()
    assert program == f"{HOME}/.venv/bin/recommender"
    check_command_line(words)
