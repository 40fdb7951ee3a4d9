"""A tiny world for component tests: 20 items, a servable that holds to the serving contract, and interactions."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Union

import pytest

from tests.components.stores import Killed, Proxy, gs_server, s3_server

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


def write_servable(
    path: Path,
    step: int = 1,
    max_k: int = 100,
    fingerprint: str = "f1",
    context: bool = False,
    exclude: str | tuple[str, ...] = "all",
) -> Path:
    """Saves a servable whose best item is the one `step` places after the newest of the history, then the next…

    Without a known history the first items come first. The input `exclude` is left out and, unless the servable leaves
    out something else than all, `history`; the rest is padding. With `context` there is a signature that takes a
    query's features too: the number `skip` goes to `step`, and a query without it or without the time 7 gets the first
    items.
    """
    import tensorflow as tf

    def strings(name: str, *shape: None) -> tf.TensorSpec:
        return tf.TensorSpec(shape, tf.string, name)

    exclude_history = exclude == "all"
    users, history, excluded = strings("user_id", None), strings("history", None, None), strings("exclude", None, None)
    contexts, k = strings("context", None), tf.TensorSpec([], tf.int32, "k")

    class Model(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.items = tf.constant(ITEMS)

        def scores(self, history, skip):
            """Scores [B, 20] of all items, and whether the history's newest is known [B]."""
            blank = tf.fill([tf.shape(history)[0], 1], "")
            newest = tf.concat([history, blank], axis=1)[:, :1]
            start = tf.argmax(tf.equal(newest, self.items), axis=1, output_type=tf.int32)
            known = tf.reduce_any(tf.equal(newest, self.items), axis=1)
            start = tf.where(known & (skip >= 0), start + step + skip, 0)
            places = tf.math.floormod(tf.range(len(ITEMS))[None, :] - start[:, None], len(ITEMS))
            return -tf.cast(places, tf.float32), known

        def best(self, history, exclude, k, skip):
            with tf.control_dependencies([tf.debugging.assert_less_equal(k, max_k, "k is over max_k")]):
                scores, known = self.scores(history, skip)
            left_out = tf.concat([history, exclude], 1) if exclude_history else exclude
            gone = tf.reduce_any(tf.equal(left_out[:, :, None], self.items), axis=1)
            taken = tf.minimum(k, len(ITEMS))
            scores, indices = tf.math.top_k(tf.where(gone, -float("inf"), scores), taken)
            ids = tf.where(tf.math.is_inf(scores), "", tf.gather(self.items, indices))
            return {
                "item_ids": tf.pad(ids, [[0, 0], [0, k - taken]]),
                "scores": tf.pad(scores, [[0, 0], [0, k - taken]], constant_values=-float("inf")),
                "source": tf.where(known, "history", "popular"),
            }

        @tf.function(input_signature=[users, history, excluded, k])
        def recommend(self, user_id, history, exclude, k):
            return self.best(history, exclude, k, tf.zeros_like(user_id, tf.int32))

        @tf.function(input_signature=[users, history, excluded, k, contexts])
        def recommend_in_context(self, user_id, history, exclude, k, context):
            return self.best(history, exclude, k, self.skip(context))

        def skip(self, context):
            features = {"skip": tf.io.FixedLenFeature([], tf.float32, -1.0)}
            features["timestamp"] = tf.io.FixedLenFeature([], tf.int64, 0)
            parsed = tf.io.parse_example(context, features)
            return tf.where(parsed["timestamp"] == 7, tf.cast(parsed["skip"], tf.int32), -1)

    model = Model()
    names = ["recommend", *(["recommend_in_context"] if context else [])]
    tf.saved_model.save(model, str(path), signatures={name: getattr(model, name) for name in names})
    description: dict[str, Any] = {"fingerprint": fingerprint, "max_k": max_k, "exclude": exclude}
    if context:
        description["context"] = [{"name": "skip", "type": "number"}, {"name": "timestamp", "type": "timestamp"}]
    (path / "assets.extra").mkdir()
    (path / "assets.extra" / "recommender.json").write_text(json.dumps(description))
    return path


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """The environment that leads to a server of S3's interface."""
    with s3_server() as environment:
        yield environment


@pytest.fixture(scope="module")
def gs() -> Iterator[dict[str, str]]:
    """The environment that leads to a server of Google Cloud Storage's interface."""
    with gs_server() as environment:
        yield environment


@pytest.fixture(scope="module")
def generations(gs: dict[str, str]) -> Iterator[dict[str, str]]:
    """The environment that leads to Google Cloud Storage with writes on a condition, which the emulator ignores."""
    with Proxy(gs["STORAGE_EMULATOR_HOST"], generations=True) as proxy:
        yield {"STORAGE_EMULATOR_HOST": proxy.url}


@pytest.fixture
def killer(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Lets as many writes to S3 happen as `left` says, and then nothing."""
    from aiobotocore.client import AioBaseClient

    left = {"left": 1 << 30}
    original = AioBaseClient._make_api_call

    async def call(self, operation, parameters):
        if left["left"] <= 0:
            raise Killed
        if not operation.startswith(("Get", "Head", "List")):
            left["left"] -= 1
        return await original(self, operation, parameters)

    monkeypatch.setattr(AioBaseClient, "_make_api_call", call)
    return left


@pytest.fixture(autouse=True, scope="module")
def _collect_what_is_new_alone() -> Iterator[None]:
    """Spares the garbage collector the millions of objects of TensorFlow and TFX, and what asks it for referrers, as
    pyarrow 10 does at each piece of CSV, a tenth of a second."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def servable(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Gives the directory of a servable with the wanted properties; each is made once."""
    made: dict[tuple, Path] = {}

    def make(**properties: Any) -> Path:
        key = tuple(sorted(properties.items()))
        if key not in made:
            made[key] = write_servable(tmp_path_factory.mktemp("servable") / "model", **properties)
        return made[key]

    return make
