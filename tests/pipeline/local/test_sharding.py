"""`recommender shard`: the shards of a version that the real Indexer has made, and why one can't be split."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from components import versions
from components.errors import InputError
from pipeline.failures import WRONG_INPUT
from pipeline.local.sharding import shard
from serving import contract
from tests.components.indexer.tiny import ITEMS, recommend
from tests.pipeline.local.forget.conftest import Shop, first_shop, shop, towers

__all__ = ["first_shop", "shop", "towers"]

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


def test_a_version_is_split(shop: Shop, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "shards"
    facts: Any = shard(shop.config, out, 2).facts
    places = [out / "1-of-2", out / "2-of-2"]
    assert [Path(row["base_path"]) for row in facts["shards"]] == places
    assert [(row["items"], row["new"]) for row in facts["shards"]] == [(3, True), (4, True)]
    assert "recommender serve --base-path" in capfd.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["1-of-2", "2-of-2"]
    whole = shop.version
    answers = []
    for number, place in enumerate(places, 1):
        [version] = versions.list_versions(place / "shop")
        assert version.number == whole.number
        about = versions.describe(version.path)
        assert about[contract.SHARD] == f"{number}/2 {whole.fingerprint}"
        release = versions.release(version.path)
        assert release == {**versions.release(whole.path), "fingerprint": version.fingerprint}
        loaded = tf.saved_model.load(str(version.path))
        assert {name for name in contract.OF_USERS if name in loaded.signatures} == set()
        answers.append(recommend(loaded, ["cleo", "stranger"], [[], []], [[], []], 7))
        told = loaded.signatures["describe"](item_id=tf.constant(ITEMS))
        assert told["known"].numpy().tolist() == [(row < 3) == (number == 1) for row in range(7)]
        assert set(told["shard"].numpy().tolist()) == {about[contract.SHARD].encode()}
    expected = recommend(tf.saved_model.load(str(whole.path)), ["cleo", "stranger"], [[], []], [[], []], 7)
    for row in range(2):
        pairs = [pair for ids, scores, _ in answers for pair in zip(ids[row], scores[row].tolist()) if pair[0]]
        ids, scores = zip(*sorted(pairs, key=lambda pair: -pair[1]))
        assert [*ids] == [item for item in expected[0][row] if item]
        assert [*scores] == pytest.approx(expected[1][row][: len(scores)].tolist(), rel=1e-6)

    # Once more nothing is made.
    facts = shard(shop.config, out, 2).facts
    assert [row["new"] for row in facts["shards"]] == [False, False]
    manifest = places[0] / "shop" / str(whole.number) / contract.MANIFEST
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), contract.SHARD: "1/2 other"}))
    assert shard(shop.config, out, 2).exit_code == WRONG_INPUT
    assert "is there already, and is 1/2 other, not 1/2" in capfd.readouterr().out


def test_what_was_changed_since_is_not_split(shop: Shop, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    manifest = shop.version.path / contract.MANIFEST
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "fingerprint": "another"}))
    assert shard(shop.config, tmp_path / "shards", 2).exit_code == WRONG_INPUT
    assert "what it was made of was changed since" in re.sub(r"\s+", " ", capfd.readouterr().out)
    (shop.root / "artifacts" / "CatalogueGen" / "examples" / "1").rename(tmp_path / "gone")
    assert shard(shop.config, tmp_path / "shards", 2).exit_code == WRONG_INPUT
    assert "what it was made of is gone: catalogue" in re.sub(r"\s+", " ", capfd.readouterr().out)
    assert not (tmp_path / "shards").exists()


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({contract.BEYOND_VECTORS: [contract.SECOND_STAGE]}, r"the second stage \(model.ranking\) ranks the best"),
        ({contract.BEYOND_VECTORS: [contract.DIVERSITY]}, "serving.diversity"),
        ({contract.BEYOND_VECTORS: [contract.APPROXIMATE]}, "serving.index.type scann"),
        ({"num_items": 1}, "--shards 2: the version has 1 items"),
    ],
)
def test_what_can_not_be_split_exactly(shop: Shop, tmp_path: Path, about: dict[str, Any], message: str) -> None:
    manifest = shop.version.path / contract.MANIFEST
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **about}))
    with pytest.raises(InputError, match=message):
        shard(shop.config, tmp_path / "shards", 2)
    assert not (tmp_path / "shards").exists()
