"""Lookup tables over the lines of a file."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from components.indexer.lookup import line_numbers, lines

TEXTS = ["a", 'b, "quoted"', " spaces ", "e🙂"]


def test_lines_have_numbers_and_numbers_lines(tmp_path: Path) -> None:
    file = tmp_path / "ids.txt"
    file.write_bytes("\n".join(TEXTS).encode())
    found = line_numbers(str(file)).lookup(tf.constant([[*TEXTS], ["", "B", "a ", TEXTS[3]]]))
    assert found.numpy().tolist() == [[0, 1, 2, 3], [-1, -1, -1, 3]]
    texts = lines(str(file)).lookup(tf.constant([3, 0, 4, -1], tf.int64))
    assert [text.decode() for text in texts.numpy()] == [TEXTS[3], TEXTS[0], "", ""]
