"""The recipe of the fashion shop, on a part of its real data: similar products over REST."""

from __future__ import annotations

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.recipes.conftest import ROOT, Recipe, post, run, served

SOURCE = ROOT / "data" / "asos"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (SOURCE / "train.parquet").exists(), reason="needs the data of the workshop"),
]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("asos")
    (folder / "data" / "asos").mkdir(parents=True)
    tables = {name: pq.read_table(SOURCE / f"{name}.parquet") for name in ("train", "valid")}
    # One user in ten, with all their pairs of both files.
    users = pc.unique(tables["train"]["dummyUserId"]).to_pylist()[::10]
    for name, table in tables.items():
        some = table.filter(pc.is_in(table["dummyUserId"], value_set=pc.cast(users, table["dummyUserId"].type)))
        pq.write_table(some, folder / "data" / "asos" / f"{name}.parquet")
    return run(
        "asos",
        folder,
        "training.epochs=12",
        "training.batch_size=256",
        "model.dim=32",
        "evaluation.baselines.names=[popularity, item_knn]",
        "evaluation.thresholds={}",  # what a tenth of the pairs tells does not beat popularity
    )


def test_the_published_validation_pairs_are_the_test(recipe: Recipe) -> None:
    pairs = pq.read_table(recipe.folder / "data" / "asos" / "valid.parquet").num_rows
    assert recipe.figures()["count"] == pairs
    assert recipe.figures()["hit_rate@100"] > 0


def test_similar_products_over_rest_as_in_the_workshop(recipe: Recipe) -> None:
    products = pq.read_table(recipe.folder / "data" / "asos" / "train.parquet")["productId"]
    product = str(pc.mode(products)[0].as_py()["mode"])
    with served(recipe) as (server, client):
        body = {"signature_name": "similar_items", "inputs": {"item_id": [product], "exclude": [[]], "k": 5}}
        outputs = post(server, "asos", body)["outputs"]
        assert outputs["known"] == [True]
        [ids] = outputs["item_ids"]
        assert len(set(ids)) == 5
        assert product not in ids
        assert set(ids) <= set(map(str, products.to_pylist()))
        assert client.similar_items(product, k=5).item_ids == ids
