"""`recommender evaluate`: which version a label means."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.errors import InputError
from pipeline.cli.judging import labelled
from serving.promotion import Promoter
from tests.serving.fake_replica import publish


def test_evaluate_by_label(tmp_path: Path) -> None:
    publish(tmp_path, "m", 1)
    config: Any = SimpleNamespace(name="m", serving=SimpleNamespace(base_path=tmp_path))
    with pytest.raises(InputError, match=r"--label stable: no version has it \(there are: none\)"):
        labelled(config, "stable")
    Promoter(tmp_path, "m", []).promote(1, "stable")
    assert labelled(config, "stable") == 1
    with pytest.raises(InputError, match=r"--label beta: .*there are: stable\)"):
        labelled(config, "beta")
