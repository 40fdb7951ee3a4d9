"""Interactions to draw from."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf


def feature(*values: str | int) -> tf.train.Feature:
    if values and isinstance(values[0], int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[str(value).encode() for value in values]))


def write_examples(uri: Path, split: str, rows: list[dict]) -> None:
    folder = uri / f"Split-{split}"
    folder.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / "data-00000-of-00001.gz"), "GZIP") as writer:
        for row in rows:
            features = tf.train.Features(feature={name: feature(*values) for name, values in row.items()})
            writer.write(tf.train.Example(features=features).SerializeToString())


def event(user: str, item: str, time: int, *history: str) -> dict:
    return {"user_id": [user], "item_id": [item], "timestamp": [time], "history": history}
