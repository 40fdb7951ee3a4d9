"""A night of a world that has been trained is killed at random moments and called again.

What nights do about bad data is in tests/e2e/test_month.py.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.versions import list_versions
from pipeline.nightly import journal
from serving.promotion import Promoter, files, read_audit
from serving.server.process import EMBEDDED, ServerProcess
from tests.e2e.conftest import Small
from tests.e2e.world import NAME, end_group, recommender, start

pytestmark = pytest.mark.slow

KILLS = 3


@pytest.fixture
def folder(small: Small) -> Iterator[Path]:
    """The trained world and a model server, of which the pushed version is stable; a second version is there, too."""
    base, file = small.folder / "models", small.folder / "config.yaml"
    [first] = list_versions(base / NAME)
    server = ServerProcess(base, NAME, binary=EMBEDDED)
    server.start()
    try:
        Promoter(base, NAME, [server.grpc_target]).promote(first.number, "stable")
        shutil.copytree(first.path, first.path.with_name(str(first.number + 1)))
        content: dict[str, Any] = yaml.safe_load(file.read_text("utf-8"))
        content["serving"]["replicas"] = [server.grpc_target]
        content["nightly"] = {"trial": {"num_queries": 20, "max_p99_ratio": 1e6}}
        file.write_text(yaml.safe_dump(content, allow_unicode=True), "utf-8")
        yield small.folder
    finally:
        server.stop()


def test_killed_at_random_moments_it_ends_as_if_undisturbed(folder: Path) -> None:
    base = folder / "models"
    first, second = (version.number for version in list_versions(base / NAME))
    draw = random.Random(3)
    for _ in range(KILLS):
        process = start(folder, "nightly", "--config", "config.yaml")
        time.sleep(draw.uniform(0.1, 5))
        end_group(process)
    ended = recommender(folder, "nightly", "--config", "config.yaml", "--json")
    assert ended.code == 0, ended.text
    night = json.loads(ended.stdout)
    assert [step["name"] for step in night["steps"]][-1] == "gc"
    assert night["labels"] == {"stable": second, "canary": second}
    found = files.aspired(files.read_config(base), NAME)
    assert found is not None
    assert found.labels == night["labels"]
    moved = [entry.to_version for entry in read_audit(base, NAME, genuine=True) if entry.result == files.DONE]
    assert moved[-1] == second
    assert files.read_journal(base) is None
    assert [version.number for version in list_versions(base / NAME)] == [first, second]
    assert journal.read(folder / "output" / NAME / journal.FILE)[-1].ended
    again = recommender(folder, "nightly", "--config", "config.yaml", "--json")
    assert [step["name"] for step in json.loads(again.stdout)["steps"]] == ["data"]
