"""`recommender feedback` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pipeline.cli.command import recommender
from tests.pipeline.feedback.shop import write_shop


@pytest.mark.slow
@pytest.mark.smoke
def test_the_command(tmp_path: Path) -> None:
    write_shop(tmp_path)
    typed = ["feedback", "--config", "shop.yaml", "--log", "answers/*.jsonl", "--out", "found"]
    done = recommender(*typed, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "28.57% (0.00% to 40.00%)" in done.stdout
    assert "by version" in done.stdout
    facts = json.loads(recommender(*typed, "--json", cwd=tmp_path).stdout)
    assert facts == json.loads((tmp_path / "found" / "feedback.json").read_text())
    (tmp_path / "later.csv").write_text(
        "user_id,item_id,timestamp,event,device,position\nann,a,1001,click,,\nbob,q,9999,buy,,\n"
    )
    other = json.loads(recommender(*typed, "--json", "--events", "later.csv", cwd=tmp_path).stdout)
    assert (other["figures"][0]["clicks"], other["figures"][0]["conversions"]) == (1, 0)
    wrong = recommender("feedback", "--config", "shop.yaml", "--log", "none", "--out", "found", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "--log none: there is no such log of answers" in wrong.stderr
