"""A servable that keeps the whole serving contract on 20 items, with scores that can be worked out by hand."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from serving import contract

ITEMS = [
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
    "7",
    "8",
    "9",
    "10",
    "a,b",
    'say "hi"',
    "two words",
    "🎬",
    "ä",
    "x",
    "y",
    "z",
    "v",
    "w",
]
"""The catalogue, most popular first: item i has popularity 20 - i."""
USERS = {"ann": ["1", "2"], "bob, jr": ["🎬"]}
"""Known users and their stored histories, newest first."""
DEFAULT_K = 3
MAX_K = 30


def build(
    path: str,
    version: int = 1,
    keep_excluded: bool = False,
    source: str = "user",
    warmup: Sequence[str] = ("recommend",),
) -> str:
    """Writes the servable to `path` and returns that.

    The score of item i for somebody with a history is `version * 1000 - |i - newest|`, newest being the place of the
    history's first item; for anybody else it is `version * 1000 + 20 - i`.

    Item i has the vector (i, -i / 4) and the bias `version * 1000 + i / 2`, a query (items seen, `age` of its context).

    A context adds its `age` and the seconds of its `timestamp` to all scores, 100 to those of its `tags` and 5000 to
    that of its `device`, which both hold items.

    An explanation has `version * 1000` as the item's bias, and the rest from the newest item of the history or else
    from the item's popularity; a context adds its `age`.

    Args:
        path: where it goes.
        version: shows in the scores and in the titles, so that a test can tell which version answered.
        keep_excluded: break the contract: return what is excluded.
        source: what a known user's source is said to be.
        warmup: signatures with a warm-up request; one that doesn't exist breaks the load.
    """
    import tensorflow as tf

    class Tiny(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ids = tf.constant(ITEMS)
            self.titles = tf.constant([f"v{version}: title of {item}" for item in ITEMS])
            self.offset = tf.Variable(version * 1000.0)
            self.items = _table(ITEMS)
            self.users = _table(list(USERS))
            width = max(map(len, USERS.values()))
            self.stored = tf.constant(
                [[*items, *[""] * (width - len(items))] for items in USERS.values()] + [[""] * width]
            )

        def score_all(self, user_id: tf.Tensor, history: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            user = self.users.lookup(user_id)
            known = user >= 0
            requested = self.items.lookup(history)
            stored = self.items.lookup(tf.gather(self.stored, tf.where(known, user, len(USERS))))
            seen = tf.concat([requested, stored], axis=1)
            personal = tf.reduce_any(seen >= 0, axis=1)
            first = tf.argmax(seen >= 0, axis=1)
            newest = tf.gather(seen, first, batch_dims=1)
            place = tf.range(len(ITEMS), dtype=tf.int64)
            near = -tf.cast(tf.abs(place[tf.newaxis] - newest[:, tf.newaxis]), tf.float32)
            popular = tf.cast(len(ITEMS) - place, tf.float32)[tf.newaxis]
            scores = self.offset + tf.where(personal[:, tf.newaxis], near, popular)
            has_request = tf.reduce_any(requested >= 0, axis=1)
            origin = tf.where(known, source, tf.where(has_request, "history", "popular"))
            return scores, origin, seen

        def top(self, scores: tf.Tensor, excluded: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
            checks = [
                tf.debugging.assert_greater(k, 0, "k must be at least 1"),
                tf.debugging.assert_less_equal(k, MAX_K),
            ]
            with tf.control_dependencies(checks):
                count = tf.minimum(k, len(ITEMS))
            if not keep_excluded:
                hidden = tf.reduce_any(excluded[:, :, tf.newaxis] == tf.range(len(ITEMS), dtype=tf.int64), axis=1)
                scores = tf.where(hidden, float("-inf"), scores)
            scores, rows = tf.math.top_k(scores, count)
            ids = tf.where(tf.math.is_inf(scores), "", tf.gather(self.ids, rows))
            pad = [[0, 0], [0, k - count]]
            return {"item_ids": tf.pad(ids, pad), "scores": tf.pad(scores, pad, constant_values=float("-inf"))}

        @tf.function(input_signature=[_strings(1), _strings(2), _strings(2), tf.TensorSpec([], tf.int32)])
        def recommend(self, user_id, history, exclude, k):
            scores, origin, seen = self.score_all(user_id, history)
            return {**self.top(scores, tf.concat([seen, self.items.lookup(exclude)], 1), k), "source": origin}

        @tf.function(input_signature=[_strings(1), _strings(2), _strings(2), tf.TensorSpec([], tf.int32), _strings(1)])
        def recommend_in_context(self, user_id, history, exclude, k, context):
            features = tf.io.parse_example(
                context,
                {
                    "device": tf.io.FixedLenFeature([], tf.string, ""),
                    "age": tf.io.FixedLenFeature([], tf.float32, 0.0),
                    "timestamp": tf.io.FixedLenFeature([], tf.int64, 0),
                    "tags": tf.io.RaggedFeature(tf.string),
                },
            )
            scores, origin, seen = self.score_all(user_id, history)
            seconds = tf.cast(features["timestamp"], tf.float32) / 1e6
            tagged = tf.reduce_any(features["tags"].to_tensor()[:, :, tf.newaxis] == self.ids, axis=1)
            scores += (features["age"] + seconds)[:, tf.newaxis] + 100 * tf.cast(tagged, tf.float32)
            scores += 5000 * tf.cast(features["device"][:, tf.newaxis] == self.ids, tf.float32)
            return {**self.top(scores, tf.concat([seen, self.items.lookup(exclude)], 1), k), "source": origin}

        @tf.function(input_signature=[_strings(1), _strings(2), tf.TensorSpec([], tf.int32)])
        def similar_items(self, item_id, exclude, k):
            row = self.items.lookup(item_id)
            scores, _, _ = self.score_all(tf.fill(tf.shape(item_id), ""), item_id[:, tf.newaxis])
            excluded = tf.concat([row[:, tf.newaxis], self.items.lookup(exclude)], 1)
            return {**self.top(scores, excluded, k), "known": row >= 0}

        @tf.function(input_signature=[_strings(1), _strings(2), _strings(2)])
        def score(self, user_id, history, candidates):
            scores, _, _ = self.score_all(user_id, history)
            row = self.items.lookup(candidates)
            found = tf.gather(scores, tf.maximum(row, 0), batch_dims=1)
            return {"scores": tf.where(row >= 0, found, float("-inf"))}

        def explained(self, user_id, history, candidates, age):
            scores, _, seen = self.score_all(user_id, history)
            row = self.items.lookup(candidates)
            own = tf.gather(scores, tf.maximum(row, 0), batch_dims=1) - self.offset
            personal = tf.reduce_any(seen >= 0, axis=1)[:, tf.newaxis, tf.newaxis]
            first = tf.one_hot(tf.argmax(seen >= 0, axis=1), tf.shape(seen)[1])[:, tf.newaxis]
            known = (row >= 0)[:, :, tf.newaxis]
            ages = tf.zeros_like(own) + age[:, tf.newaxis]
            popular = tf.where(personal[:, :, 0], 0.0, own)
            found = tf.where(row >= 0, own + self.offset + ages, float("-inf"))
            return {
                "scores": found,
                "history_ids": tf.where(seen >= 0, tf.gather(self.ids, tf.maximum(seen, 0)), ""),
                "contributions": tf.where(known & personal, own[:, :, tf.newaxis] * first, 0.0),
                "parts": tf.where(known, tf.stack([tf.zeros_like(own) + self.offset, popular, ages], axis=2), 0.0),
                "part_names": tf.repeat([["bias", "popularity", "feature:age"]], tf.size(user_id), axis=0),
                "method": tf.where(personal[:, 0, 0], "attribution", "exact"),
            }

        @tf.function(input_signature=[_strings(1), _strings(2), _strings(2)])
        def explain(self, user_id, history, candidates):
            return self.explained(user_id, history, candidates, tf.zeros(tf.shape(user_id)))

        @tf.function(input_signature=[_strings(1), _strings(2), _strings(2), _strings(1)])
        def explain_in_context(self, user_id, history, candidates, context):
            age = tf.io.parse_example(context, {"age": tf.io.FixedLenFeature([], tf.float32, 0.0)})["age"]
            return self.explained(user_id, history, candidates, age)

        @tf.function(input_signature=[_strings(1)])
        def by_user(self, user_id):
            none = tf.fill([tf.size(user_id), 0], "")
            answer = self.recommend(user_id, none, none, tf.constant(DEFAULT_K))
            return {name: answer[name] for name in ("item_ids", "scores")}

        @tf.function(input_signature=[_strings(1)])
        def serving_default(self, examples):
            lists = {name: tf.io.VarLenFeature(tf.string) for name in ("history", "seen")}
            parsed = tf.io.parse_example(
                examples, {"user_id": tf.io.FixedLenFeature([], tf.string, default_value=""), **lists}
            )
            history, seen = (tf.sparse.to_dense(parsed[name], "") for name in ("history", "seen"))
            answer = self.recommend(parsed["user_id"], history, seen, tf.constant(DEFAULT_K))
            return {name: answer[name] for name in ("item_ids", "scores")}

        @tf.function(input_signature=[_strings(1)])
        def describe(self, item_id):
            row = self.items.lookup(item_id)
            return {"display": tf.where(row >= 0, tf.gather(self.titles, tf.maximum(row, 0)), ""), "known": row >= 0}

        @tf.function(input_signature=[_strings(1)])
        def embed_items(self, item_id):
            row = self.items.lookup(item_id)
            known, place = row >= 0, tf.cast(row, tf.float32)
            embedding = tf.where(known[:, tf.newaxis], tf.stack([place, -place / 4], axis=1), 0.0)
            return {"embedding": embedding, "bias": tf.where(known, self.offset + place / 2, 0.0), "known": known}

        @tf.function(input_signature=[_strings(1), _strings(2), _strings(1)])
        def embed_queries(self, user_id, history, context):
            _, _, seen = self.score_all(user_id, history)
            age = tf.io.parse_example(context, {"age": tf.io.FixedLenFeature([], tf.float32, 0.0)})["age"]
            count = tf.reduce_sum(tf.cast(seen >= 0, tf.float32), axis=1)
            ids = tf.where(seen >= 0, tf.gather(self.ids, tf.maximum(seen, 0)), "")
            return {"embedding": tf.stack([count, age], axis=1), "known": count > 0, "seen": ids}

        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.float32),
                tf.TensorSpec([None], tf.int64),
                tf.TensorSpec([None], tf.bool),
                tf.TensorSpec([None], tf.string),
            ]
        )
        def echo(self, floats, ints, flags, texts):
            named = {"floats": floats, "ints": ints, "flags": flags, "texts": texts, "texts_bytes": texts}
            return {name: tf.identity(value) for name, value in named.items()}

        @tf.function(input_signature=[_strings(1)])
        def classify(self, inputs):
            """Classes `small` and `large` of the feature `x`, with the scores -x and x."""
            x = _x(inputs)
            classes = tf.tile([["small", "large"]], [tf.size(x), 1])
            return {"classes": classes, "scores": tf.stack([-x, x], axis=1)}

        @tf.function(input_signature=[_strings(1)])
        def regress(self, inputs):
            """1000 times the version, plus the feature `x`."""
            return {"outputs": (self.offset + _x(inputs))[:, tf.newaxis]}

        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32)])
        def double(self, x):
            return {"y": 2 * x}

        @tf.function(input_signature=[tf.TensorSpec([], tf.float64)])
        def slow(self, seconds):
            end = tf.timestamp() + seconds
            (last,) = tf.while_loop(lambda now: now < end, lambda now: (tf.timestamp(),), (tf.timestamp(),))
            return {"late": last - end}

    tiny = Tiny()
    names = (
        "recommend",
        "recommend_in_context",
        "similar_items",
        "score",
        "explain",
        "explain_in_context",
        "by_user",
        "serving_default",
        "describe",
        "embed_items",
        "embed_queries",
        "echo",
        "classify",
        "regress",
        "double",
        "slow",
    )
    tf.saved_model.save(tiny, path, signatures={name: getattr(tiny, name) for name in names})
    os.makedirs(os.path.join(path, "assets.extra"), exist_ok=True)
    manifest = {"format": contract.FORMAT, "num_items": len(ITEMS), "default_k": DEFAULT_K, "max_k": MAX_K}
    with open(os.path.join(path, contract.MANIFEST), "w", encoding="utf-8") as file:
        json.dump(manifest, file)
    write_warmup(os.path.join(path, contract.WARMUP), warmup)
    return path


def _strings(rank: int):
    import tensorflow as tf

    return tf.TensorSpec([None] * rank, tf.string)


def _x(examples):
    import tensorflow as tf

    return tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([], tf.float32, 0.0)})["x"]


def _table(keys: Sequence[str]):
    import tensorflow as tf

    rows = tf.range(len(keys), dtype=tf.int64)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(tf.constant(keys), rows), -1)


def write_warmup(path: str, signatures: Sequence[str]) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    with tf.io.TFRecordWriter(path) as writer:
        for signature in signatures:
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = "tiny"
            request.model_spec.signature_name = signature
            for name, value in {"user_id": ["ann"], "history": [["1"]], "exclude": [["2"]]}.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value, tf.string))
            request.inputs["k"].CopyFrom(tf.make_tensor_proto(3, tf.int32))
            writer.write(log.SerializeToString())
