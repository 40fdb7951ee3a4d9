"""`recommender batch`: recommendations for many users at once, as a CSV file, from a pushed version and no server."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from components.errors import InputError
from components.versions import check_writable, model_dir
from pipeline.config import Config
from pipeline.evaluate import find_model

ALL = "all"
"""As the users: everybody whom the model knows."""
_BATCH = 512


def batch(config: Config, users: str, k: int | None, out: Path, model: str | None = None) -> int:
    """Writes the best items of each user to a CSV file, which appears whole or not at all.

    The columns are `user_id`, `top1`, `top2` and so on; where fewer than k items are left, the last ones are empty.

    Args:
        config: Says where versions are pushed, and the k unless given.
        users: `all`, or a text file with an id a line.
        k: How many items.
        out: The file.
        model: As for `recommender evaluate`.

    Returns:
        How many users the file has.

    Raises:
        InputError: A file, the model or k is wrong.
    """
    path = find_model(model_dir(config.serving.base_path, config.name), model)
    k = config.serving.default_k if k is None else k
    check_writable(out.parent)
    wanted = _users(path / "assets" / "users.txt" if users == ALL else Path(users))
    new = out.with_name(f".{out.name}.{os.getpid()}")
    count = 0
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with open(new, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["user_id", *(f"top{rank}" for rank in range(1, k + 1))])
            for user_ids, rows in _answers(path, wanted, k):
                writer.writerows([user, *items] for user, items in zip(user_ids, rows))
                count += len(user_ids)
        os.replace(new, out)
    except OSError as error:
        raise InputError(f"{out}: can't be written: {error.strerror}") from None
    finally:
        new.unlink(missing_ok=True)
    return count


def _users(file: Path) -> list[str]:
    """The ids of a text file, one a line; empty lines are left out."""
    try:
        with open(file, encoding="utf-8", newline="\n") as lines:
            users = [user for line in lines if (user := line.rstrip("\r\n"))]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--users {file}: can't be read: {error}; it is {ALL} or a file with an id a line") from None
    if not users:
        raise InputError(f"--users {file}: there are no users in it")
    return users


def _answers(model: Path, users: list[str], k: int) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Yields users and their items, `k` each, padded with empty ids."""
    import json

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow tells the terminal of its build
    import tensorflow as tf

    limit = json.loads((model / "assets.extra" / "recommender.json").read_text(encoding="utf-8"))["max_k"]
    if not 1 <= k <= limit:
        raise InputError(f"-k {k}: this model answers 1 to {limit} items")
    recommend = tf.saved_model.load(str(model)).signatures["recommend"]
    remaining = iter(users)
    while some := list(islice(remaining, _BATCH)):
        nothing = tf.fill([len(some), 0], "")
        answer = recommend(user_id=tf.constant(some), history=nothing, exclude=nothing, k=tf.constant(k))
        yield some, [[item.decode() for item in row] for row in answer["item_ids"].numpy().tolist()]
