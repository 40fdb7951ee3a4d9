"""Config files that were written for an older version are read by today's."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.config import load_config
from pipeline.config.reference import reference

_KEY = re.compile(r"^\| `([\w.]+)` \|", re.MULTILINE)
"""A row of docs/config.md."""


def test_every_key_is_still_there(old_checkout: Path) -> None:
    old = set(_KEY.findall((old_checkout / "docs" / "config.md").read_text(encoding="utf-8")))
    assert len(old) > 150
    assert old - set(_KEY.findall(reference())) == set()


def test_the_examples_are_still_read(old_checkout: Path) -> None:
    configs = sorted((old_checkout / "configs").glob("*.yaml"))
    assert len(configs) == 6
    assert [load_config(path).name for path in configs] == [path.stem for path in configs]
