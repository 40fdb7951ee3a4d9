"""The compose files of docs/beam.md, for whose containers processes stand here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

_TEXT = (Path(__file__).parents[2] / "docs" / "beam.md").read_text(encoding="utf-8")


def block(name: str) -> str:
    """The page's block of YAML of that name."""
    [text] = re.findall(rf"^```yaml {name}\n(.*?)^```$", _TEXT, re.MULTILINE | re.DOTALL)
    return str(text)


def compose(engine: str) -> dict[str, Any]:
    """An engine's compose file."""
    return yaml.safe_load(block(f"{engine}-compose"))


def job_server(engine: str, folder: Path, places: dict[str, str]) -> list[str]:
    """What the job server is called with, for a folder of this machine.

    Args:
        engine: Whose.
        folder: Where its volume is.
        places: What stands on this machine for the addresses of containers.
    """
    arguments = compose(engine)["services"]["job-server"]["command"]
    for container, here in {**places, "=job-server": "=localhost", "=/staged": f"={folder}/staged"}.items():
        assert any(container in argument for argument in arguments), container
        arguments = [argument.replace(container, here) for argument in arguments]
    return [*arguments, "--expansion-port=-1"]
