"""The recipe of the tools: the next tool, in context, from a tiny catalogue."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from serving.client import RecommenderClient
from serving.server.process import ServerProcess
from tests.e2e.world import recommender
from tests.recipes import tools
from tests.recipes.conftest import Recipe, run, served

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("tools")
    tools.write(folder / "data" / "tools", 40_000)
    return run("tools", folder, "training.epochs=8")


@pytest.fixture(scope="module")
def asked(recipe: Recipe) -> Iterator[tuple[ServerProcess, RecommenderClient]]:
    with served(recipe) as pair:
        yield pair


@pytest.fixture(scope="module")
def log(recipe: Recipe) -> dict[str, set[str]]:
    """The tools that each user of the training events has used."""
    with open(recipe.folder / "data" / "tools" / "events.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    used: dict[str, set[str]] = {}
    for row in rows:
        used.setdefault(row["user_id"], set()).add(row["page"])
    return used


def test_the_log_has_the_columns_ids_and_skew_of_the_notebook() -> None:
    rows = tools.generate(2_000, seed=3)
    assert rows == tools.generate(2_000, seed=3)
    assert len(tools.TOOLS) == 21
    assert {len(row[2]) for row in rows} == {39}
    assert [row[1] for row in rows] == sorted(row[1] for row in rows)
    pairs = {(row[2], row[6]) for row in rows}
    assert 5 < len(rows) / len(pairs) < 20  # the notebook's log: 164,933 events of 14,695 users and tools


def test_what_comes_next_is_learned(recipe: Recipe) -> None:
    model, popular = recipe.figures(), recipe.figures("popularity")
    assert model["ndcg@3"] > 1.2 * popular["ndcg@3"]
    assert recipe.figures("item_knn")["ndcg@3"] > 0


def test_top_3_of_every_user_as_csv(recipe: Recipe, log: dict[str, set[str]]) -> None:
    arguments = ("batch", "--users", "all", "--k", "3", "--out", "out/top3.csv", "--config", recipe.config)
    ended = recommender(recipe.folder, *arguments, "--version", str(recipe.version))
    assert ended.code == 0, ended.text
    with open(recipe.folder / "out" / "top3.csv", encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["user_id", "top1", "top2", "top3"]
    assert len(rows) == len({row[0] for row in rows}) > 300
    assert f"{len(rows):,} users" in ended.stdout
    for _, *items in rows:
        there = [item for item in items if item]
        assert len(set(there)) == len(there)
        assert set(there) <= set(tools.TOOLS)
    # Those who came before the cut and not after it have only old tools.
    assert sum(not set(items) & log[user] for user, *items in rows) > 0.7 * len(rows)
    assert [path.name for path in (recipe.folder / "out").iterdir()] == ["top3.csv"]


def test_more_items_than_there_are(asked: tuple[ServerProcess, RecommenderClient]) -> None:
    _, client = asked
    answer = client.recommend(history=["merge"], k=50)
    assert sorted(answer.item_ids) == sorted(set(tools.TOOLS) - {"merge"})


def test_after_this_task(recipe: Recipe, asked: tuple[ServerProcess, RecommenderClient]) -> None:
    server, client = asked
    ended = recipe.ask(server, "query", "--history", "merge", "-k", "3")
    assert ended.code == 0, ended.text
    assert "source: history" in ended.stdout
    after_merge = client.recommend(history=["merge"], k=3).item_ids
    assert all(tool in ended.stdout for tool in after_merge)
    assert after_merge != client.recommend(history=["crop"], k=3).item_ids


def test_system_plan_and_hour_count(asked: tuple[ServerProcess, RecommenderClient]) -> None:
    _, client = asked
    contexts = [
        {"os": system, "plan": plan, "timestamp": datetime(2020, 11, 20, hour)}
        for system in ("windows", "mac_os")
        for plan in ("monthly", "yearly")
        for hour in (9, 19)
    ]
    scores = {tuple(client.recommend(context=context, k=20).item_ids) for context in contexts}
    assert len(scores) > 1


def test_batch_mistakes_are_answered_with_one_line(recipe: Recipe, tmp_path: Path) -> None:
    model = str(recipe.version)
    wrong = {
        "no such": ("--users", "no such"),
        "-k 0": ("-k", "0"),
        "-k 100000": ("-k", "100000"),
    }
    for words, arguments in wrong.items():
        options = ("--out", str(tmp_path / "out.csv"), "--config", recipe.config, "--version", model)
        ended = recommender(recipe.folder, "batch", *arguments, *options)
        assert (ended.code, words in ended.stderr, "Traceback" in ended.text) == (2, True, False), ended.text
    assert not list(tmp_path.iterdir())
