"""A servable that an older version of the code made is served, asked and judged by today's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from components import versions
from components.evaluator.servable import Servable, check_servable, served_depth
from serving.client import InvalidRequest, RecommenderClient
from serving.server.process import ServerProcess

pytestmark = pytest.mark.slow

MAKE = """
import json, pathlib, sys
from tests.components.test_indexer import SETTINGS, make_index, reference, write_towers
from components.indexer.executor import save_servable

folder = pathlib.Path(sys.argv[1])
towers = write_towers(folder / "towers", [], [])
save_servable(towers, make_index(towers, folder / "data"), SETTINGS, "tiny", str(folder / "models" / "tiny" / "1"))
asked = [("ann", [], ["d e"], 3), ("", ["e🙂"], [], 2), ("stranger", [], ["a"], 2), ("cleo", ["b", "lost"], [], 9)]
answers = [{"asked": query, "answer": reference(*query)} for query in asked]
(folder / "answers.json").write_text(json.dumps(answers))
"""
"""Makes a servable of seven items in the folder that it is given, and says in plain Python what it must answer."""


@pytest.fixture(scope="module")
def made(old_checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `models/tiny/1` and `answers.json`, made by the old code."""
    folder = tmp_path_factory.mktemp("made")
    environment = {**os.environ, "PYTHONPATH": str(old_checkout), "TF_USE_LEGACY_KERAS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", MAKE, str(folder)],
        cwd=old_checkout,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def answers(made: Path) -> list[dict[str, Any]]:
    return json.loads((made / "answers.json").read_text())


@pytest.fixture(scope="module")
def client(made: Path) -> Iterator[RecommenderClient]:
    with (
        ServerProcess(made / "models", "tiny") as server,
        RecommenderClient(server.grpc_target, model="tiny", timeout=30) as client,
    ):
        yield client


def test_it_is_served_and_asked(client: RecommenderClient, answers: list[dict[str, Any]]) -> None:
    for of in answers:
        (user, history, exclude, k), (ids, scores, source) = of["asked"], of["answer"]
        answer = client.recommend(user_id=user, history=history, exclude=exclude, k=k)
        assert [item.item_id for item in answer] == [item for item in ids if item]
        assert [item.score for item in answer] == pytest.approx([score for score in scores if score > float("-inf")])
        assert answer.source == source


def test_the_other_signatures_answer(client: RecommenderClient, answers: list[dict[str, Any]]) -> None:
    (user, history, _, _), (ids, scores, _) = answers[0]["asked"], answers[0]["answer"]
    assert client.score(user, history, [*ids, "lost"]) == pytest.approx([*scores, float("-inf")])
    others = {"b", 'c, "quoted"', "d e", "e🙂", "f", "g"}
    assert {item.item_id for item in client.similar_items("a", k=100)} == others
    [described] = client.describe(["d e"])
    assert (described.display, described.known) == ("Title d e", True)


def test_it_explains_nothing_and_says_so(client: RecommenderClient, made: Path) -> None:
    with pytest.raises(InvalidRequest, match="so it explains nothing: it was indexed before there were explanations"):
        client.explain("ann", [], ["d e"])
    batch = pa.table(
        {"user_id": pa.array([[b"ann"]]), "user_type": pa.array([[b"known"]]), "history": pa.array([[b"a"]])}
    )
    assert Servable(str(made / "models" / "tiny" / "1"), 2).explain(batch, np.array([[b"d e"]], object)) is None


def test_it_is_judged(made: Path, answers: list[dict[str, Any]]) -> None:
    servable = str(made / "models" / "tiny" / "1")
    check_servable(servable, "champion")
    assert versions.fingerprint(servable)
    (user, history, exclude, k), (ids, _, _) = answers[1]["asked"], answers[1]["answer"]
    batch = pa.table(
        {
            name: pa.array([values], pa.large_list(pa.large_binary()))
            for name, values in {"user_id": [user], "user_type": ["new"], "history": history, "seen": exclude}.items()
        }
    )
    answered = Servable(servable, served_depth(servable, k)).answer(batch)
    assert [[item.decode() for item in row] for row in answered] == [ids]
