"""The exported towers: what they make of raw ids and contexts."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model.export import export_towers
from pipeline.model.inputs import read_data
from pipeline.model.job import Transformed
from pipeline.model.towers import TwoTowerModel
from serving import contract
from tests.pipeline.model.small_log import (
    HOUR,
    IN_CONTEXT,
    ITEMS,
    NEW,
    QUERY_FEATURES,
    ask,
    example,
    items,
    make_settings,
)

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


def export(transformed: Transformed, folder: Path, context: dict[str, str], **model: Any) -> Any:
    """Exports towers whose weights are drawn, so that all of them matter, and loads them."""
    settings = make_settings(model)
    data = read_data(transformed, settings)
    towers = TwoTowerModel(settings.model, settings.training, data.vocabulary, seed=1)
    towers.compute_loss(data.events.first.columns())
    chance = np.random.default_rng(1)
    for weight in towers.trainable_weights:
        weight.assign(chance.normal(size=weight.shape))
    graphs = (tft.TFTransformOutput(graph) for graph in (transformed.transform_graph, transformed.catalogue_graph))
    shares = settings.model.task_shares
    export_towers(towers, *graphs, data.vocabulary, context, list(settings.user_features), str(folder), tasks=shares)
    return tf.saved_model.load(str(folder))


@pytest.fixture(scope="module")
def plain(transformed: Transformed, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Towers of histories alone."""
    return export(transformed, tmp_path_factory.mktemp("plain"), {})


def test_towers_ignore_padding_unknown_items_and_what_is_too_old(plain: Any) -> None:
    query = plain.signatures["query"]
    same = [
        [ITEMS[1], ITEMS[2], "", "", "", "", ""],
        ["", ITEMS[1], "", ITEMS[2], "", "", ""],
    ]
    embedding = ask(query, same)
    assert embedding[0] == pytest.approx(embedding[1])
    long = [[ITEMS[1]] * 5 + [ITEMS[2]] * 2, [ITEMS[1]] * 5 + ["", ""]]
    embedding = ask(query, long)
    assert embedding[0] == pytest.approx(embedding[1])
    unknown = [["what is this"], [""]]
    embedding = ask(query, unknown)
    assert embedding[0] == pytest.approx(embedding[1])


def test_an_item_without_events_is_described_by_its_features(plain: Any) -> None:
    candidate = plain.signatures["candidate"]
    item = tf.train.Example()
    item.features.feature["item_id"].bytes_list.value.append(NEW.encode())
    about = item.features.feature["about"].float_list.value
    about.extend([0, 0])
    bare = item.SerializeToString()
    item.features.feature["genres"].bytes_list.value.append(b"even")
    described = [item.SerializeToString()]
    item.features.feature["genres"].bytes_list.value.pop()
    about[:] = [0.5, 2]
    described.append(item.SerializeToString())
    answer = candidate(examples=tf.constant([bare, *described]))
    embedding = answer["embedding"].numpy()
    assert not embedding[0].any()
    assert embedding[1].any()
    assert embedding[2].any()
    known = [example(row) for row in items()]
    biases = candidate(examples=tf.constant(known))["bias"].numpy()
    assert answer["bias"].numpy()[0] == biases[:-1].min()


@pytest.fixture(scope="module")
def in_context(transformed: Transformed, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The signature `query` of towers that take a context."""
    folder = tmp_path_factory.mktemp("in_context")
    towers = export(transformed, folder, {**QUERY_FEATURES, "timestamp": "timestamp"}, **IN_CONTEXT)
    manifest = json.loads((folder / "assets.extra" / "towers.json").read_text())
    assert manifest == {
        "context": [
            {"name": "device", "type": "category"},
            {"name": "age", "type": "number"},
            {"name": "timestamp", "type": "timestamp"},
        ],
        "user_features": ["age"],
        "max_history": 5,
    }
    return lambda contexts, users=None: ask(
        towers.signatures["query"], [[ITEMS[1]]] * len(contexts), users=users, contexts=contexts
    )


def test_each_part_of_the_context_matters(in_context: Any) -> None:
    contexts = [[b"", b""], [b"", context(device="tv")], [b"", context(age=1.0)], [b"", context(timestamp=13 * HOUR)]]
    embeddings = in_context(contexts)
    assert len({embedding.tobytes() for embedding in embeddings}) == 4
    [stranger, known] = in_context(contexts[:1] * 2, users=["nobody", "user 3"])
    assert stranger == pytest.approx(embeddings[0])
    assert not np.allclose(known, stranger)


def test_of_two_contexts_the_later_counts_feature_by_feature(in_context: Any) -> None:
    both = [context(device="tv", age=1.0), context(age=0.0)]
    [merged, swapped, expected] = in_context([both, both[::-1], [b"", context(device="tv", age=0.0)]])
    assert merged == pytest.approx(expected)
    assert not np.allclose(swapped, expected)


def test_time_is_hour_and_weekday_in_utc(in_context: Any) -> None:
    day = 24 * HOUR
    [one, week_later, next_day] = in_context(
        [[b"", context(timestamp=time)] for time in (5 * HOUR, 7 * day + 5 * HOUR + 59 * 60_000_000, day + 5 * HOUR)]
    )
    assert week_later == pytest.approx(one)
    assert not np.allclose(next_day, one)


def test_unknown_values_are_like_none(in_context: Any) -> None:
    [bare, unknown] = in_context([[b"", b""], [b"", context(device="fridge")]])
    assert unknown == pytest.approx(bare)


ALL = {**QUERY_FEATURES, "timestamp": "timestamp"}
NAMES = [contract.OF_USER_ID, *(contract.OF_FEATURE + name for name in ("device", "age", "hour", "weekday"))]
DIM = 8


@pytest.fixture(scope="module")
def explaining(transformed: Transformed, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Gives the query part of towers with these settings beside `IN_CONTEXT`, each made once."""

    @functools.cache
    def make(with_tasks: bool = False, **settings: Any) -> Any:
        settings |= {"tasks": TASKS} if with_tasks else {}
        return export(transformed, tmp_path_factory.mktemp("towers"), ALL, **IN_CONTEXT, **settings).query_part

    return make


TASKS = {"purchase": {"events": ["buy"], "weight": 3}, "view": {"events": ["view"]}}


def query_of(rows: list[tuple[list[bool], float, str | None, float | None]]) -> tuple[tf.Tensor, ...]:
    """Inputs of `combine`: of each row which items are known, how large the user's embedding is, device and age."""
    width = max(len(known) for known, *_ in rows)
    known = [[*known, *[False] * (width - len(known))] for known, *_ in rows]
    return (
        tf.random.stateless_normal([len(rows), width, DIM], [1, 1]),
        tf.reshape(tf.constant(known, tf.bool), [len(rows), width]),
        tf.random.stateless_normal([len(rows), DIM], [2, 2]) * tf.constant([[size] for _, size, _, _ in rows]),
        tf.constant([[b"", context(device, age, 5 * HOUR)] for _, _, device, age in rows]),
    )


any_row = st.tuples(
    st.lists(st.booleans(), max_size=5),
    st.sampled_from([0.0, 1.0]),
    st.sampled_from([None, "tv", "fridge"]),
    st.none() | st.floats(-2, 2, width=32),
)
WAYS = {"sum": {}, "normalised": {"normalize": True}, "no history": {"history": "none"}}
ERASED = {
    "attention": {"history": "attention"},
    "transformer": {"history": "transformer"},
    "hidden layers": {"query_layers": (4,)},
}


@pytest.mark.parametrize("way", [*WAYS, *ERASED])
@settings(max_examples=15, deadline=None)
@given(rows=st.lists(any_row, min_size=1, max_size=4), count=st.integers(1, 3))
def test_contributions_and_parts_add_up_to_the_product(explaining: Any, way: str, rows: Any, count: int) -> None:
    part = explaining(**{**WAYS, **ERASED}[way])
    asked, candidates = query_of(rows), tf.random.stateless_normal([len(rows), count, DIM], [3, 3])
    found = {name: value.numpy() for name, value in part.explain(*asked, candidates).items()}
    products = tf.linalg.matvec(candidates, part.combine(*asked)).numpy()
    contributions, parts = found[contract.CONTRIBUTIONS], found[contract.PARTS]
    assert (contributions.shape, parts.shape) == (
        (len(rows), count, asked[0].shape[1]),
        (len(rows), count, 6 if way in WAYS else 7),
    )
    size = np.abs(contributions).sum(2) + np.abs(parts).sum(2)
    assert (np.abs(contributions.sum(2) + parts.sum(2) - products) <= 1e-4 * size + 1e-6).all()
    rest, method = ([], contract.EXACT) if way in WAYS else ([contract.REST], contract.ATTRIBUTION)
    assert [name.decode() for name in found[contract.PART_NAMES]] == [contract.EMPTY_HISTORY, *rest, *NAMES]
    assert found[contract.METHOD].decode() == method
    known = np.broadcast_to(asked[1].numpy()[:, np.newaxis], contributions.shape)
    assert not contributions[~known].any()
    unknown_user = [size == 0 for _, size, _, _ in rows]
    assert np.abs(parts[unknown_user, :, -len(NAMES)]).max(initial=0) <= 1e-5


def test_towers_with_tasks_weigh_what_each_says(transformed: Transformed, tmp_path: Path) -> None:
    towers = export(transformed, tmp_path, {}, tasks=TASKS)
    noted = json.loads((tmp_path / "assets.extra" / "towers.json").read_text())["tasks"]
    assert noted == [{"name": "purchase", "weight": 0.75}, {"name": "view", "weight": 0.25}]
    row = tf.random.stateless_normal([2, DIM], [1, 1])
    items, known = tf.stack([row] * 3), tf.constant([[True, True]] * 3)
    shares = tf.constant([[1.0, 0.0], [0.0, 1.0], [0.25, 0.75]])
    asked = items, known, tf.zeros([3, DIM]), tf.constant([[b""]] * 3), shares
    purchase, view, both = towers.query_part.combine(*asked).numpy()
    np.testing.assert_allclose(both, 0.25 * purchase + 0.75 * view, rtol=1e-4)
    assert np.abs(purchase - view).max() > 0.1, "the test would show nothing"
    # The signature has no weights: those of the settings count.
    histories = towers.signatures["history_item"](ids=tf.constant(ITEMS[:1]))["embedding"]
    asked = histories[tf.newaxis], tf.constant([[True]]), tf.zeros([1, DIM]), tf.constant([[b""]])
    expected = towers.query_part.combine(*asked, tf.constant([[0.75, 0.25]]))
    np.testing.assert_allclose(ask(towers.signatures["query"], [ITEMS[:1]]), expected, rtol=1e-4)


@pytest.mark.parametrize("way", [*WAYS, "hidden layers"])
@settings(max_examples=15, deadline=None)
@given(rows=st.lists(any_row, min_size=1, max_size=4), first=st.sampled_from([0.0, 0.25, 1.0]))
def test_with_tasks_too_they_add_up_to_the_product(explaining: Any, way: str, rows: Any, first: float) -> None:
    part = explaining(True, **{**WAYS, **ERASED}[way])
    asked, candidates = query_of(rows), tf.random.stateless_normal([len(rows), 2, DIM], [3, 3])
    shares = tf.constant([[first, 1 - first]] * len(rows))
    found = {name: value.numpy() for name, value in part.explain(*asked, candidates, shares).items()}
    products = tf.linalg.matvec(candidates, part.combine(*asked, shares)).numpy()
    contributions, parts = found[contract.CONTRIBUTIONS], found[contract.PARTS]
    size = np.abs(contributions).sum(2) + np.abs(parts).sum(2)
    assert (np.abs(contributions.sum(2) + parts.sum(2) - products) <= 1e-4 * size + 1e-6).all()
    beside = [contract.OF_TASKS, contract.EMPTY_HISTORY] if way in WAYS else [contract.EMPTY_HISTORY, contract.REST]
    assert [name.decode() for name in found[contract.PART_NAMES]] == [*beside, *NAMES]


@pytest.mark.parametrize("way", ERASED)
def test_by_attribution_what_something_carries_is_what_there_is_less_without_it(explaining: Any, way: str) -> None:
    """Of 18 queries, so that what is left out of them fills more than one piece."""
    part = explaining(**ERASED[way])
    asked = query_of([([True, False, True], 1.0, "tv", 0.5), ([True], 1.0, None, 2.0), ([], 1.0, "tv", None)] * 6)
    items, known, user, contexts = asked
    candidates = tf.random.stateless_normal([18, 2, DIM], [3, 3])
    found = part.explain(*asked, candidates)

    def lost(*without: tf.Tensor) -> np.ndarray:
        return tf.linalg.matvec(candidates, part.combine(*asked) - part.combine(*without)).numpy()

    for place in range(3):
        rest = known & (tf.range(3) != place)
        np.testing.assert_allclose(
            found["contributions"][:, :, place], lost(items, rest, user, contexts), rtol=1e-3, atol=1e-4
        )
    np.testing.assert_allclose(found["parts"][:, :, 2], lost(items, known, 0 * user, contexts), rtol=1e-3, atol=1e-4)
    of_rows = {"device": [None] * 3, "age": [0.5, 2.0, None]}, {"device": ["tv", None, "tv"], "age": [None] * 3}
    nothing = part.combine(items, known & False, 0 * user, tf.constant([[b"", b""]] * 18))
    empty = tf.linalg.matvec(candidates, nothing)
    np.testing.assert_allclose(found["parts"][:, :, 0], empty, rtol=1e-3, atol=1e-4)
    for place, left in zip((3, 4), of_rows):
        rows = [context(device, age, 5 * HOUR) for device, age in zip(left["device"], left["age"])]
        less = lost(items, known, user, tf.constant([[b"", row] for row in rows] * 6))
        np.testing.assert_allclose(found["parts"][:, :, place], less, rtol=1e-3, atol=1e-4)
        assert np.abs(less).max() > 1e-3, "the test would show nothing"
    assert np.abs(found["contributions"]).max() > 1e-3, "the test would show nothing"


def test_no_requests_and_no_candidates_are_explained_too(explaining: Any) -> None:
    for way in (WAYS["sum"], ERASED["attention"]):
        part = explaining(**way)
        none = tf.zeros([0, 2, DIM]), tf.zeros([0, 2], tf.bool), tf.zeros([0, DIM]), tf.zeros([0, 2], tf.string)
        assert part.explain(*none, tf.zeros([0, 3, DIM]))["contributions"].shape == (0, 3, 2)
        asked = query_of([([True], 1.0, None, None)])
        assert part.explain(*asked, tf.zeros([1, 0, DIM]))["parts"].shape[:2] == (1, 0)


def context(device: str | None = None, age: float | None = None, timestamp: int | None = None) -> bytes:
    result = tf.train.Example()
    if device is not None:
        result.features.feature["device"].bytes_list.value.append(device.encode())
    if age is not None:
        result.features.feature["age"].float_list.value.append(age)
    if timestamp is not None:
        result.features.feature["timestamp"].int64_list.value.append(timestamp)
    return result.SerializeToString()
