"""A tiny world for component tests: 20 items, a servable that holds to the serving contract, and interactions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Union

import pytest

ITEMS = [f"i{number:02}" for number in range(20)]

Row = Mapping[str, Union[str, int, float, Sequence[str]]]


def write_examples(uri: Path, split: str, rows: Sequence[Row], shards: int = 1) -> None:
    """Writes rows as gzip TFRecords of tf.Examples, as InteractionGen does; row i goes to shard i modulo `shards`."""
    import tensorflow as tf

    def feature(value: Any) -> Any:
        values = [value] if isinstance(value, (str, int, float)) else value
        if all(isinstance(value, int) for value in values) and values:
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        if all(isinstance(value, float) for value in values) and values:
            return tf.train.Feature(float_list=tf.train.FloatList(value=values))
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode() for value in values]))

    directory = uri / f"Split-{split}"
    directory.mkdir(parents=True)
    for shard in range(shards):
        name = directory / f"data_tfrecord-{shard:05}-of-{shards:05}.gz"
        with tf.io.TFRecordWriter(str(name), "GZIP") as writer:
            for row in rows[shard::shards]:
                features = tf.train.Features(feature={key: feature(value) for key, value in row.items()})
                writer.write(tf.train.Example(features=features).SerializeToString())


def write_servable(path: Path, step: int = 1, max_k: int = 100, fingerprint: str = "f1") -> Path:
    """Saves a servable whose best item is the one `step` places after the newest of the history, then the next…

    Without a known history the first items come first. `history` and `exclude` are left out, the rest is padding.
    """
    import tensorflow as tf

    class Model(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.items = tf.constant(ITEMS)

        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.string, "user_id"),
                tf.TensorSpec([None, None], tf.string, "history"),
                tf.TensorSpec([None, None], tf.string, "exclude"),
                tf.TensorSpec([], tf.int32, "k"),
            ]
        )
        def recommend(self, user_id, history, exclude, k):
            with tf.control_dependencies([tf.debugging.assert_less_equal(k, max_k, "k is over max_k")]):
                blank = tf.fill([tf.shape(user_id)[0], 1], "")
            newest = tf.concat([history, blank], axis=1)[:, :1]
            start = tf.argmax(tf.equal(newest, self.items), axis=1, output_type=tf.int32)
            known = tf.reduce_any(tf.equal(newest, self.items), axis=1)
            start = tf.where(known, start + step, 0)
            places = tf.math.floormod(tf.range(len(ITEMS))[None, :] - start[:, None], len(ITEMS))
            gone = tf.reduce_any(tf.equal(tf.concat([history, exclude], 1)[:, :, None], self.items), axis=1)
            scores = tf.where(gone, -float("inf"), -tf.cast(places, tf.float32))
            taken = tf.minimum(k, len(ITEMS))
            scores, indices = tf.math.top_k(scores, taken)
            ids = tf.where(tf.math.is_inf(scores), "", tf.gather(self.items, indices))
            return {
                "item_ids": tf.pad(ids, [[0, 0], [0, k - taken]]),
                "scores": tf.pad(scores, [[0, 0], [0, k - taken]], constant_values=-float("inf")),
                "source": tf.where(known, "history", "popular"),
            }

    model = Model()
    tf.saved_model.save(model, str(path), signatures={"recommend": model.recommend})
    description = {"fingerprint": fingerprint, "max_k": max_k}
    (path / "assets.extra").mkdir()
    (path / "assets.extra" / "recommender.json").write_text(json.dumps(description))
    return path


@pytest.fixture(scope="session")
def servable(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Gives the directory of a servable with the wanted properties; each is made once."""
    made: dict[tuple, Path] = {}

    def make(step: int = 1, max_k: int = 100, fingerprint: str = "f1") -> Path:
        key = (step, max_k, fingerprint)
        if key not in made:
            made[key] = write_servable(tmp_path_factory.mktemp("servable") / "model", *key)
        return made[key]

    return make
