"""The recipe of the books: liked titles from ratings without times, and a servable small enough to ship."""

from __future__ import annotations

import ast
import csv
import json
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.e2e.world import recommender
from tests.recipes import books
from tests.recipes.conftest import Recipe, run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("books")
    books.write(folder / "data" / "books", 30_000)
    return run("books", folder, "training.epochs=12", "training.batch_size=256")


@pytest.fixture(scope="module")
def rows(recipe: Recipe) -> list[dict[str, str]]:
    with open(recipe.folder / "data" / "books" / "ratings.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_log_has_the_shares_of_the_notebook() -> None:
    made = books.generate(100_000, seed=3)
    assert made == books.generate(100_000, seed=3)
    assert len(made) == pytest.approx(100_000, abs=3)
    ratings = [rating for _, _, rating, _ in made]
    assert sum(rating is None for rating in ratings) / len(made) == pytest.approx(222_763 / books.ROWS, abs=0.01)
    liked = sum(rating is not None and rating > 3 for rating in ratings)
    assert liked / len(made) == pytest.approx(936_796 / books.ROWS, abs=0.01)
    counts = Counter(user for user, *_ in made)
    share = len(made) / books.ROWS
    assert len(counts) == pytest.approx(books.READERS * share, rel=0.01)
    assert sum(count > 2 for count in counts.values()) == pytest.approx(books.FREQUENT * share, rel=0.01)
    titles = [title for _, title, _, _ in made]
    assert len(set(titles)) <= books.TITLES * share + 1
    changes = sum(one != other for one, other in zip(titles, titles[1:]))
    assert changes == len(set(titles)) - 1  # the rows of a title stand together
    assert any("," in title and '"' not in title for title in titles)
    assert any('"' in title for title in titles)
    assert any(not title.isascii() for title in titles)


def test_both_files_hold_the_same(recipe: Recipe, rows: list[dict[str, str]]) -> None:
    lines = (recipe.folder / "data" / "books" / "ratings.jsonl").read_text(encoding="utf-8").splitlines()
    parsed = [json.loads(line) for line in lines]
    assert [row["ISBN"] for row in rows] == [row["ISBN"] for row in parsed]
    assert [ast.literal_eval(row["Genres"]) for row in rows] == [row["Genres"] for row in parsed]


def test_readers_of_three_liked_books_are_known_and_no_others(recipe: Recipe, rows: list[dict[str, str]]) -> None:
    liked = {(row["User"], row["ISBN"]) for row in rows if row["RatingOf5"] and float(row["RatingOf5"]) > 3}
    frequent = {user for user, count in Counter(user for user, _ in liked).items() if count >= 3}
    version = recipe.version
    known = set((version / "assets" / "users.txt").read_text(encoding="utf-8").splitlines())
    assert known <= frequent
    assert len(known) > 0.95 * len(frequent)  # the split may leave none of somebody's events to training


def test_genres_tell_more_than_popularity(recipe: Recipe) -> None:
    model, popular = recipe.figures(), recipe.figures("popularity")
    assert model["ndcg@10"] > popular["ndcg@10"]
    assert model["history_overlap@10"] > popular["history_overlap@10"] > 0


def test_a_title_in_any_script_can_be_asked_for(recipe: Recipe, rows: list[dict[str, str]]) -> None:
    version = recipe.version
    loaded = tf.saved_model.load(str(version))
    title = next(row["ISBN"] for row in rows if not row["ISBN"].isascii() or '"' in row["ISBN"])
    answer = loaded.signatures["recommend"](
        user_id=tf.constant(["nobody", "nobody"]),
        history=tf.constant([[title], [""]]),
        exclude=tf.constant([[""], [""]]),
        k=tf.constant(5),
    )
    assert answer["source"].numpy().tolist() == [b"history", b"popular"]
    assert title.encode() not in answer["item_ids"].numpy()[0].tolist()


def test_the_archive_is_the_model(recipe: Recipe, tmp_path: Path) -> None:
    ended = recommender(
        recipe.folder, "export", "--config", recipe.config, "--set", "serving.base_path=models", "--out", "m.tar.gz"
    )
    assert ended.code == 0, ended.text
    with tarfile.open(recipe.folder / "m.tar.gz") as tar:
        tar.extractall(tmp_path)
    version = recipe.version
    unpacked = tf.saved_model.load(str(tmp_path / "books" / version.name))
    served = tf.saved_model.load(str(version))
    users = tf.constant((version / "assets" / "users.txt").read_text(encoding="utf-8").splitlines()[:5])
    answers = [model.signatures["by_user"](user_id=users) for model in (unpacked, served)]
    assert np.array_equal(answers[0]["item_ids"], answers[1]["item_ids"])
    assert np.array_equal(answers[0]["scores"], answers[1]["scores"])


def test_nothing_is_stored_in_full_precision_but_what_must_be(recipe: Recipe) -> None:
    version = recipe.version
    checkpoint = tf.train.load_checkpoint(str(version / "variables" / "variables"))
    types = checkpoint.get_variable_to_dtype_map()
    assert not [name for name in types if "optimizer" in name.lower() or "candidate" in name]
    shapes = checkpoint.get_variable_to_shape_map()
    tables = {name: types[name] for name in shapes if len(shapes[name]) == 2 and shapes[name][1] == 32}
    assert {"float32"} != {kind.name for kind in tables.values()}
    assert all(kind == tf.int8 for name, kind in tables.items() if shapes[name][0] > 100), tables
