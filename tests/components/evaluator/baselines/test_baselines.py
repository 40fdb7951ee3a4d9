"""The baselines against values worked out by hand, against other ways to the same result, and through their files."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from components.errors import InputError
from components.evaluator import baselines
from components.evaluator.baselines import BaselineSettings, base, ease, reading
from components.evaluator.baselines.base import Baseline, Ragged, TrainingEvents
from components.evaluator.baselines.content import Content
from components.evaluator.baselines.ials import Ials
from components.evaluator.baselines.reading import read_training_events

DAY = 86_400_000_000


def log(events: list[tuple[str, str]]) -> TrainingEvents:
    """Events (user, item) in the order of time, of which none is older than another."""
    users = sorted({user for user, _ in events})
    items = [item for _, item in events]
    ids = sorted(set(items), key=lambda item: (-items.count(item), item))
    counts = np.array([items.count(item) for item in ids], np.int64)
    return TrainingEvents(
        user=np.array([users.index(user) for user, _ in events], np.int32),
        item=np.array([ids.index(item) for item in items], np.int32),
        item_ids=np.array([item.encode() for item in ids], object),
        num_users=len(users),
        counts=counts,
        recent=counts.astype(float),
    )


def ragged(*histories: list[int]) -> Ragged:
    values = np.array([row for history in histories for row in history], np.int32)
    return values, np.cumsum([0, *map(len, histories)])


logs = st.lists(st.tuples(st.sampled_from("uvwx"), st.sampled_from("abcdefg")), min_size=1, max_size=60).map(log)
histories = st.lists(st.permutations(range(7)).flatmap(lambda p: st.integers(0, 7).map(lambda n: p[:n])), max_size=5)


def fit(name: str, events: TrainingEvents, **parameters: float) -> Baseline:
    return baselines.fit(BaselineSettings(names=(name,), **parameters), events)[name]


A, B, C, D = range(4)
TOY = log([("u", "a"), ("v", "b"), ("u", "b"), ("v", "a"), ("u", "c"), ("w", "a"), ("w", "c"), ("x", "d")])
"""The order of users' items: u a b c, v b a, w a c, x d; so 3 events of a, 2 of b and of c, 1 of d."""


def test_popularity() -> None:
    scores = fit("popularity", TOY).scores(ragged([], [C]))
    assert scores.tolist() == [[3, 2, 2, 1]] * 2


def test_recent_popularity(tmp_path: Path) -> None:
    rows = [("u", "a", 0), ("v", "a", 0), ("u", "b", 2 * DAY), ("u", "c", 4 * DAY)]
    settings = BaselineSettings(names=("recent_popularity",), recent_half_life_days=2)
    for name, order in (("old first", rows), ("new first", rows[::-1])):
        events = read_training_events(write_log(tmp_path / name, order, shards=4), settings)
        scores = baselines.fit(settings, events)["recent_popularity"].scores(ragged([A]))
        assert events.item_ids.tolist() == [b"a", b"b", b"c"]
        np.testing.assert_allclose(scores, [[1 / 4 + 1 / 4, 1 / 2, 1]], rtol=1e-6)


def test_recent_popularity_without_times_is_popularity(tmp_path: Path) -> None:
    rows = [(user, item, row) for row, (user, item) in enumerate([("u", "a"), ("v", "b"), ("u", "b")])]
    events = read_training_events(write_log(tmp_path, rows), BaselineSettings())
    scores = fit("recent_popularity", events).scores(ragged([]))
    np.testing.assert_allclose(scores, [[2, 1]], rtol=1e-5)


def test_item_knn() -> None:
    # Common users: a and b 2 (u, v), a and c 2 (u, w), b and c 1 (u), of 3, 2 and 2.
    ab, ac, bc = 2 / 6**0.5, 2 / 6**0.5, 1 / 2
    scores = fit("item_knn", TOY).scores(ragged([A], [C, B], [D]))
    np.testing.assert_allclose(scores, [[0, ab, ac, 0], [ab + ac, bc, bc, 0], [0, 0, 0, 0]], atol=1e-6)


def test_item_knn_counts_a_user_once() -> None:
    again = log([("u", "a"), ("u", "a"), ("u", "b"), ("v", "a")])
    np.testing.assert_allclose(fit("item_knn", again).scores(ragged([A])), [[0, 1 / 2**0.5]], atol=1e-6)


def test_item_knn_shrinks_what_few_users_speak_for() -> None:
    scores = fit("item_knn", TOY, item_knn_shrinkage=2).scores(ragged([B]))
    np.testing.assert_allclose(scores, [[2 / 6**0.5 * 2 / 4, 0, 1 / 2 * 1 / 3, 0]], atol=1e-6)


def test_item_knn_keeps_the_nearest() -> None:
    # b and c are equally near to a: the more popular row is kept.
    scores = fit("item_knn", TOY, item_knn_neighbours=1).scores(ragged([A], [B], [C]))
    near = 2 / 6**0.5
    np.testing.assert_allclose(scores, [[0, near, 0, 0], [near, 0, 0, 0], [near, 0, 0, 0]], atol=1e-6)


def random_log(users: int = 60, items: int = 12, seed: int = 0) -> TrainingEvents:
    generator = np.random.default_rng(seed)
    taken = generator.random((users, items)) < np.linspace(0.7, 0.1, items)
    return log([(f"u{user:03}", f"i{item:03}") for user, item in zip(*np.nonzero(taken))])


def ease_weights(dense: np.ndarray, l2: float) -> np.ndarray:
    """Each item regressed on all others by ridge regression, which is what EASE's closed form solves at once."""
    gram = dense.T @ dense
    weights = np.zeros_like(gram)
    for item in range(len(gram)):
        others = np.delete(np.arange(len(gram)), item)
        system = gram[np.ix_(others, others)] + l2 * np.eye(len(others))
        weights[others, item] = np.linalg.solve(system, gram[others, item])
    return weights


@pytest.mark.parametrize("float32_condition", [0.0, 1e9], ids=["float64", "float32"])
def test_ease_is_the_ridge_regression_on_the_other_items(
    monkeypatch: pytest.MonkeyPatch, float32_condition: float
) -> None:
    monkeypatch.setattr(ease, "_FLOAT32_CONDITION", float32_condition)
    events = random_log()
    dense = np.zeros((events.num_users, events.num_items))
    dense[events.user, events.item] = 1
    model = fit("ease", events, ease_l2=3)
    weights = ease_weights(dense, 3)
    assert model.weights.dtype == np.float32
    assert not np.diag(model.weights).any()
    np.testing.assert_allclose(model.weights, weights, atol=1e-5)

    popularity = np.bincount(events.item)
    expected = weights[2] + weights[7] + 0.01 * np.log(1 + popularity)
    np.testing.assert_allclose(model.scores(ragged([7, 2]))[0], expected, atol=1e-5)


def test_ease_is_exact_where_float32_is_not() -> None:
    generator = np.random.default_rng(0)
    rare = generator.poisson(0.5, (8, 8)).astype(float)
    gram = (1e6 + rare @ rare.T).astype(np.float32)
    inverse = np.linalg.inv(gram.astype(float) + 0.5 * np.eye(8))
    expected = np.eye(8) - inverse / np.diag(inverse)
    np.testing.assert_allclose(ease.item_weights(gram, 0.5), expected, atol=1e-5)


def test_ease_leaves_rare_items_to_their_popularity() -> None:
    some = fit("ease", TOY, ease_l2=1, ease_max_items=2, ease_prior=0.1)
    # Of a and b G = [[3, 2], [2, 2]]: the ridge regression of b on a is 2 / (3 + 1), of a on b 2 / (2 + 1).
    weights = np.array([[0, 1 / 2, 0, 0], [2 / 3, 0, 0, 0], [0, 0, 0, 0]])
    scores = some.scores(ragged([A], [D, B, C], []))
    np.testing.assert_allclose(scores, weights + 0.1 * np.log([4, 3, 3, 2]), atol=1e-6)


def test_markov() -> None:
    # Transitions: a to b and c, b to a and c. Shares of the 8 events: 3/8, 2/8, 2/8, 1/8.
    scores = fit("markov", TOY, markov_smoothing=2).scores(ragged([A, C], [C, A], [], [D]))
    share = [3 / 8, 2 / 8, 2 / 8, 1 / 8]
    after_a = [2 * 3 / 8 / 4, (1 + 2 * 2 / 8) / 4, (1 + 2 * 2 / 8) / 4, 2 * 1 / 8 / 4]
    np.testing.assert_allclose(scores, [after_a, share, share, share], rtol=1e-6)
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-6)


@given(logs)
def test_markov_counts_the_transitions_of_each_user(events: TrainingEvents) -> None:
    counts = np.zeros((events.num_items, events.num_items))
    newest: dict[int, int] = {}
    for user, item in zip(events.user.tolist(), events.item.tolist()):
        if user in newest:
            counts[newest[user], item] += 1
        newest[user] = item
    share = np.bincount(events.item) / len(events.item)
    expected = (counts + 3 * share) / (counts.sum(axis=1, keepdims=True) + 3)
    scores = fit("markov", events, markov_smoothing=3).scores(ragged(*([row] for row in range(events.num_items))))
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_large_catalogues_are_worked_on_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    events, queries = random_log(), ragged([3, 0], [11])
    whole = {name: fit(name, events, item_knn_neighbours=3).scores(queries) for name in ("item_knn", "ease")}
    monkeypatch.setattr(base, "_BLOCK_CELLS", 30)
    for name, scores in whole.items():
        np.testing.assert_array_equal(fit(name, events, item_knn_neighbours=3).scores(queries), scores)


def test_content_is_the_cosine_with_the_mean_of_the_history() -> None:
    half = np.sqrt(0.5)
    vectors = [[1, 0, 0], [half, half, 0], [0, half, half], [0, 0, 0]]
    events = dataclasses.replace(TOY, features=sparse.csr_array(np.array(vectors, np.float32)))
    scores = fit("content", events).scores(ragged([], [A], [A, C], [D]))
    mean = [0.5, half / 2, half / 2]
    expected = [[0] * 4, [1, half, 0, 0], [np.dot(mean, vector) for vector in vectors], [0] * 4]
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_content_needs_categories() -> None:
    with pytest.raises(InputError, match=r"data\.catalogue\.features"):
        fit("content", TOY)


def test_ials_solves_for_the_query() -> None:
    generator = np.random.default_rng(0)
    items = generator.normal(size=(9, 3)).astype(np.float32)
    regularized = items.T @ items + 2 * np.eye(3, dtype=np.float32)
    model = Ials(items, regularized, np.array(5, np.float32))
    scores = model.scores(ragged([4, 1, 8], [], [2]))
    for row, history in enumerate(([4, 1, 8], [], [2])):
        # Confidence 5 in the history, 1 elsewhere: (Y^T C Y + 2 I) x = Y^T C p.
        seen = np.isin(np.arange(9), history)
        confidence = np.diag(np.where(seen, 5.0, 1.0))
        vector = np.linalg.solve(items.T @ confidence @ items + 2 * np.eye(3), items.T @ confidence @ seen)
        np.testing.assert_allclose(scores[row], items @ vector, atol=1e-4)


def test_ials_folds_in_as_implicit_does() -> None:
    implicit_als = pytest.importorskip("implicit.als")
    from scipy import sparse

    events = random_log()
    parameters = {"ials_factors": 4, "ials_alpha": 3, "ials_regularization": 2}
    model = fit("ials", events, **parameters)
    np.testing.assert_array_equal(model.items, fit("ials", events, **parameters).items)

    theirs = implicit_als.AlternatingLeastSquares(factors=4, alpha=3, regularization=2, use_gpu=False)
    theirs.item_factors = model.items
    history = sparse.csr_matrix((np.ones(3), ([0, 0, 1], [0, 5, 7])), (2, events.num_items))
    expected = theirs.recalculate_user(np.arange(2), history) @ model.items.T
    np.testing.assert_allclose(model.scores(ragged([5, 0], [7])), expected, atol=1e-4)


def test_ials_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "implicit", None)
    monkeypatch.setitem(sys.modules, "implicit.als", None)
    with pytest.raises(InputError, match=r"'ials' needs .* pip install 'recommender-pipeline\[ials\]'"):
        fit("ials", TOY)


def test_files_give_the_same_scores(tmp_path: Path) -> None:
    events, queries = random_log(), ragged([3, 0], [], [11])
    fitted = baselines.fit(BaselineSettings(), events)
    fitted["content"] = Content(sparse.csr_array(np.eye(12, 3, dtype=np.float32)))
    fitted["ials"] = Ials(np.ones((12, 2), np.float32), np.eye(2, dtype=np.float32), np.array(3, np.float32))
    assert tuple(fitted) == baselines.NAMES
    baselines.save(fitted, str(tmp_path))
    loaded = baselines.load(str(tmp_path))
    assert tuple(loaded) == baselines.NAMES
    for name, baseline in fitted.items():
        np.testing.assert_array_equal(loaded[name].scores(queries), baseline.scores(queries))
    assert isinstance(loaded["ease"].weights.base, np.memmap)


def test_files_of_some_baselines(tmp_path: Path) -> None:
    baselines.save(baselines.fit(BaselineSettings(names=("markov", "popularity")), TOY), str(tmp_path))
    assert set(baselines.load(str(tmp_path))) == {"markov", "popularity"}


@settings(max_examples=50)
@given(logs, histories)
def test_any_log_and_any_history(events: TrainingEvents, rows: list[list[int]]) -> None:
    rows = [[], *([row for row in history if row < events.num_items] for history in rows)]
    for name, baseline in baselines.fit(BaselineSettings(), events).items():
        scores = baseline.scores(ragged(*rows))
        assert scores.shape == (len(rows), events.num_items)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()
        # A query's scores don't depend on the others of its batch.
        for row, history in enumerate(rows):
            np.testing.assert_allclose(baseline.scores(ragged(history))[0], scores[row], rtol=1e-5, atol=1e-9)
        # Without a history the more popular item never comes later.
        if name != "recent_popularity":
            assert (np.diff(scores[0]) <= 0).all()


def write_log(path: Path, rows: list[tuple[str, str, int]], shards: int = 1) -> str:
    from tests.components.conftest import write_examples

    examples = [{"user_id": user, "item_id": item, "timestamp": time} for user, item, time in rows]
    write_examples(path, "train", examples, shards)
    return str(path)


def test_reading_training_events(tmp_path: Path) -> None:
    rows = [("v", "b", 5), ("u", "c", 9), ("v", "c", 7), ("u", "a", 1)]
    events = read_training_events(write_log(tmp_path, rows), BaselineSettings())
    assert events.item_ids.tolist() == [b"c", b"a", b"b"]
    assert events.user.tolist() == [0, 1, 1, 0]
    assert events.item.tolist() == [1, 2, 0, 0]
    assert (events.num_users, events.num_items) == (2, 3)
    assert events.counts.tolist() == [2, 1, 1]
    assert (events.user.dtype, events.item.dtype, events.counts.dtype) == (np.int32, np.int32, np.int64)


def test_of_a_long_log_the_events_of_some_users_are_kept_whatever_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_BATCH", 50)
    draw = np.random.default_rng(0)
    rows = [(f"u{draw.integers(0, 100)}", f"i{draw.integers(0, 20):02}", time) for time in range(1_000)]
    whole = read_training_events(write_log(tmp_path / "one", rows), BaselineSettings())
    some = read_training_events(write_log(tmp_path / "some", rows, shards=3), BaselineSettings(max_events=300))
    again = read_training_events(write_log(tmp_path / "again", rows[::-1]), BaselineSettings(max_events=300))
    assert len(whole.user) == 1_000
    assert 50 < len(some.user) <= 300
    assert some.counts.tolist() == whole.counts.tolist()
    np.testing.assert_allclose(some.recent, whole.recent, rtol=1e-9)
    assert (some.user.tolist(), some.item.tolist()) == (again.user.tolist(), again.item.tolist())
    assert some.num_users == len(set(some.user.tolist())) == some.user.max() + 1
    # Users are there with all of their events, in the order of time.
    ids = sorted({user for user, _, _ in rows})
    own = {user: [item for whose, item, _ in rows if whose == user] for user in ids}
    for number in range(some.num_users):
        items = [some.item_ids[item].decode() for item in some.item[some.user == number]]
        assert items in own.values()


def test_the_order_of_simultaneous_events_is_fixed_and_says_nothing_of_popularity(tmp_path: Path) -> None:
    rows = [(f"u{user:02}", f"i{item:02}", 0) for item in range(40) for user in range(41 - item)]
    events = read_training_events(write_log(tmp_path / "one", rows), BaselineSettings())
    again = read_training_events(write_log(tmp_path / "other", rows[::-1], shards=3), BaselineSettings())
    assert events.user.tolist() == again.user.tolist()
    assert events.item.tolist() == again.item.tolist()
    steps = np.concatenate([np.diff(events.item[events.user == user]) for user in range(41)])
    assert abs(np.mean(steps > 0) - 0.5) < 0.05


def test_no_training_events(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no training events"):
        read_training_events(write_log(tmp_path, []), BaselineSettings())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"names": ["popularity", "ease", "ease"]}, "named twice in popularity, ease, ease"),
        ({"names": ["bpr"]}, "'popularity', 'recent_popularity'"),
        ({"recent_half_life_days": 0}, "recent_half_life_days"),
        ({"ease_l2": 0}, "ease_l2"),
        ({"item_knn_shrinkage": -1}, "item_knn_shrinkage"),
        ({"ease_lambda": 1}, "Extra inputs are not permitted"),
    ],
)
def test_wrong_settings_are_named(wrong: dict, message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        BaselineSettings.model_validate(wrong)


def test_the_settings_need_no_numpy() -> None:
    script = "import sys, components.evaluator.baselines; print('numpy' in sys.modules, 'scipy' in sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[4], capture_output=True, text=True, check=True
    )
    assert output.stdout.split() == ["False", "False"]
