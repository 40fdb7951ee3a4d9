"""What the Trainer's SavedModel is asked, and how."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.errors import InputError
from components.indexer import towers as module
from components.indexer.towers import embed_catalogue, embed_ids, read_manifest
from tests.components.indexer.tiny import ITEMS, MAX_HISTORY, vectors, write_examples


def test_what_the_trainer_noted(towers: str) -> None:
    assert read_manifest(towers) == {"context": [], "user_features": [], "max_history": MAX_HISTORY}


@pytest.mark.slow
@pytest.mark.smoke
def test_the_catalogue_is_embedded_in_its_order(towers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCH", 2)
    loaded = tf.saved_model.load(towers)
    rows = [{"item_id": item, "display": item.upper()} if item != "b" else {"item_id": item} for item in ITEMS[:5]]
    uri = write_examples(tmp_path / "some", "catalogue", rows)
    ids, display, embedding, bias = embed_catalogue(loaded, uri)
    assert [item.decode() for item in ids] == ITEMS[:5]
    assert [text.decode() for text in display] == ["A", "", *(item.upper() for item in ITEMS[2:5])]
    all_embeddings, all_biases = vectors()
    assert np.array_equal(embedding, all_embeddings[:5])
    assert np.array_equal(bias, all_biases[:5])
    with pytest.raises(InputError, match="the catalogue has no items"):
        embed_catalogue(loaded, write_examples(tmp_path / "none", "catalogue", []))


def test_ids_are_embedded_in_batches(towers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCH", 2)
    found = embed_ids(tf.saved_model.load(towers), "history_item", np.array([b"c", b"b", b"a"], object))
    assert found["known"].tolist() == [False, True, True], "c alone is no item's id"
    assert np.array_equal(found["embedding"][1:], vectors()[0][[1, 0]])
