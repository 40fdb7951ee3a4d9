"""The servable against a NumPy reference, and the index against hand-made events."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.protobuf import saved_model_pb2

from components.errors import InputError
from components.indexer import blocks
from components.indexer.fingerprint import fingerprint
from components.indexer.index import Index, build_index
from components.indexer.saving import save_servable
from components.indexer.settings import IndexerSettings, SimilarSettings

DIM = 3
MAX_HISTORY = 100
ITEMS = ["a", "b", 'c, "quoted"', "d e", "e🙂", "f", "g"]
NEW = "g"
"""An item without training events."""
LOG = [
    # user, item, time
    ("ann", "a", 10),
    ("ann", "b", 20),
    ("ann", "a", 30),
    ("bob, jr", "d e", 15),
    ("bob, jr", "a", 15),
    ("cleo", "e🙂", 5),
    ("cleo", "f", 6),
    ("cleo", 'c, "quoted"', 7),
]
DEFAULT_K = 4
SETTINGS = IndexerSettings(default_k=DEFAULT_K)
EMBEDDING = SimilarSettings(method="embedding")


def vectors() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(len(ITEMS), DIM)).astype(np.float32), rng.normal(size=len(ITEMS)).astype(np.float32)


SHIFTS = {("ann", 10): 5.0, ("ann", 30): 2.0, ("cleo", 7): -1.0}
"""Of some events a feature of the user, `shift`; the newest event's counts."""


class TinyQueryPart(tf.Module):
    """A query is the mean of the embeddings of the known items of the history, plus `shift`, plus the user's."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, DIM]),
            tf.TensorSpec([None, None], tf.bool),
            tf.TensorSpec([None, DIM]),
            tf.TensorSpec([None, 2], tf.string),
        ]
    )
    def combine(self, items: tf.Tensor, known: tf.Tensor, user: tf.Tensor, context: tf.Tensor) -> tf.Tensor:
        weight = tf.cast(known, tf.float32)[:, :, tf.newaxis]
        mean = tf.math.divide_no_nan(tf.reduce_sum(items * weight, axis=1), tf.reduce_sum(weight, axis=1))
        spec = {"shift": tf.io.FixedLenFeature([], tf.float32, default_value=np.nan)}
        shift = tf.reshape(tf.io.parse_example(tf.reshape(context, [-1]), spec)["shift"], [-1, 2])
        shift = tf.where(tf.math.is_nan(shift[:, 1]), shift[:, 0], shift[:, 1])
        return mean + tf.where(tf.math.is_nan(shift), 0.0, shift)[:, tf.newaxis] + user


class TinyTowers(tf.Module):
    """Towers whose items are in a history what they are as candidates; users add nothing, or what `users` says."""

    def __init__(self, users: dict[str, list[float]] | None = None) -> None:
        super().__init__()
        self.query_part = TinyQueryPart()
        self.users = users or {}
        embedding, bias = vectors()
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(ITEMS, tf.range(len(ITEMS), dtype=tf.int64)), -1
        )
        self.embedding = tf.Variable(embedding)
        self.bias = tf.Variable(bias)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def history_item(self, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        row = self.table.lookup(ids)
        return {"embedding": tf.gather(self.embedding, tf.maximum(row, 0)), "known": row >= 0}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def user(self, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        same = [tf.cast(ids == name, tf.float32)[:, tf.newaxis] * vector for name, vector in self.users.items()]
        return {"embedding": tf.add_n([tf.zeros([tf.size(ids), DIM]), *same])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def candidate(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        item = tf.io.parse_example(examples, {"item_id": tf.io.FixedLenFeature([], tf.string)})["item_id"]
        row = self.table.lookup(item)
        return {"item_id": item, "embedding": tf.gather(self.embedding, row), "bias": tf.gather(self.bias, row)}


def write_examples(directory: Path, split: str, rows: list[dict[str, Any]]) -> str:
    folder = directory / f"Split-{split}"
    folder.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / "data-00000-of-00001.gz"), "GZIP") as writer:
        for row in rows:
            example = tf.train.Example()
            for name, value in row.items():
                feature = example.features.feature[name]
                if isinstance(value, int):
                    feature.int64_list.value.append(value)
                elif isinstance(value, float):
                    feature.float_list.value.append(value)
                else:
                    feature.bytes_list.value.append(value.encode())
            writer.write(example.SerializeToString())
    return str(directory)


def write_towers(
    directory: Path,
    context: list[dict[str, str]],
    user_features: list[str],
    users: dict[str, list[float]] | None = None,
) -> str:
    module = TinyTowers(users)
    signatures = {name: getattr(module, name) for name in ("candidate", "history_item", "user")}
    tf.saved_model.save(module, str(directory), signatures=signatures)
    (directory / "assets.extra").mkdir()
    manifest = {"context": context, "user_features": user_features, "max_history": MAX_HISTORY}
    (directory / "assets.extra" / "towers.json").write_text(json.dumps(manifest))
    return str(directory)


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_towers(tmp_path_factory.mktemp("towers"), [], [])


@pytest.fixture(scope="module")
def index(towers: str, tmp_path_factory: pytest.TempPathFactory) -> Index:
    return make_index(towers, tmp_path_factory.mktemp("data"))


def make_index(towers: str, data: Path) -> Index:
    catalogue = write_examples(
        data / "catalogue", "catalogue", [{"item_id": item, "display": f"Title {item}"} for item in ITEMS]
    )
    rows = [
        {"user_id": user, "item_id": item, "timestamp": time}
        | ({"shift": SHIFTS[user, time]} if (user, time) in SHIFTS else {})
        for user, item, time in LOG
    ]
    log = write_examples(data / "log", "train", rows)
    return build_index(towers, catalogue, log, stored_history=100, similar=EMBEDDING)


@pytest.fixture(scope="module")
def servable_dir(towers: str, index: Index, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("servable") / "1"
    save_servable(towers, index, SETTINGS, "tiny", str(directory))
    return directory


@pytest.fixture(scope="module")
def servable(servable_dir: Path) -> Any:
    return tf.saved_model.load(str(servable_dir))


def strings(rows: list[list[str]]) -> tf.Tensor:
    width = max((len(row) for row in rows), default=0)
    matrix = np.full((len(rows), width), "", object)
    for number, row in enumerate(rows):
        matrix[number, : len(row)] = row
    return tf.constant(matrix.tolist(), tf.string, shape=matrix.shape)


def recommend(
    servable: Any, users: list[str], histories: list[list[str]], excludes: list[list[str]], k: int
) -> tuple[list[list[str]], np.ndarray, list[str]]:
    answer = servable.signatures["recommend"](
        user_id=tf.constant(users), history=strings(histories), exclude=strings(excludes), k=tf.constant(k)
    )
    ids = [[item.decode() for item in row] for row in answer["item_ids"].numpy()]
    return ids, answer["scores"].numpy(), [source.decode() for source in answer["source"].numpy()]


STORED = {"ann": ["a", "b"], "bob, jr": ["a", "d e"], "cleo": ['c, "quoted"', "f", "e🙂"]}
POPULARITY = {"a": 3, "b": 1, 'c, "quoted"': 1, "d e": 1, "e🙂": 1, "f": 1, "g": 0}


def reference(user: str, history: list[str], exclude: list[str], k: int) -> tuple[list[str], list[float], str]:
    """What `recommend` must answer, in plain Python."""
    embedding, bias = vectors()
    known_history = [item for item in history if item in ITEMS]
    stored = STORED.get(user, [])
    basis = known_history or stored
    if user in STORED or known_history:
        query = np.mean([embedding[ITEMS.index(item)] for item in basis], axis=0)
        scores = embedding @ query + bias
        source = "user" if user in STORED else "history"
    else:
        scores = np.array([POPULARITY[item] for item in ITEMS], np.float32)
        source = "popular"
    left_out = {*history, *stored, *exclude}
    best = sorted((row for row in range(len(ITEMS)) if ITEMS[row] not in left_out), key=lambda row: (-scores[row], row))
    ids = [ITEMS[row] for row in best[:k]]
    padding = k - len(ids)
    return ids + [""] * padding, [float(scores[row]) for row in best[:k]] + [-np.inf] * padding, source


any_item = st.sampled_from([*ITEMS, "unknown", ""])
any_query = st.tuples(
    st.sampled_from([*STORED, "stranger", ""]), st.lists(any_item, max_size=6), st.lists(any_item, max_size=8)
)


@settings(max_examples=60, deadline=None)
@given(queries=st.lists(any_query, min_size=1, max_size=4), k=st.integers(1, 12))
def test_recommend_equals_the_reference(servable: Any, queries: list[tuple[str, list[str], list[str]]], k: int) -> None:
    users, histories, excludes = (list(column) for column in zip(*queries))
    ids, scores, sources = recommend(servable, users, histories, excludes, k)
    for row, (user, history, exclude) in enumerate(queries):
        expected_ids, expected_scores, source = reference(user, history, exclude, k)
        assert ids[row] == expected_ids
        assert scores[row] == pytest.approx(expected_scores, rel=1e-5, abs=1e-6)
        assert sources[row] == source


def example_of(query: tuple[str, list[str], list[str]], k: int | None) -> bytes:
    user, history, exclude = query
    example = tf.train.Example()
    for name, values in (("user_id", [user]), ("history", history), ("exclude", exclude)):
        example.features.feature[name].bytes_list.value.extend(value.encode() for value in values)
    if k is not None:
        example.features.feature["k"].int64_list.value.append(k)
    return example.SerializeToString()


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(any_query, st.none() | st.integers(-2, 12) | st.just(1_000) | st.just(1_001)), max_size=5)
)
def test_recommend_examples_gives_each_row_its_own_k(
    servable: Any, rows: list[tuple[tuple[str, list[str], list[str]], int | None]]
) -> None:
    examples = tf.constant([example_of(*row) for row in rows], tf.string)
    answer = servable.signatures["recommend_examples"](examples=examples)
    counts = [DEFAULT_K if k is None else k if 1 <= k <= 1_000 else 0 for _, k in rows]
    width = max(counts, default=0)
    assert answer["item_ids"].shape == answer["scores"].shape == (len(rows), width)
    for row, ((query, _), count) in enumerate(zip(rows, counts)):
        expected_ids, expected_scores, source = reference(*query, count)
        padding = width - count
        assert [item.decode() for item in answer["item_ids"][row].numpy()] == expected_ids + [""] * padding
        assert answer["scores"][row].numpy() == pytest.approx(expected_scores + [-np.inf] * padding, rel=1e-5, abs=1e-6)
        assert answer["source"][row].numpy().decode() == (source if count else "")


def test_a_request_without_anything_gets_the_popular_items(servable: Any) -> None:
    answer = servable.signatures["recommend_examples"](examples=tf.constant([b""]))
    expected_ids, _, source = reference("", [], [], DEFAULT_K)
    assert [item.decode() for item in answer["item_ids"][0].numpy()] == expected_ids
    assert answer["source"].numpy() == [source.encode()]


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(st.lists(st.sampled_from([-np.inf, -1.0, 0.0, 1.0, 2.0]), min_size=12, max_size=12), max_size=3),
    count=st.integers(0, 12),
)
def test_the_best_of_blocks_are_the_best(scores: list[list[float]], count: int) -> None:
    """Also of equal scores: the earlier row comes first, as without blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_BLOCK", 3)
        found, rows = blocks.best_in_blocks(tf.constant(scores, tf.float32, [len(scores), 12]), tf.constant(count))
    for line, own_scores, own_rows in zip(scores, found.numpy().tolist(), rows.numpy().tolist()):
        expected = sorted(range(12), key=lambda row: (-line[row], row))[:count]
        assert own_rows == expected
        assert own_scores == [line[row] for row in expected]


def test_a_large_catalogue_is_answered_like_a_small_one(
    servable: Any, towers: str, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "_BLOCKS_FROM", 5)
    monkeypatch.setattr(blocks, "_BLOCK", 3)  # the 7 items fill 3 blocks but for 2 rows
    save_servable(towers, index, SETTINGS, "tiny", str(tmp_path / "1"))
    large = tf.saved_model.load(str(tmp_path / "1"))
    users = [*STORED, "stranger", "stranger", ""]
    histories, excludes = [[], ["f"], [], ["d e", "a"], [], []], [["g"], [], ITEMS, ["b"], ["a"], []]
    for k in (1, 3, 7, 9):
        ids, scores, sources = recommend(servable, users, histories, excludes, k)
        other_ids, other_scores, other_sources = recommend(large, users, histories, excludes, k)
        assert (other_ids, other_sources) == (ids, sources)
        assert other_scores == pytest.approx(scores, rel=1e-6)
        inputs = {"item_id": tf.constant(["a", "g", "no"]), "exclude": strings([["b"], [], []]), "k": tf.constant(k)}
        similar, other = (model.signatures["similar_items"](**inputs) for model in (servable, large))
        for name in ("item_ids", "known"):
            assert other[name].numpy().tolist() == similar[name].numpy().tolist()
        assert other["scores"].numpy() == pytest.approx(similar["scores"].numpy(), rel=1e-6)


def test_stored_histories_are_newest_first_and_distinct(index: Index) -> None:
    for row, user in enumerate(index.user_ids):
        start, end = index.history_splits[row : row + 2]
        assert [ITEMS[item] for item in index.history_values[start:end]] == STORED[user.decode()]


def test_no_k_below_one_or_above_the_limit(servable: Any) -> None:
    for k, message in ((0, "at least 1"), (-1, "at least 1"), (1001, "at most 1000")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            recommend(servable, ["ann"], [[]], [[]], k)


def test_everything_excluded_leaves_padding(servable: Any) -> None:
    ids, scores, _ = recommend(servable, ["ann", "stranger"], [[], []], [ITEMS, ITEMS], 3)
    assert ids == [["", "", ""]] * 2
    assert np.isneginf(scores).all()


def test_no_requests_at_all(servable: Any) -> None:
    answer = servable.signatures["recommend"](
        user_id=tf.constant([], tf.string),
        history=tf.zeros([0, 0], tf.string),
        exclude=tf.zeros([0, 0], tf.string),
        k=tf.constant(2),
    )
    assert answer["item_ids"].shape == [0, 2]


def test_similar_items_is_the_cosine_without_the_item_itself(servable: Any) -> None:
    answer = servable.signatures["similar_items"](
        item_id=tf.constant(["a", "unknown"]), exclude=strings([["b"], []]), k=tf.constant(7)
    )
    embedding, _ = vectors()
    direction = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    cosine = direction @ direction[0]
    expected = sorted((r for r in range(len(ITEMS)) if ITEMS[r] not in ("a", "b")), key=lambda r: -cosine[r])
    ids = [[item.decode() for item in row] for row in answer["item_ids"].numpy()]
    assert ids[0] == [ITEMS[row] for row in expected] + ["", ""]
    assert answer["scores"].numpy()[0, :5] == pytest.approx(cosine[expected], rel=1e-5)
    assert answer["known"].numpy().tolist() == [True, False]
    assert ids[1] == [""] * 7


def test_score_ranks_as_recommend_does(servable: Any) -> None:
    answer = servable.signatures["score"](
        user_id=tf.constant(["ann", "stranger"]),
        history=strings([[], []]),
        candidates=strings([["f", "a", "unknown"], ["a", "g", ""]]),
    )["scores"].numpy()
    embedding, bias = vectors()
    query = (embedding[0] + embedding[1]) / 2
    assert answer[0] == pytest.approx(
        [embedding[5] @ query + bias[5], embedding[0] @ query + bias[0], -np.inf], rel=1e-5
    )
    assert answer[1].tolist() == [3, 0, -np.inf]


@pytest.fixture(scope="module")
def in_context(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A servable whose towers take the context `shift`, stored of ann (2) and cleo (-1)."""
    root = tmp_path_factory.mktemp("in_context")
    towers = write_towers(root / "towers", [{"name": "shift", "type": "number"}], ["shift"])
    directory = root / "servable" / "1"
    manifest = save_servable(towers, make_index(towers, root), SETTINGS, "tiny", str(directory))
    assert manifest["context"] == [{"name": "shift", "type": "number"}]
    return tf.saved_model.load(str(directory))


def shift_of(value: float | None) -> bytes:
    example = tf.train.Example()
    if value is not None:
        example.features.feature["shift"].float_list.value.append(value)
    return example.SerializeToString()


def test_context_of_the_request_counts_more_than_what_is_stored(in_context: Any) -> None:
    users = ["ann", "ann", "cleo", "bob, jr", "stranger", "stranger"]
    answer = in_context.signatures["recommend_in_context"](
        user_id=tf.constant(users),
        history=strings([["f"]] * 6),
        exclude=strings([[]] * 6),
        context=tf.constant([shift_of(value) for value in (None, 7.0, None, None, 0.5, None)]),
        k=tf.constant(1),
    )
    embedding, bias = vectors()
    for row, shift in enumerate([2, 7, -1, 0, 0.5, 0]):
        scores = embedding @ (embedding[5] + shift) + bias
        left_out = {"f", *STORED.get(users[row], [])}
        assert answer["scores"].numpy()[row, 0] == pytest.approx(
            max(score for item, score in zip(ITEMS, scores) if item not in left_out), rel=1e-5
        )


def test_other_signatures_use_the_stored_context(in_context: Any) -> None:
    embedding, bias = vectors()
    expected = embedding[4] @ ((embedding[0] + embedding[1]) / 2 + 2) + bias[4]
    score = in_context.signatures["score"](
        user_id=tf.constant(["ann"]), history=strings([[]]), candidates=strings([["e🙂"]])
    )["scores"].numpy()
    assert score[0, 0] == pytest.approx(expected, rel=1e-5)
    other = in_context.signatures["score_in_context"](
        user_id=tf.constant(["ann"]),
        history=strings([[]]),
        candidates=strings([["e🙂"]]),
        context=tf.constant([shift_of(4.0)]),
    )["scores"].numpy()
    assert other[0, 0] - score[0, 0] == pytest.approx(2 * embedding[4].sum(), rel=1e-4)
    [ids], [scores], _ = recommend(in_context, ["ann"], [[]], [[]], 7)
    assert scores[ids.index("e🙂")] == pytest.approx(expected, rel=1e-5)
    example = tf.train.Example.FromString(shift_of(3.0))
    example.features.feature["user_id"].bytes_list.value.append(b"ann")
    answer = in_context.signatures["serving_default"](examples=tf.constant([example.SerializeToString()]))
    asked = in_context.signatures["recommend_in_context"](
        user_id=tf.constant(["ann"]),
        history=strings([[]]),
        exclude=strings([[]]),
        context=tf.constant([shift_of(3.0)]),
        k=tf.constant(DEFAULT_K),
    )
    assert answer["scores"].numpy() == pytest.approx(asked["scores"].numpy())
    batched = in_context.signatures["recommend_examples"](examples=tf.constant([example.SerializeToString()] * 2))
    assert batched["scores"].numpy() == pytest.approx(np.repeat(asked["scores"].numpy(), 2, axis=0))


def test_a_cold_start_by_the_model(towers: str, index: Index, tmp_path: Path) -> None:
    settings = IndexerSettings(default_k=DEFAULT_K, cold_start="model")
    save_servable(towers, index, settings, "tiny", str(tmp_path / "1"))
    servable = tf.saved_model.load(str(tmp_path / "1"))
    users, histories = ["stranger", "", "ann"], [[], ["unknown"], []]
    ids, scores, sources = recommend(servable, users, histories, [["a"], [], []], 7)
    assert sources == ["popular", "popular", "user"]
    # An empty history is the query 0, so the biases alone decide.
    _, bias = vectors()
    best = [ITEMS[row] for row in np.argsort(-bias)]
    assert ids[0] == [item for item in best if item != "a"] + [""]
    assert ids[1] == best
    assert scores[1] == pytest.approx(np.sort(bias)[::-1])
    expected, _, _ = reference("ann", [], [], 7)
    assert ids[2] == expected


def test_towers_without_context_have_no_such_signature(servable: Any) -> None:
    assert not [name for name in servable.signatures if "context" in name]


def test_by_user_and_serving_default_equal_recommend(servable: Any) -> None:
    users = ["ann", "stranger"]
    expected, _, _ = recommend(servable, users, [[], []], [[], []], DEFAULT_K)
    by_user = servable.signatures["by_user"](user_id=tf.constant(users))["item_ids"].numpy()
    assert [[item.decode() for item in row] for row in by_user] == expected

    example = tf.train.Example()
    example.features.feature["user_id"].bytes_list.value.append(b"stranger")
    example.features.feature["history"].bytes_list.value.extend([b"f", b"a"])
    example.features.feature["seen"].bytes_list.value.extend([b"b"])
    empty = tf.train.Example()
    answer = servable.signatures["serving_default"](
        examples=tf.constant([example.SerializeToString(), empty.SerializeToString()])
    )["item_ids"].numpy()
    expected, _, _ = recommend(servable, ["stranger", ""], [["f", "a"], []], [["b"], []], DEFAULT_K)
    assert [[item.decode() for item in row] for row in answer] == expected


def test_describe(servable: Any) -> None:
    answer = servable.signatures["describe"](item_id=tf.constant(["e🙂", "unknown", ""]))
    assert [text.decode() for text in answer["display"].numpy()] == ["Title e🙂", "", ""]
    assert answer["known"].numpy().tolist() == [True, False, False]


def test_manifest_and_warmup(servable_dir: Path, servable: Any) -> None:
    from tensorflow_serving.apis import prediction_log_pb2

    manifest = json.loads((servable_dir / "assets.extra" / "recommender.json").read_text())
    assert manifest["format"] == 1
    assert (manifest["num_items"], manifest["num_users"], manifest["dim"]) == (7, 3, DIM)
    assert (manifest["default_k"], manifest["max_k"], manifest["model_name"]) == (DEFAULT_K, 1000, "tiny")
    asked = set()
    for record in tf.data.TFRecordDataset(str(servable_dir / "assets.extra" / "tf_serving_warmup_requests")):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        assert request.model_spec.name == "tiny"
        signature = request.model_spec.signature_name
        asked.add(signature)
        servable.signatures[signature](**{n: tf.constant(tf.make_ndarray(t)) for n, t in request.inputs.items()})
    assert asked == set(servable.signatures)


def test_loads_with_plain_tensorflow_and_native_ops(servable_dir: Path) -> None:
    program = f"""
import sys, tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
with tf.compat.v1.Session(graph=tf.Graph()) as session:
    tf.compat.v1.saved_model.load(session, ["serve"], {str(servable_dir)!r})
model = saved_model_pb2.SavedModel.FromString(open({str(servable_dir / "saved_model.pb")!r}, "rb").read())
graph = model.meta_graphs[0].graph_def
ops = {{n.op for n in graph.node}} | {{n.op for f in graph.library.function for n in f.node_def}}
assert not [op for op in ops if "PyFunc" in op], ops
assert not {{"tensorflow_recommenders", "tensorflow_transform", "tensorflow_text"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_table_is_copied_at_each_request(servable_dir: Path) -> None:
    """A variable that one op gathers from is copied whole by every op that reads it, in the same process ever after."""
    model = saved_model_pb2.SavedModel.FromString((servable_dir / "saved_model.pb").read_bytes())
    functions = {f.signature.name: f for f in model.meta_graphs[0].graph_def.library.function}
    used: dict[str, set[str]] = {}

    def follow(name: str, arguments: list[str]) -> None:
        """Notes by which ops each of a function's resources is used; `arguments` are what they are to the caller."""
        names = dict(zip((argument.name for argument in functions[name].signature.input_arg), arguments))
        for node in functions[name].node_def:
            inputs = [names.get(tensor, "") for tensor in node.input if not tensor.startswith("^")]
            called = [value.func.name for value in node.attr.values() if value.HasField("func")]
            if called:
                for function in called:  # of a condition the first input chooses the branch
                    follow(function, inputs[1:] if node.op in ("If", "StatelessIf") else inputs)
            elif inputs and inputs[0]:
                used.setdefault(inputs[0], set()).add(node.op)

    for node in model.meta_graphs[0].graph_def.node:
        if node.op == "StatefulPartitionedCall" and "traced" not in node.attr["f"].func.name:
            follow(node.attr["f"].func.name, list(node.input))
    assert {"ReadVariableOp"} in used.values()
    assert {"ResourceGather"} in used.values()
    assert not [name for name, ops in used.items() if {"ReadVariableOp", "ResourceGather"} <= ops], used


def test_fingerprint_changes_with_what_decides_an_answer_and_only_then(towers: str, index: Index) -> None:
    import dataclasses

    base = fingerprint(towers, index, SETTINGS)
    assert fingerprint(towers, dataclasses.replace(index), SETTINGS) == base
    bias = index.bias.copy()
    bias[0] += 1e-3
    display = index.display.copy()
    display[0] = b"another"
    context = index.user_context.copy()
    context[0] = shift_of(1.0)
    others = [
        fingerprint(towers, dataclasses.replace(index, user_context=context), SETTINGS),
        fingerprint(towers, dataclasses.replace(index, bias=bias), SETTINGS),
        fingerprint(towers, dataclasses.replace(index, display=display), SETTINGS),
        fingerprint(towers, index, IndexerSettings(default_k=DEFAULT_K + 1)),
        fingerprint(towers, index, IndexerSettings(default_k=DEFAULT_K, cold_start="model")),
    ]
    assert len({base, *others}) == 6


def test_empty_catalogue_is_named(towers: str, tmp_path: Path) -> None:
    catalogue = write_examples(tmp_path / "catalogue", "catalogue", [])
    with pytest.raises(InputError, match="the catalogue has no items"):
        build_index(towers, catalogue, "", 1, EMBEDDING)


@pytest.mark.parametrize(("compact", "tolerance"), [("float16", 0.01), ("int8", 0.1)])
def test_less_precision_changes_scores_a_little_and_counts_not_at_all(
    compact: Any, tolerance: float, towers: str, index: Index, servable: Any, tmp_path: Path
) -> None:
    manifest = save_servable(towers, index, SETTINGS.model_copy(update={"compact": compact}), "tiny", str(tmp_path))
    assert manifest["fingerprint"] != fingerprint(towers, index, SETTINGS)
    smaller = tf.saved_model.load(str(tmp_path))
    users, histories, candidates = ["ann", "nobody"], [["b", "f"], [""]], [ITEMS] * 2
    asked = {"user_id": tf.constant(users), "history": strings(histories), "candidates": strings(candidates)}
    found, exact = (model.signatures["score"](**asked)["scores"].numpy() for model in (smaller, servable))
    assert found[0] == pytest.approx(exact[0], abs=tolerance)
    assert not np.array_equal(found[0], exact[0])
    assert np.array_equal(found[1], exact[1])  # the popular items


@pytest.mark.parametrize("compact", ["float32", "float16", "int8"])
def test_what_the_users_ids_add(compact: Any, index: Index, servable: Any, tmp_path: Path) -> None:
    towers = write_towers(tmp_path / "towers", [], [], users={"cleo": [0.5, 0.0, -1.0]})
    own = make_index(towers, tmp_path / "data")
    assert len(index.user_embedding) == 0
    assert own.user_embedding.tolist() == [[0, 0, 0], [0, 0, 0], [0.5, 0, -1]]
    save_servable(towers, own, SETTINGS.model_copy(update={"compact": compact}), "tiny", str(tmp_path / "1"))
    with_ids = tf.saved_model.load(str(tmp_path / "1"))
    users = ["ann", "cleo", "nobody"]
    asked = {"user_id": tf.constant(users), "history": strings([["a"]] * 3), "candidates": strings([ITEMS] * 3)}
    found, without = (model.signatures["score"](**asked)["scores"].numpy() for model in (with_ids, servable))
    embedding, _ = vectors()
    expected = without + np.array([[0, 0, 0], [0.5, 0, -1], [0, 0, 0]]) @ embedding.T
    assert found == pytest.approx(expected, abs={"float32": 1e-5, "float16": 0.01, "int8": 0.1}[compact])


def test_ids_are_stored_once(servable_dir: Path, towers: str, index: Index, tmp_path: Path) -> None:
    plain = dataclasses.replace(index, display=index.item_ids)
    save_servable(towers, plain, SETTINGS, "tiny", str(tmp_path))
    for folder, names in ((servable_dir, ["display"]), (tmp_path, [])):
        stored = tf.train.load_checkpoint(str(folder / "variables" / "variables")).get_variable_to_dtype_map()
        texts = [name for name, kind in stored.items() if kind == tf.string and "CHECKPOINTABLE" not in name]
        assert [name.split("/")[0].lstrip("_") for name in texts if "user_context" not in name] == names
    answer = tf.saved_model.load(str(tmp_path)).signatures["describe"](item_id=tf.constant(["e🙂", "unknown"]))
    assert [text.decode() for text in answer["display"].numpy()] == ["e🙂", ""]
    assert answer["known"].numpy().tolist() == [True, False]
