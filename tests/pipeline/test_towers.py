"""The towers: what they pool, what they ignore, and what an unseen item gets."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from pipeline.preprocessing import UNKNOWN
from pipeline.settings import ModelSettings
from pipeline.towers import ItemFeatures, SideFeature, TwoTowerModel

SETTINGS = ModelSettings(dim=4)
FEATURES = (SideFeature("genres", is_number=False, vocabulary_size=3), SideFeature("year", is_number=True))
ITEMS = ItemFeatures(
    {"genres": np.array([[2, 3], [4, 0], [0, 0]], np.int32), "year": np.array([0.5, 0.0, -1.0], np.float32)}
)


@pytest.fixture
def model() -> TwoTowerModel:
    keras.utils.set_random_seed(1)
    model = TwoTowerModel(SETTINGS, np.array([5, 3, 2]), ITEMS, FEATURES, max_history=3, full_softmax=True, l2=0.0)
    model.compute_loss(_batch())
    return model


def _batch() -> dict[str, tf.Tensor]:
    return {
        "history": tf.constant([[2, 3, 0], [4, 0, 0]]),
        "item": tf.constant([4, 2]),
        "weight": tf.constant([1.0, 1.0]),
    }


def test_query_is_the_recency_weighted_mean_of_the_history(model: TwoTowerModel) -> None:
    tower = model.query_tower
    tower._recency.assign(np.log([4.0, 2.0, 1.0]))
    table = tower._items.embeddings.numpy()
    [query] = tower(tf.constant([[2, 4, 3]])).numpy()
    assert query == pytest.approx((4 * table[2] + 2 * table[4] + 1 * table[3]) / 7, rel=1e-5)


def test_padding_and_unknown_items_do_not_count(model: TwoTowerModel) -> None:
    tower = model.query_tower
    tower._recency.assign(np.log([4.0, 2.0, 1.0]))
    [alone, padded, with_unknown] = tower(tf.constant([[2, 3, 0], [2, 3, 0], [2, 3, UNKNOWN]])).numpy()
    table = tower._items.embeddings.numpy()
    assert alone == pytest.approx((4 * table[2] + 2 * table[3]) / 6, rel=1e-5)
    assert np.array_equal(alone, padded)
    assert np.array_equal(alone, with_unknown)


def test_empty_history_has_an_embedding_of_its_own(model: TwoTowerModel) -> None:
    model.query_tower._nothing.assign([1.0, 2.0, 3.0, 4.0])
    queries = model.query_tower(tf.zeros([2, 0], tf.int32)).numpy()
    assert queries.tolist() == [[1, 2, 3, 4], [1, 2, 3, 4]]


def test_candidate_is_the_item_and_the_mean_of_its_features(model: TwoTowerModel) -> None:
    tower = model.candidate_tower
    tower._directions["year"].assign([1.0, 0.0, 0.0, 2.0])
    embedding, bias = model.vocabulary_embeddings()
    item, genre = tower._items.embeddings.numpy(), tower._tables["genres"].embeddings.numpy()
    assert embedding[0].numpy() == pytest.approx(
        item[2] + (genre[2] + genre[3]) / 2 + 0.5 * np.array([1, 0, 0, 2]), rel=1e-5
    )
    assert embedding[2].numpy() == pytest.approx(item[4] - np.array([1, 0, 0, 2]), rel=1e-5)
    assert bias.shape == [3]


def test_an_unseen_item_has_no_noise_and_the_least_bias(model: TwoTowerModel) -> None:
    tower = model.candidate_tower
    tower._bias.assign([9.0, 9.0, 0.5, -2.0, 1.0])
    values = {"genres": tf.constant([[4, 0]]), "year": tf.constant([0.0])}
    embedding, bias = tower(tf.constant([UNKNOWN]), values)
    assert embedding[0].numpy() == pytest.approx(tower._tables["genres"].embeddings.numpy()[4])
    assert float(bias[0]) == -2.0


@pytest.mark.parametrize("full_softmax", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_training_learns_what_follows_what(full_softmax: bool, shared: bool) -> None:
    keras.utils.set_random_seed(1)
    settings = ModelSettings(dim=8, shared_item_table=shared, dropout=0.0, history_dropout=0.0, query_layers=(8,))
    model = TwoTowerModel(settings, np.array([4, 4, 4]), ITEMS, FEATURES, 3, full_softmax, l2=1e-6)
    model.compile(optimizer=keras.optimizers.Adam(0.05))
    # After item 2 comes 3, after 3 comes 4, after 4 comes 2.
    batch = {
        "history": tf.constant([[2, 0, 0], [3, 0, 0], [4, 0, 0]]),
        "item": tf.constant([3, 4, 2]),
        "weight": tf.ones([3]),
    }
    data = tf.data.Dataset.from_tensors(batch).repeat(60)
    model.fit(data, epochs=1, verbose=0)
    embedding, bias = model.vocabulary_embeddings()
    scores = tf.matmul(model.query_tower(batch["history"]), embedding, transpose_b=True) + bias
    assert tf.argmax(scores, axis=1).numpy().tolist() == [1, 2, 0]
