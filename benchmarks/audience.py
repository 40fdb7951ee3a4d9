"""How good audiences are: how far up a user stands among those whom the item is for that they took next.

    recommender run --config configs/movielens_100k.yaml --set data.interactions.split.method=leave_last_n \
        --set serving.audience=true
    python -m benchmarks.audience configs/movielens_100k.yaml

Asks about the newest run of the recipe: its servable's `audience`, and other ways to make one user's scores comparable
with another's. Each user's last event is left out of training, so what is stored is what came before it. Users who had
the item are left out; of equal users half come before.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.similar import read_config

_BATCH = 256


def main() -> None:
    """Prints the table in Markdown."""
    config = read_config()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf
    from tfx.utils import path_utils

    from benchmarks.lineage import Lineage
    from components.examples.reading import read_columns, scalars
    from serving import contract

    lineage = Lineage(config)
    indexer = lineage.newest("Indexer")
    folder = path_utils.serving_model_path(lineage.outputs(indexer)["model"].uri)
    interactions = lineage.inputs(indexer)["interactions"].uri
    users, items = (
        np.array(Path(folder, file).read_bytes().split(b"\n"), object) for file in (contract.USERS, contract.ITEMS)
    )

    def rows(split: str) -> tuple[np.ndarray, np.ndarray]:
        table = read_columns(interactions, split, {"user_id": bytes, "item_id": bytes})
        who, what = (rows_of(scalars(table, name), ids) for name, ids in (("user_id", users), ("item_id", items)))
        there = (who >= 0) & (what >= 0)
        return who[there], what[there]

    owned = np.zeros([len(users), len(items)], bool)
    owned[rows("train")] = True
    servable = tf.saved_model.load(folder)
    scores = plain_scores(servable, users, items)
    sides = {"`audience`: log p(item given user)": served(servable, users, items), **ways(scores)}
    who, what = rows("eval")
    print(f"{len(who):,} events, {len(users):,} users, {len(items):,} items\n")
    print("| | hit@10 | hit@100 | NDCG@100 | MRR | users in any 10 best |\n| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, values in sides.items():
        values = np.where(owned, -np.inf, values)
        place = places(values, who, what)
        figures = np.mean([place < 10, place < 100, (place < 100) / np.log2(place + 2), 1 / (place + 1)], axis=1)
        reached = len(np.unique(np.argsort(-values, axis=0)[:10])) / len(users)
        print(f"| {name} | {' | '.join(f'{figure:.4f}' for figure in [*figures, reached])} |", flush=True)


def rows_of(ids: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The row of each of the ids [E] among those `known`, -1 for none."""
    row_of = {name: row for row, name in enumerate(known)}
    return np.array([row_of.get(name, -1) for name in ids], np.int64)


def ways(scores: np.ndarray) -> Mapping[str, np.ndarray]:
    """Scores [U, N] of users for items made comparable between users, by the name of the way."""
    mean, deviation = (value[:, np.newaxis] for value in (scores.mean(axis=1), scores.std(axis=1)))
    return {
        "score": scores,
        "score less the user's mean": scores - mean,
        "score less the user's mean over their deviation": (scores - mean) / deviation,
        "rank among the user's items": -np.argsort(np.argsort(-scores, axis=1), axis=1).astype(float),
    }


def places(scores: np.ndarray, who: np.ndarray, what: np.ndarray) -> np.ndarray:
    """How many users stand before users `who` [E] for items `what` [E] by `scores` [U, N], half of those equal to them;
    [E] float."""
    columns, own = scores[:, what], scores[who, what]
    return (columns > own).sum(axis=0) + ((columns == own).sum(axis=0) - 1) / 2


def plain_scores(servable: Any, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """What the signature `score` says of users [U] and items [N], [U, N]."""
    import tensorflow as tf

    def ask(some: np.ndarray) -> np.ndarray:
        ids, nothing = tf.constant(some.tolist()), tf.fill([len(some), 0], "")
        candidates = tf.repeat(tf.constant([items.tolist()]), len(some), axis=0)
        return servable.signatures["score"](user_id=ids, history=nothing, candidates=candidates)["scores"].numpy()

    return np.concatenate([ask(users[start : start + _BATCH]) for start in range(0, len(users), _BATCH)])


def served(servable: Any, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """What the signature `audience` says of them, [U, N]."""
    import tensorflow as tf

    row_of = {user: row for row, user in enumerate(users)}
    found = np.zeros([len(users), len(items)])
    for start in range(0, len(items), _BATCH):
        some = items[start : start + _BATCH]
        answer = servable.signatures["audience"](
            item_id=tf.constant(some.tolist()),
            exclude=tf.fill([len(some), 0], ""),
            exclude_owners=tf.fill([len(some)], False),
            k=tf.constant(len(users)),
        )
        for place, (ids, scores) in enumerate(zip(answer["user_ids"].numpy(), answer["scores"].numpy())):
            found[[row_of[user] for user in ids], start + place] = scores
    return found


if __name__ == "__main__":
    main()
