"""Vectors in batches are those of single requests, and a model that has none is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.errors import InputError
from pipeline.batch.vectors import asking
from pipeline.batch.vectors.asking import Towers, ids_of
from serving import contract as names
from tests.serving.wire import contract

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

WORLD = contract.world()
IDS = [item.encode() for item in contract.ITEMS]


@pytest.fixture(scope="module")
def towers(contract_servable: Path) -> Towers:
    return Towers(contract_servable, fold_bias=False)


@pytest.mark.parametrize(("asked", "batch"), [(512, 16_384), (3, 7), (1, 34)])
def test_batches_are_of_any_size(
    towers: Towers, contract_servable: Path, monkeypatch: pytest.MonkeyPatch, asked: int, batch: int
) -> None:
    monkeypatch.setattr(asking, "_ASKED", asked)
    monkeypatch.setattr(asking, "_BATCH", batch)
    found = list(towers.items(ids_of(contract_servable / names.ITEMS)))
    assert [item for each in found for item in each.ids] == IDS
    assert max(len(each.ids) for each in found) == min(batch, len(IDS))
    assert np.concatenate([each.vectors for each in found]) == pytest.approx(WORLD.embedding)
    assert np.concatenate([each.bias for each in found if each.bias is not None]) == pytest.approx(WORLD.bias)
    users = list(towers.users(ids_of(contract_servable / names.USERS)))
    assert [user.decode() for each in users for user in each.ids] == contract.USERS
    mean = WORLD.embedding[[contract.ITEMS.index(item) for item in WORLD.stored["ann"]]].mean(axis=0)
    assert users[0].vectors[0] == pytest.approx(mean, rel=1e-5)


def test_of_none_there_is_an_empty_batch(towers: Towers, contract_servable: Path) -> None:
    [batch] = towers.users(iter(()))
    assert (batch.ids, batch.vectors.shape, batch.bias) == ([], (0, contract.DIM), None)
    [batch] = Towers(contract_servable, fold_bias=True).items(iter(()))
    assert batch.vectors.shape == (0, contract.DIM + 1)


def test_what_is_seen_and_recommended(towers: Towers) -> None:
    users = [user.encode() for user in ("ann", "no history")]
    assert [{item.decode() for item in seen} for seen in towers.seen(users)] == [{*WORLD.stored["ann"]}, set()]
    for lists in (towers.recommend(users, 40), towers.retrieve(users, 40)):
        for row, user in enumerate(("ann", "no history")):
            best, scores, _ = WORLD.recommend(user, [], [])
            assert [item.decode() for item in lists.item_ids[row] if item] == best
            assert lists.scores[row, : len(best)] == pytest.approx(scores, rel=1e-5, abs=1e-6)
            assert np.isneginf(lists.scores[row, len(best) :]).all()


def test_a_model_from_before(tmp_path: Path) -> None:
    tf.saved_model.save(tf.Module(), str(tmp_path / "old"))
    with pytest.raises(InputError, match=r"old: gives no vectors: it was indexed before .* `recommender reindex`"):
        Towers(tmp_path / "old", fold_bias=False)


def test_ids_are_lines(tmp_path: Path) -> None:
    (tmp_path / "ids").write_bytes("a\n b \nc\u2028d".encode())
    assert list(ids_of(tmp_path / "ids")) == [b"a", b" b ", "c\u2028d".encode()]
    (tmp_path / "ids").write_bytes(b"")
    assert list(ids_of(tmp_path / "ids")) == []
