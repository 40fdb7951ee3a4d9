"""The recipe of the courses: text, deep towers, view time as weight, precision and recall by k."""

from __future__ import annotations

import csv
import json

import pytest

from pipeline.data.adapters.courses import convert
from tests.recipes import courses
from tests.recipes.conftest import Recipe, run, served

KS = (1, 5, 10, 50, 100)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("courses")
    data = folder / "data" / "courses"
    courses.write(data, 12_000)
    convert(data / "user_course_views.csv", data / "course_tags.csv", data / "courses.csv")
    return run("courses", folder, "training.epochs=8", "training.batch_size=256", "training.patience=2")


@pytest.mark.slow
@pytest.mark.smoke
def test_what_is_on_topic_is_watched_for_longer() -> None:
    views, tags = courses.generate(3_000, seed=1)
    assert (views, tags) == courses.generate(3_000, seed=1)
    seconds = [int(view[4]) for view in views]
    assert 0 in seconds
    assert max(seconds) > 3_600
    assert {view[1] for view in views} <= {course for course, _ in tags} | {view[1] for view in views}


@pytest.mark.slow
def test_precision_and_recall_by_k(recipe: Recipe) -> None:
    figures = recipe.figures()
    recall = [figures[f"recall@{k}"] for k in KS]
    assert recall == sorted(recall)
    for k in KS:
        assert figures[f"precision@{k}"] == pytest.approx(figures[f"recall@{k}"] / k)
    assert figures["ndcg@10"] > 1.2 * recipe.figures("popularity")["ndcg@10"]


@pytest.mark.slow
def test_view_time_is_the_weight(recipe: Recipe) -> None:
    with open(recipe.folder / "data" / "courses" / "user_course_views.csv", encoding="utf-8") as file:
        unwatched = sum(row["view_time_seconds"] == "0" for row in csv.DictReader(file))
    assert f"{unwatched:,} with a view_time_seconds of 0 or less" in recipe.ended.stdout


@pytest.mark.slow
def test_curves_and_the_model_are_on_a_page(recipe: Recipe) -> None:
    page = (recipe.folder / "output" / "courses" / "report.html").read_text(encoding="utf-8")
    for title in ("loss", "hit@10", "recall by k", "precision by k"):
        assert f"<figcaption>{title}</figcaption>" in page
    [run_folder] = (recipe.folder / "output" / "courses" / "artifacts" / "Trainer" / "model_run").iterdir()
    layers = json.loads((run_folder / "training.json").read_text(encoding="utf-8"))["layers"]
    assert sum(part["shape"][-1:] == [128] for part in layers) >= 2  # of the deep towers
    assert all(part["name"] in page for part in layers)
    log = max((recipe.folder / "output" / "courses" / "logs").glob("*.log")).read_text(encoding="utf-8")
    assert "the model:" in log


@pytest.mark.slow
def test_a_course_is_shown_with_its_title_and_found_by_its_words(recipe: Recipe) -> None:
    with open(recipe.folder / "data" / "courses" / "courses.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    row = next(row for row in rows if row["level"])
    with served(recipe) as (_, client):
        [shown] = client.describe([row["course_id"]])
        assert shown.display == f"{row['title']} ({row['level']}, by {row['author_handle']})"
        same = [item for row in rows[:30] for item in client.similar_items(row["course_id"], k=5).item_ids]
        topics = [row["title"].split()[0] for row in rows[:30] for _ in range(5)]
    assert sum(item.startswith(topic) for item, topic in zip(same, topics)) > 0.3 * len(topics)
