"""A catalogue of a boat, a bike and a book."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

FEATURES = {"tags": "categories", "price": "number", "brand": "category"}


def write_three(uri: Path) -> str:
    folder = uri / "Split-catalogue"
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "data.gz"), "GZIP") as writer:
        for brand, tags, price in ((b"x", [b"new", b"red", b"new"], 900.0), (b"y", [b"red"], None), (None, [], 19.99)):
            example = tf.train.Example()
            if brand:
                example.features.feature["brand"].bytes_list.value.append(brand)
            example.features.feature["tags"].bytes_list.value.extend(tags)
            if price:
                example.features.feature["price"].float_list.value.append(price)
            writer.write(example.SerializeToString())
    return str(uri)
