"""The recipe of the shop: four ways to recommend in one table, and items that nobody has bought yet."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator

import pytest

from serving.client import RecommenderClient
from tests.recipes import retail
from tests.recipes.conftest import ROOT, Recipe, run, served

pytestmark = pytest.mark.slow

KS = (1, 5, 10, 50, 100)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("retail")
    retail.write(folder / "data" / "retail", 12_000)
    (folder / "data" / "retail_events").symlink_to("retail")
    overrides = ("data.interactions.top_users=300", "training.epochs=25", "training.batch_size=128", "model.dim=32")
    return run("retail", folder, *overrides)


@pytest.fixture(scope="module")
def client(recipe: Recipe) -> Iterator[RecommenderClient]:
    with served(recipe) as (_, client):
        yield client


def rows(recipe: Recipe, name: str) -> list[dict[str, str]]:
    with open(recipe.folder / "data" / "retail" / f"{name}.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_one_table_has_all_ks_of_all_models(recipe: Recipe) -> None:
    for model in ("candidate", "popularity", "item_knn", "content"):
        hits = [recipe.figures(model)[f"hit_rate@{k}"] for k in KS]
        assert hits == sorted(hits)
        assert model == "candidate" or f"hit@{KS[0]}" in recipe.ended.stdout
    hybrid, popularity = recipe.figures(), recipe.figures("popularity")
    assert hybrid["hit_rate@100"] > popularity["hit_rate@100"]
    assert hybrid["ndcg@10"] > popularity["ndcg@10"]


def test_only_the_most_active_users_are_kept(recipe: Recipe, client: RecommenderClient) -> None:
    counts = Counter(row["user_no"] for row in rows(recipe, "train"))
    ranked = sorted(counts, key=lambda user: (-counts[user], user))
    assert client.recommend(ranked[0]).source == "user"
    assert client.recommend(ranked[299]).source == "user"
    assert client.recommend(ranked[300]).source == "popular"


def test_what_was_bought_is_not_recommended(recipe: Recipe, client: RecommenderClient) -> None:
    train = rows(recipe, "train")
    user = Counter(row["user_no"] for row in train).most_common(1)[0][0]
    bought = {row["item_no"] for row in train if row["user_no"] == user and row["event_type"] == "purchased"}
    everything = client.recommend(user, k=1000).item_ids
    assert bought
    assert not bought & set(everything)


def test_a_new_item_is_found_by_its_side_features(recipe: Recipe, client: RecommenderClient) -> None:
    items = {row["item_no"]: row for row in rows(recipe, "item_info")}
    known = {row["item_no"] for row in rows(recipe, "train") + rows(recipe, "test")}
    new = sorted(set(items) - known)
    alike = chance = 0.0
    for item in new[:20]:
        answer = client.similar_items(item, k=10)
        assert answer.known
        group = items[item]["product_group"]
        alike += sum(items[other]["product_group"] == group for other in answer.item_ids) / 10
        chance += sum(row["product_group"] == group for row in items.values()) / len(items)
    assert alike > 2 * chance
    # And it is recommended to those who had such items.
    found = client.recommend(history=[row["item_no"] for row in rows(recipe, "train")[:3]], k=1000).item_ids
    assert set(found) & set(new)


def test_people_are_shown_brand_group_and_colour(recipe: Recipe, client: RecommenderClient) -> None:
    item = next(row for row in rows(recipe, "item_info") if row["colour"])
    [shown] = client.describe([item["item_no"]])
    assert shown.display == f"{item['brand']}, {item['product_group']}, {item['colour']}"


def test_rules_are_kept_however_rare_what_fits_is(recipe: Recipe, client: RecommenderClient) -> None:
    items = {row["item_no"]: row for row in rows(recipe, "item_info")}
    user = Counter(row["user_no"] for row in rows(recipe, "train")).most_common(1)[0][0]
    brands = Counter(row["brand"] for row in items.values())
    for brand in (brands.most_common()[0][0], brands.most_common()[-1][0]):
        everything = client.recommend(user, k=len(items)).item_ids
        fitting = [item for item in everything if items[item]["brand"] == brand]
        assert client.recommend(user, k=10, filters={"brand": brand}).item_ids == fitting[:10]
        answer = client.recommend(user, k=10, filters={"brand": brand}, exclude=fitting[:1])
        assert answer.item_ids == fitting[1:11]


@pytest.mark.skipif(not (ROOT / "data" / "retail" / "item_info.csv").exists(), reason="needs the real catalogue")
def test_the_generator_takes_the_real_catalogue(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("real")
    retail.write(folder, 2_000, catalogue=ROOT / "data" / "retail")
    with open(ROOT / "data" / "retail" / "item_info.csv", encoding="utf-8") as file:
        items = {row["item_no"]: row for row in csv.DictReader(file)}
    assert len(items) == 61_704
    with open(folder / "train.csv", encoding="utf-8") as file:
        train = list(csv.DictReader(file))
    assert len({(row["user_no"], row["item_no"]) for row in train}) == len(train) > 1_000
    assert all(items[row["item_no"]]["brand"] == row["brand"] for row in train)
    assert {row["event_type"] for row in train} == set(retail.EVENTS)
