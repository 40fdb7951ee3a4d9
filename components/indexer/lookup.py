"""Lookup tables over the lines of a file, so that ids are stored once."""

from __future__ import annotations

import tensorflow as tf


def line_numbers(file: str) -> tf.lookup.StaticHashTable:
    """Returns the table from the text of a line to its number, -1 for any other text."""
    initializer = tf.lookup.TextFileInitializer(
        file, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
    )
    return tf.lookup.StaticHashTable(initializer, default_value=-1)


def lines(file: str) -> tf.lookup.StaticHashTable:
    """Returns the table from the number of a line to its text."""
    initializer = tf.lookup.TextFileInitializer(
        file, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE
    )
    return tf.lookup.StaticHashTable(initializer, default_value="")
