"""Beam's options, and how its workers get the project's code."""

from __future__ import annotations

import re
from pathlib import Path

WORKERS_CODE = re.compile(r"--(setup_file|requirements_file|extra_packages?|sdk_container_image)\b")
"""Options by which Beam's workers get the project's code."""


def beam_args(configured: tuple[str, ...]) -> list[str]:
    """Beam's options, with the project's own setup.py for the workers unless they bring it some other way.

    A runner in this process has no use for it, but without such an option TFX packs itself up before every node.
    """
    setup_file = Path(__file__).parents[1] / "setup.py"
    brought = any(WORKERS_CODE.match(argument) for argument in configured)
    return list(configured) if brought or not setup_file.exists() else [*configured, f"--setup_file={setup_file}"]
