"""What the scores of items come from: the items of the history, the user and the features, the item itself."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from components.indexer.items import Items
from components.indexer.queries import Basis, Queries
from components.indexer.ranking import Asked
from serving import contract


def explanation(
    queries: Queries,
    items: Items,
    asked: Asked,
    basis: Basis,
    rows: tf.Tensor,
    retrieved: tf.Tensor,
    scores: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """The terms that scores are the sums of.

    Args:
        queries: What made `asked` and `basis`.
        items: The items.
        asked: B requests.
        basis: What their queries are made of.
        rows: [B, C] int64, rows of candidates; -1 for an unknown one.
        retrieved: [B, R], scores of all rows before the second stage.
        scores: [B, R], scores as `score` gives them.

    Returns:
        `scores` [B, C], -inf for an unknown candidate; `history_ids` [B, H] string; `contributions` [B, C, H] and
        `parts` [B, C, P], which add up to the scores, and are 0 for an unknown candidate; `part_names` [B, P] string;
        `method` [B] string.
    """
    row, personal = tf.maximum(rows, 0), asked.personal[:, tf.newaxis]
    before, after = (tf.gather(values, row, batch_dims=1) for values in (retrieved, scores))
    found = queries.explain(basis, items.table.gather(row))
    alone = items.alone(asked, row)
    counts = ((rows >= 0) & personal)[:, :, tf.newaxis]
    own = tf.stack([tf.where(personal, alone, 0.0), tf.where(personal, 0.0, alone), after - before], axis=2)
    parts = [
        tf.where(counts, found[contract.PARTS], 0.0),
        tf.where((rows >= 0)[:, :, tf.newaxis], own, 0.0),
    ]
    names = tf.concat([found[contract.PART_NAMES], [contract.BIAS, contract.POPULARITY, contract.RANKING]], axis=0)
    return {
        contract.SCORES: tf.where(rows >= 0, after, -np.inf),
        contract.HISTORY_IDS: items.ids_of_all(basis.rows),
        contract.CONTRIBUTIONS: tf.where(counts, found[contract.CONTRIBUTIONS] + queries.shares(basis, row), 0.0),
        contract.PARTS: tf.concat(parts, axis=2),
        contract.PART_NAMES: tf.repeat(names[tf.newaxis], tf.shape(rows)[0], axis=0),
        contract.METHOD: tf.where(asked.personal, found[contract.METHOD], contract.EXACT),
    }
