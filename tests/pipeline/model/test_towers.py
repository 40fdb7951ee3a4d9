"""The towers: what they pool, what they add, what they ignore, and what an unseen item or user gets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from pipeline.model import towers
from pipeline.model.preprocessing import PADDING, QUERY_PREFIX, UNKNOWN
from pipeline.model.settings import ModelSettings, TrainingSettings
from pipeline.model.towers import ItemFeatures, Noise, SideFeature, TwoTowerModel, Vocabulary
from pipeline.model.transformer import AT, OF, SEQUENCES

VOCABULARY = Vocabulary(
    counts=np.array([5, 3, 2]),
    item_features=ItemFeatures(
        {"genres": np.array([[2, 3], [4, 0], [0, 0]], np.int32), "year": np.array([0.5, 0.0, -1.0], np.float32)}
    ),
    candidate_features=(SideFeature("genres", is_number=False, vocabulary_size=3), SideFeature("year", is_number=True)),
    query_features=(SideFeature("device", is_number=False, vocabulary_size=2), SideFeature("age", is_number=True)),
    num_users=2,
    max_history=3,
)
DEVICE, AGE = QUERY_PREFIX + "device", QUERY_PREFIX + "age"
SEED = tf.constant([1, 1], tf.int64)


def two_towers(training: TrainingSettings | None = None, **settings: Any) -> TwoTowerModel:
    """A built model of width 4, by default without side features in the history."""
    keras.utils.set_random_seed(1)
    settings = {"dim": 4, "attention_heads": 2, "shared_item_table": False, "history_features": False, **settings}
    model = TwoTowerModel(ModelSettings(**settings), training or TrainingSettings(), VOCABULARY, seed=1)
    batch = {**requests([[2, 3, 0], [4, 0, 0]]), "item": tf.constant([4, 2]), "weight": tf.ones([2])}
    model.compute_loss({**batch, "task": tf.constant([0, 1])} if "tasks" in settings else batch)
    return model


def requests(history: list[list[int]], **others: list[Any]) -> dict[str, tf.Tensor]:
    """Inputs of the query tower; without others the user and all features are unknown."""
    count = len(history)
    return {
        "history": tf.reshape(tf.constant(history, tf.int32), [count, -1]),
        "user": tf.constant(others.get("user", [UNKNOWN] * count)),
        DEVICE: tf.constant(others.get("device", [[PADDING]] * count)),
        AGE: tf.constant(others.get("age", [0.0] * count), tf.float32),
    }


def item_table(tower: Any) -> tf.Variable:
    """The query tower's table of items."""
    return tower._items._items.embeddings


@pytest.fixture
def model() -> TwoTowerModel:
    return two_towers()


def test_query_is_the_recency_weighted_mean_of_the_history(model: TwoTowerModel) -> None:
    tower = model.query_tower
    tower._recency.assign(np.log([4.0, 2.0, 1.0]))
    table = item_table(tower).numpy()
    [query] = tower(requests([[2, 4, 3]])).numpy()
    assert query == pytest.approx((4 * table[2] + 2 * table[4] + 1 * table[3]) / 7, rel=1e-5)


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("history", ["pooling", "attention"])
def test_padding_and_unknown_items_do_not_count(history: str) -> None:
    tower = two_towers(history=history).query_tower
    rows = requests([[2, 3, 0], [2, 3, UNKNOWN]])
    [padded, with_unknown] = tower(rows).numpy()
    [alone] = tower(requests([[2, 3]])).numpy()
    assert padded == pytest.approx(alone, rel=1e-5)
    assert with_unknown == pytest.approx(alone, rel=1e-5)


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("history", ["pooling", "attention"])
def test_empty_history_has_an_embedding_of_its_own(history: str) -> None:
    tower = two_towers(history=history).query_tower
    tower._nothing.assign([1.0, 2.0, 3.0, 4.0])
    assert tower(requests([[], []])).numpy().tolist() == [[1, 2, 3, 4], [1, 2, 3, 4]]
    assert tower(requests([[0, UNKNOWN, 0]])).numpy().tolist() == [[1, 2, 3, 4]]


@pytest.mark.slow
@pytest.mark.smoke
def test_with_attention_the_same_item_means_something_else_beside_another() -> None:
    tower = two_towers(history="attention").query_tower
    tower._recency.assign([0.0, -100.0, -100.0])  # nothing but the newest item's place counts
    [beside_three, beside_four] = tower(requests([[2, 3], [2, 4]])).numpy()
    assert not np.allclose(beside_three, beside_four, atol=1e-4)


@pytest.mark.slow
@pytest.mark.smoke
def test_with_a_transformer_a_sequence_has_the_queries_of_its_histories() -> None:
    """So a request is answered by what was learned from whole sequences."""
    model = two_towers(history="transformer", dim=4, user_id=True, query_features=("device", "age"))
    for weight in model.query_tower.trainable_weights:
        weight.assign_add(tf.random.stateless_normal(weight.shape, [1, 2], stddev=0.3))
    sequences = [[4, 2, 3], [3, UNKNOWN, 2], [2, PADDING, PADDING]]
    asked = [(0, 0), (0, 2), (2, 0), (1, 0), (1, 1), (0, -1)]
    others = {"user": [2, 3, UNKNOWN, 2, 2, 3], "device": [[2]] * 6, "age": [0.5, 0, 1, 2, 3, 4]}
    histories = [(sequences[of][at:] if at >= 0 else []) for of, at in asked]
    requested = requests([history + [PADDING] * (3 - len(history)) for history in histories], **others)
    of, at = (tf.constant(column) for column in zip(*asked))
    learned = {**requested, SEQUENCES: tf.constant(sequences), OF: of, AT: at}
    del learned["history"]
    # Where a sequence is learned from, each item is one that training saw; a request may begin with others.
    rows = [0, 1, 2, 3, 5]
    first, second = (tf.gather(model.query_tower(inputs), rows).numpy() for inputs in (requested, learned))
    np.testing.assert_allclose(first, second, atol=1e-5)
    assert np.abs(first[0] - first[1]).max() > 1e-3
    begins_unknown = {**requests([[UNKNOWN, 2, PADDING]]), "user": tf.constant([UNKNOWN])}
    np.testing.assert_allclose(
        model.query_tower(begins_unknown), model.query_tower(requests([[2, PADDING, PADDING]])), atol=1e-5
    )


@pytest.mark.parametrize("width", [0, 1, 3])
def test_with_a_transformer_an_empty_history_has_an_embedding_of_its_own(width: int) -> None:
    tower = two_towers(history="transformer").query_tower
    tower._nothing.assign([1, 2, 3, 4])
    np.testing.assert_allclose(tower(requests([[PADDING] * width] * 2)), [[1, 2, 3, 4]] * 2)


@pytest.mark.slow
@pytest.mark.smoke
def test_the_transformer_leaves_out_by_the_seed_alone() -> None:
    model = two_towers(history="transformer", dropout=0.5)
    batch = {
        **{name: value for name, value in requests([[]] * 2).items() if name != "history"},
        SEQUENCES: tf.constant([[4, 2, 3]]),
        OF: tf.constant([0, 0]),
        AT: tf.constant([0, 1]),
    }
    first, again, other = (model.query_tower(batch, Noise(seed)).numpy() for seed in (SEED, SEED, SEED + 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0
    assert np.abs(first - model.query_tower(batch).numpy()).max() > 0


@pytest.mark.parametrize("shared", [True, False])
def test_items_of_the_history_are_described_by_their_features_too(shared: bool) -> None:
    model = two_towers(history_features=True, shared_item_table=shared)
    tower = model.query_tower
    genres = tower._items._features.tables["genres"].embeddings.numpy()
    tower._items._features.directions["year"].assign([0.0, 0.0, 1.0, 0.0])
    rows = requests([[3, 0, 0], [2, 4, 0], [0, 0, 0], [UNKNOWN, 0, 0]])
    before = tower(rows).numpy()
    assert before[0] == pytest.approx(item_table(tower).numpy()[3] + genres[4], rel=1e-5)
    candidates = model.vocabulary_embeddings()[0].numpy()
    items, users = tower.take_tables()
    known = np.array(rows["history"]) > UNKNOWN
    taken = tower.combine(tf.gather(items, rows["history"]), tf.constant(known), None, rows).numpy()
    assert taken == pytest.approx(before, rel=1e-5)
    assert users is None
    assert not [weight.name for weight in tower.weights if "history_" in weight.name or "items" in weight.name]
    assert np.array_equal(model.vocabulary_embeddings()[0], candidates)


def test_user_and_features_are_added(model: TwoTowerModel) -> None:
    tower = two_towers(user_id=True).query_tower
    tower._features.directions["age"].assign([0.0, 1.0, 0.0, 0.0])
    users, devices = tower._users.embeddings.numpy(), tower._features.tables[DEVICE[len(QUERY_PREFIX) :]]
    [bare, full] = tower(requests([[2], [2]], user=[UNKNOWN, 3], device=[[0], [2]], age=[0.0, 2.0])).numpy()
    expected = users[3] + devices.embeddings.numpy()[2] + [0, 2, 0, 0]
    assert full - bare == pytest.approx(expected, rel=1e-4)


def test_a_vector_adds_what_its_entries_do() -> None:
    layer = towers.FeatureEmbedding((SideFeature("about", is_number=False, width=2),), "item_", 3)
    vectors = {"about": tf.constant([[1.0, -2.0], [0.0, 0.0]])}
    assert layer(vectors).numpy().tolist() == [[0, 0, 0], [0, 0, 0]]  # before training
    layer.directions["about"].assign([[1.0, 2.0, 3.0], [0.0, 1.0, 5.0]])
    np.testing.assert_allclose(layer(vectors), np.array([[1, 0, -7], [0, 0, 0]]) / np.sqrt(2), rtol=1e-6)
    assert layer.tables == {}


def test_a_query_that_is_nothing_but_its_user() -> None:
    tower = two_towers(history="none", user_id=True).query_tower
    [one, other] = tower(requests([[2], [4]], user=[2, 2])).numpy()
    assert np.array_equal(one, other)
    assert one == pytest.approx(tower._users.embeddings.numpy()[2])


def test_the_terms_of_a_query() -> None:
    tower = two_towers(user_id=True).query_tower
    tower._recency.assign(np.log([4.0, 2.0, 1.0]))
    tower._nothing.assign([1.0, 2.0, 3.0, 4.0])
    tower._features.directions["age"].assign([0.0, 1.0, 0.0, 0.0])
    rows = requests([[2, UNKNOWN, 3], [0, 0, 0]], age=[2.0, -1.0])
    items, user = tf.gather(item_table(tower), rows["history"]), tf.constant([[0.0, 0, 0, 5], [0, 0, 0, 0]])
    assert tower.is_sum
    share, nothing, of_user, features = tower.terms(items, rows["history"] > UNKNOWN, user, rows)
    # Of the weights 4, 2 and 1 the second is that of an item which training did not see.
    np.testing.assert_allclose(share, [[0.8, 0, 0.2], [0, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(nothing, [[0, 0, 0, 0], [1, 2, 3, 4]])
    np.testing.assert_allclose(of_user, [[0, 0, 0, 5], [0, 0, 0, 0]])
    assert list(features) == ["device", "age"]
    np.testing.assert_allclose(features["device"], np.zeros([2, 4]))
    np.testing.assert_allclose(features["age"], [[0, 2, 0, 0], [0, -1, 0, 0]])


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("settings", [{}, {"normalize": True}, {"history": "none"}], ids=str)
def test_the_terms_add_up_to_the_query(settings: dict[str, Any]) -> None:
    model = two_towers(user_id=True, query_features=("device", "age"), **settings)
    for place, weight in enumerate(model.query_tower.trainable_weights):
        weight.assign(tf.random.stateless_normal(weight.shape, [1, place]))
    tower = model.query_tower
    rows = requests([[2, 3, 4], [3, UNKNOWN, 0], [0, 0, 0]], device=[[2], [3], [0]], age=[1.0, 0.0, 2.0])
    known = rows["history"] > UNKNOWN
    items = tf.random.stateless_normal([3, 3, 4], [2, 2])
    user = tf.random.stateless_normal([3, 4], [3, 3])
    share, *others, features = tower.terms(items, known, user, rows)
    total = tf.reduce_sum(share[:, :, tf.newaxis] * items, axis=1) + tf.add_n([*others, *features.values()])
    np.testing.assert_allclose(total, tower.combine(items, known, user, rows), rtol=1e-4, atol=1e-5)
    assert np.abs(total).min() > 0


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("settings", [{"history": "attention"}, {"history": "transformer"}, {"query_layers": (3,)}])
def test_other_towers_are_no_sum(settings: dict[str, Any]) -> None:
    assert not two_towers(**settings).query_tower.is_sum


@pytest.mark.parametrize("rate", [0.25, 0.75])
def test_training_leaves_out_as_much_as_the_settings_say(rate: float) -> None:
    settings = {"history_dropout": rate, "id_dropout": rate, "feature_dropout": rate, "dropout": 0.0, "user_id": True}
    tower = two_towers(**settings).query_tower
    item_table(tower).assign(np.outer([0, 0, 1, 1, 1], [1.0, 0, 0, 0]))
    tower._users.embeddings.assign(np.outer(np.ones(4), [0, 1.0, 0, 0]))
    tower._features.directions["age"].assign([0, 0, 1.0, 0])
    queries = tower(requests([[2]] * 4_000, user=[2] * 4_000, age=[1.0] * 4_000), noise=Noise(SEED)).numpy()
    # Four standard deviations of a share of 4,000.
    assert queries[:, :3].mean(axis=0) == pytest.approx([1 - rate] * 3, abs=4 * np.sqrt(rate * (1 - rate) / 4_000))
    kept = queries[:, :3] > 0.5
    assert np.corrcoef(kept.T) == pytest.approx(np.eye(3), abs=0.08)  # one is left out regardless of the others


@pytest.mark.slow
@pytest.mark.smoke
def test_noise_is_a_function_of_the_seed() -> None:
    tower = two_towers(dropout=0.5).query_tower
    rows = requests([[2, 3, 4]] * 8)
    first, again = tower(rows, noise=Noise(SEED)).numpy(), tower(rows, noise=Noise(SEED)).numpy()
    other = tower(rows, noise=Noise(tf.constant([1, 2], tf.int64))).numpy()
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_normalized_scores_are_cosines_over_the_temperature() -> None:
    model = two_towers(normalize=True, temperature=0.5)
    query = model.query_tower(requests([[2, 3], [4, 4]])).numpy()
    embedding, _ = model.vocabulary_embeddings()
    assert np.linalg.norm(query, axis=1) == pytest.approx([2, 2], rel=1e-5)
    assert np.linalg.norm(embedding.numpy(), axis=1) == pytest.approx([1, 1, 1], rel=1e-5)


def test_candidate_is_the_item_and_the_mean_of_its_features(model: TwoTowerModel) -> None:
    tower = model.candidate_tower
    tower._features.directions["year"].assign([1.0, 0.0, 0.0, 2.0])
    embedding, bias = model.vocabulary_embeddings()
    item, genre = tower._items.embeddings.numpy(), tower._features.tables["genres"].embeddings.numpy()
    assert embedding[0].numpy() == pytest.approx(
        item[2] + (genre[2] + genre[3]) / 2 + 0.5 * np.array([1, 0, 0, 2]), rel=1e-5
    )
    assert embedding[2].numpy() == pytest.approx(item[4] - np.array([1, 0, 0, 2]), rel=1e-5)
    assert bias.shape == [3]


def test_without_ids_an_item_is_its_features() -> None:
    tower = two_towers(item_id=False).candidate_tower
    values = {"genres": tf.constant([[2, 3], [2, 3]]), "year": tf.constant([1.0, 1.0])}
    embedding, _ = tower(tf.constant([2, 4]), values)
    assert np.array_equal(embedding[0], embedding[1])


def test_an_unseen_item_has_no_noise_and_the_least_bias(model: TwoTowerModel) -> None:
    tower = model.candidate_tower
    tower._bias.assign([9.0, 9.0, 0.5, -2.0, 1.0])
    values = {"genres": tf.constant([[4, 0]]), "year": tf.constant([0.0])}
    embedding, bias = tower(tf.constant([UNKNOWN]), values)
    assert embedding[0].numpy() == pytest.approx(tower._features.tables["genres"].embeddings.numpy()[4])
    assert float(bias[0]) == -2.0


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("history", ["pooling", "attention"])
def test_a_step_of_a_large_vocabulary_comes_to_the_same_by_rows_alone(
    history: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = {**requests([[2, 3, 0], [UNKNOWN, 2, 2], [0, 0, 0]]), "item": tf.constant([4, 2, 3])}
    batch["weight"] = tf.ones([3])
    settings = TrainingSettings(loss="in_batch")
    found = []
    for large in (towers._LARGE, 2):
        monkeypatch.setattr(towers, "_LARGE", large)
        model = two_towers(settings, history=history, history_features=True)
        with tf.GradientTape() as tape:
            loss = model.compute_loss(batch)
        gradients = tape.gradient(loss, model.trainable_weights)
        dense = [np.zeros(1) if gradient is None else tf.convert_to_tensor(gradient).numpy() for gradient in gradients]
        found.append((float(loss), dense, model.query_tower.history_table().numpy()))
        names = [weight.name for weight in model.trainable_weights]
        assert isinstance(gradients[names.index("candidate_tower/bias:0")], tf.IndexedSlices) == (large == 2)
    (loss, whole, table), (other_loss, by_rows, other_table) = found
    assert loss == pytest.approx(other_loss, rel=1e-6)
    for name, one, other in zip(names, whole, by_rows):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(other_table, table, rtol=1e-6)


def test_without_a_bias_there_is_none_to_train() -> None:
    model = two_towers(item_bias=False)
    assert not [weight for weight in model.trainable_weights if "bias" in weight.name]
    assert not model.vocabulary_embeddings()[1].numpy().any()


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize(
    ("training", "settings"),
    [
        ({"loss": "full"}, {}),
        ({"loss": "in_batch"}, {"shared_item_table": True}),
        ({"loss": "mixed", "uniform_negatives": 4}, {"query_layers": (8,), "candidate_layers": (8,)}),
        ({"loss": "mixed", "uniform_negatives": 4, "hard_negatives": 2}, {"history": "attention"}),
        ({"loss": "full", "mixed_precision": True}, {"normalize": True}),
        ({"loss": "in_batch", "log_q": False, "optimizer": "lazy_adam"}, {"user_id": True}),
        ({"loss": "full", "l2": 0}, {"history": "transformer"}),
        ({"loss": "in_batch", "batch_size": 2, "l2": 0}, {"history": "transformer"}),
        ({"loss": "mixed", "uniform_negatives": 4, "l2": 0}, {"history": "transformer", "shared_item_table": True}),
    ],
)
def test_training_learns_what_follows_what(training: dict[str, Any], settings: dict[str, Any]) -> None:
    from pipeline.model.optimizers import make_optimizer

    chosen = TrainingSettings(learning_rate=0.05, **training)
    model = two_towers(chosen, dropout=0.0, history_dropout=0.0, **settings)
    model.compile(optimizer=make_optimizer(chosen))
    model.optimizer.build(model.trainable_variables)  # or TensorFlow traces the step once more, after it has made them
    # After item 2 comes 3, after 3 comes 4, after 4 comes 2.
    rows = requests([[2, 0, 0], [3, 0, 0], [4, 0, 0]])
    batch = {**rows, "item": tf.constant([3, 4, 2]), "weight": tf.ones([3])}
    if model.learns_from_sequences:
        batch |= {SEQUENCES: tf.constant([[3, 2], [4, 0]]), OF: tf.constant([0, 0, 1]), AT: tf.constant([1, 0, 0])}
    model.fit(tf.data.Dataset.from_tensors(batch).repeat(60), epochs=1, verbose=0)
    embedding, bias = model.vocabulary_embeddings()
    scores = tf.matmul(model.query_tower(rows), embedding, transpose_b=True) + bias
    assert tf.argmax(scores, axis=1).numpy().tolist() == [1, 2, 0]


TASKS = {"purchase": {"events": ["buy"], "weight": 3}, "view": {"events": ["see"], "weight": 1}}


def with_tasks(**settings: Any) -> TwoTowerModel:
    """A built model with two tasks, whose weights are drawn."""
    model = two_towers(tasks=TASKS, **settings)
    for place, weight in enumerate(model.query_tower.trainable_weights):
        weight.assign(tf.random.stateless_normal(weight.shape, [1, place]))
    return model


@pytest.mark.slow
@pytest.mark.smoke
def test_tasks_start_alike() -> None:
    """As what the same model without tasks does."""
    plain, model = two_towers(), two_towers(tasks=TASKS)
    rows = requests([[2, 3], [4, 4]])
    for shares in (None, [[1.0, 0.0], [0.25, 0.75]]):
        query = model.query_tower(rows, shares=shares if shares is None else tf.constant(shares))
        np.testing.assert_allclose(query, plain.query_tower(rows), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("normalize", [False, True])
def test_a_query_is_the_weighted_sum_of_the_tasks_queries(normalize: bool) -> None:
    tower = with_tasks(normalize=normalize, temperature=0.5).query_tower
    rows = requests([[2], [4]])
    pooled = item_table(tower).numpy()[[2, 4]]
    kernel, offset = tower._heads._kernel.numpy(), tower._heads._offset.numpy()
    tasks = [pooled + pooled @ kernel[task] + offset[task] for task in range(2)]
    if normalize:
        tasks = [2 * query / np.linalg.norm(query, axis=1, keepdims=True) for query in tasks]
    purchase, view = tasks
    np.testing.assert_allclose(tower(rows), 0.75 * purchase + 0.25 * view, rtol=1e-4)
    found = tower(rows, shares=tf.constant([[1.0, 0.0], [0.0, 1.0]]))
    np.testing.assert_allclose(found, [purchase[0], view[1]], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.smoke
def test_an_event_is_learned_by_its_own_task() -> None:
    model = with_tasks(dropout=0.0, history_dropout=0.0)
    batch = {**requests([[2, 3, 0], [4, 0, 0]]), "item": tf.constant([4, 2]), "weight": tf.ones([2])}
    heads = model.query_tower._heads
    for task in range(2):
        with tf.GradientTape() as tape:
            loss = model.compute_loss({**batch, "task": tf.constant([task, task])})
        kernel, offset = tape.gradient(loss, [heads._kernel, heads._offset])
        moved = [bool(np.abs(kernel[own]).max() > 0 and np.abs(offset[own]).max() > 0) for own in range(2)]
        assert moved == [own == task for own in range(2)]
        assert np.array_equal(kernel[1 - task], np.zeros([4, 4]))


@pytest.mark.slow
@pytest.mark.smoke
def test_with_a_transformer_each_place_of_a_sequence_has_the_task_of_its_event() -> None:
    tower = with_tasks(history="transformer").query_tower
    shares = tf.one_hot([0, 1, 1], 2)
    asked = requests([[2, 3, 0], [3, 0, 0], [0, 0, 0]])
    learned = {SEQUENCES: tf.constant([[2, 3]]), OF: tf.constant([0, 0, 0]), AT: tf.constant([0, 1, -1])}
    inputs = {**{name: value for name, value in asked.items() if name != "history"}, **learned}
    first, second = (tower(each, shares=shares).numpy() for each in (asked, inputs))
    np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-5)
    assert np.abs(first - tower(asked, shares=1 - shares)).min() > 1e-3


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("settings", [{}, {"normalize": True}, {"history": "none"}], ids=str)
def test_the_terms_of_a_query_add_up_through_the_tasks(settings: dict[str, Any]) -> None:
    tower = with_tasks(user_id=True, query_features=("device", "age"), **settings).query_tower
    rows = requests([[2, 3, 4], [3, UNKNOWN, 0], [0, 0, 0]], device=[[2], [3], [0]], age=[1.0, 0.0, 2.0])
    known = rows["history"] > UNKNOWN
    items, candidates = (tf.random.stateless_normal([3, 3, 4], [2, seed]) for seed in range(2))
    user, shares = tf.random.stateless_normal([3, 4], [3, 3]), tf.constant([[0.75, 0.25], [0, 1], [0.5, 0.5]])
    assert tower.is_sum
    share, *others, features = tower.terms(items, known, user, rows)
    total = tf.reduce_sum(share[:, :, tf.newaxis] * items, axis=1) + tf.add_n([*others, *features.values()])
    seen, added = tower.seen_by_tasks(candidates, total, shares)
    products = tf.einsum("bcd,bd->bc", candidates, tower.combine(items, known, user, rows, shares=shares))
    np.testing.assert_allclose(tf.einsum("bcd,bd->bc", seen, total) + added, products, rtol=1e-3, atol=1e-4)
    assert np.abs(products).min() > 1e-3
