"""How alike items are, inside the graph."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from components.indexer.index import Index
from components.indexer.settings import IndexerSettings, SimilarSettings
from tests.components.indexer.tiny import ITEMS, ask, in_memory, strings

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


@pytest.mark.parametrize("compact", ["float32", "int8"])
def test_similar_items_come_together_and_new_ones_are_found_by_their_embedding(
    towers: str, index: Index, compact: str
) -> None:
    own = np.zeros((len(ITEMS), 2), np.float32)
    own[:3] = [[1, 0], [0, 1], [2, 0]]  # a and c come together; b with neither; the others are new
    settings = IndexerSettings(compact=compact, similar=SimilarSettings(embedding_weight=0.25))
    servable = in_memory(towers, dataclasses.replace(index, cooccurrence=own), settings)
    asked = {"item_id": tf.constant(["a", "g", "no"]), "exclude": strings([["b"], [], []]), "k": tf.constant(8)}
    answer = ask(servable, "similar_items", **asked)
    direction = index.embedding / np.linalg.norm(index.embedding, axis=1, keepdims=True)
    for row, (item, excluded) in enumerate([("a", {"a", "b"}), ("g", {"g"})]):
        place = ITEMS.index(item)
        scores = own @ own[place] + 0.25 * direction @ direction[place]
        best = sorted((r for r in range(len(ITEMS)) if ITEMS[r] not in excluded), key=lambda r: -scores[r])
        ids = [found.decode() for found in answer["item_ids"][row]]
        assert ids == [ITEMS[r] for r in best] + [""] * (8 - len(best))
        assert answer["scores"][row][: len(best)] == pytest.approx(scores[best], abs=0.02)
    assert answer["item_ids"][0, 0].decode() == ITEMS[2]
    assert answer["known"].tolist() == [True, True, False]
