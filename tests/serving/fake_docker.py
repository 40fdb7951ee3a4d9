"""`docker` for the smoke test's own test: `compose up` starts the embedded server as docker-compose.yaml says."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Optional

import yaml

from serving.server.process import environment

_PID = Path(os.environ.get("MODELS", "/nonexistent")) / "server.pid"


def interpolate(text: str, variables: dict[str, str]) -> str:
    """Compose's `${NAME:-default}` and `$$`."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match["name"]) or match["default"] or ""

    return re.sub(r"\$\$|\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}", value, text)


def service(file: Path, variables: dict[str, str]) -> dict[str, Any]:
    """The file's one service, as Compose reads it."""
    found: dict[str, Any] = yaml.safe_load(interpolate(file.read_text(encoding="utf-8"), variables))
    (only,) = found["services"].values()
    return only


def arguments(file: Path, variables: dict[str, str]) -> list[str]:
    """The server's arguments, with the ports and the folder of this machine for those of the container."""
    described = service(file, variables)
    published = dict(reversed(port.rsplit(":", 2)[1:]) for port in described["ports"])
    text = described["command"].replace("/config/", f"{file.parent.resolve()}/")
    for inside, outside in published.items():
        text = text.replace(f"port={inside}", f"port={outside}")
    return shlex.split(text)


def _main(argv: list[str]) -> Optional[int]:
    if argv[0] == "info" or argv[:2] == ["compose", "version"] or "logs" in argv:
        return 0
    if "down" in argv:
        if _PID.exists():
            os.kill(int(_PID.read_text()), signal.SIGTERM)
        return 0
    assert "up" in argv, argv
    with open(_PID.with_name("server.log"), "wb") as log:
        command = [
            sys.executable,
            "-m",
            "serving.server",
            *arguments(Path(argv[argv.index("-f") + 1]), dict(os.environ)),
        ]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment(), start_new_session=True)
    _PID.write_text(str(process.pid))
    while "ready" not in _PID.with_name("server.log").read_text():
        if process.poll() is not None:
            return process.returncode
        time.sleep(0.1)
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
