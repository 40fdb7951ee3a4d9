"""Rules in the graph against plain Python, and attributes against hand-made items."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from components.indexer import rules as rules_module
from components.indexer.attributes import Attributes, read_attributes
from components.indexer.lookup import line_numbers
from components.indexer.rules import Request, Rules
from serving.contract import AS_CONFIGURED
from tests.components.indexer.catalogue import FEATURES, write_three
from tests.serving.wire import contract

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

WORLD = contract.world()
SPARE = 3
"""Rows of the index that are no item's."""


@pytest.fixture(scope="module")
def attributes(tmp_path_factory: pytest.TempPathFactory) -> Attributes:
    folder = tmp_path_factory.mktemp("catalogue")
    contract.write_catalogue(folder / "Split-catalogue", WORLD)
    return read_attributes(str(folder), contract.FILTERS)


def rules_of(attributes: Attributes, folder: Path, num_rows: int) -> Rules:
    file = folder / "conditions.txt"
    file.write_bytes(b"\n".join(attributes.conditions.tolist()))
    return Rules(attributes, line_numbers(str(file)), num_rows)


@pytest.fixture(scope="module", params=[0, rules_module._FREQUENT, 10**6], ids=["lists", "some columns", "columns"])
def rules(
    attributes: Attributes, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Rules]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rules_module, "_FREQUENT", request.param)
        yield rules_of(attributes, tmp_path_factory.mktemp("rules"), len(contract.ITEMS) + SPARE)


@pytest.fixture(scope="module")
def asked_for(rules: Rules) -> Any:
    """Which requests are refused, and scores after the rules of the others; traced once."""

    def ask(scores: tf.Tensor, asked: Request, allowed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return rules.refused(asked), rules.apply(scores, rules.checked(asked), allowed)

    texts, numbers = tf.TensorSpec([None, None], tf.string), tf.TensorSpec([None, None], tf.float32)
    asked = Request(texts, texts, texts, numbers, tf.TensorSpec([None], tf.float32))
    rows = tf.TensorSpec([None, len(contract.ITEMS) + SPARE])
    return tf.function(ask, [rows, asked, tf.TensorSpec([None, None], tf.int64)], autograph=False)


def padded(rows: list[Any], padding: Any, dtype: tf.DType) -> tf.Tensor:
    width = max((len(row) for row in rows), default=0)
    flat = [value for row in rows for value in [*row, *[padding] * (width - len(row))]]
    return tf.constant(flat, dtype, [len(rows), width])


def request(rows: list[contract.Rules]) -> Request:
    return Request(
        padded([row.allow for row in rows], "", tf.string),
        padded([row.filter for row in rows], "", tf.string),
        padded([[condition for condition, _ in row.boosts] for row in rows], "", tf.string),
        padded([[by for _, by in row.boosts] for row in rows], 0.0, tf.float32),
        tf.constant([row.diversity for row in rows], tf.float32),
    )


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(contract.any_rules(), min_size=1, max_size=4), seed=st.integers(0, 9))
def test_what_passes_and_what_is_added(asked_for: Any, rows: list[contract.Rules], seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=(len(rows), len(contract.ITEMS) + SPARE)).astype(np.float32)
    row_of = {item: row for row, item in enumerate(contract.ITEMS)}
    allowed = padded([[row_of.get(item, -1) for item in row.allow] for row in rows], -1, tf.int64)
    refused, found = asked_for(tf.constant(scores), request(rows), allowed)
    assert not refused.numpy().any()
    found = found.numpy()[:, :-SPARE]
    for row, own in enumerate(rows):
        items, expected = WORLD.ranked(scores[row, :-SPARE], set(), own)
        assert {contract.ITEMS[place] for place in np.flatnonzero(~np.isneginf(found[row]))} == set(items)
        assert found[row][[row_of[item] for item in items]] == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_only_what_many_rows_fulfil_is_a_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules_module, "_FREQUENT", 8)
    conditions = np.array([b"=", b"stock=yes", b"brand=x"], object)
    attributes = Attributes(
        ("stock", "brand"),
        (),
        conditions,
        np.array([0, 0, 3, 5]),
        np.array([0, 1, 3, 2, 9], np.int32),
        np.zeros((0, 16)),
    )
    split = rules_module._split(attributes, 16)  # two rows of 16 are no more than one in eight, three are
    assert split.columns.tolist() == [[row in (0, 1, 3) for row in range(16)]]
    assert split.column_of.tolist() == [-1, 0, -1]
    assert (split.splits.tolist(), split.rows.tolist()) == ([0, 0, 0, 2], [2, 9])


def test_filters_by_hand(tmp_path: Path) -> None:
    """Of a boat, a bike and a book: what they are filtered by, and what each filter leaves."""
    attributes = read_attributes(write_three(tmp_path), FEATURES)
    rules = rules_of(attributes, tmp_path, 3)
    expected = {
        (): [0, 1, 2],
        ("brand=x",): [0],
        ("brand=x", "brand=y"): [0, 1],
        ("brand=x", "brand=no"): [0],
        ("brand=no",): [],
        ("brand=",): [],
        ("brand=y", "tags=red"): [1],
        ("brand=x", "tags=red", "tags=blue"): [0],
        ("price<=900",): [0, 2],
        ("price<=899.5",): [2],
        ("price=19.99",): [2],
        ("price=900", "price=19.99"): [0, 2],
        ("price=900", "price=19.99", "price>=20"): [0],
        ("price>=19.99", "price<=100"): [2],
        ("price>=1e3",): [],
    }
    asked = request([contract.Rules(filter=filters) for filters in expected])
    scores = rules.apply(tf.zeros([len(expected), 3]), asked, tf.zeros([len(expected), 0], tf.int64)).numpy()
    assert [np.flatnonzero(row == 0).tolist() for row in scores] == list(expected.values())

    boosted = request([contract.Rules(boosts=[("tags=red", 1.0), ("price>=20", 0.5), ("tags=red", 0.25)])])
    assert rules.boosts(boosted).numpy().tolist() == [[1.75, 1.25, 0]]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (contract.Rules(filter=["brnad=acme"]), "brand, tags; .*price .*not.*brnad=acme"),
        (contract.Rules(filter=["brand=acme", "brand"]), r"not\] \[.?brand.?\]"),
        (contract.Rules(filter=["brand<=5"]), "brand<=5"),
        (contract.Rules(filter=["=x"]), "=x"),
        (contract.Rules(filter=["="]), "filter is"),
        (contract.Rules(filter=["price<=cheap"]), "price<=cheap"),
        (contract.Rules(filter=["price="]), "price="),
        (contract.Rules(filter=["price=nan"]), "price=nan"),
        (contract.Rules(boosts=[("colour=red", 1.0)]), "boost is .*colour=red"),
        (contract.Rules(boosts=[("brand=acme", np.nan)]), "boost_by must be finite"),
        (contract.Rules(boosts=[("brand=acme", np.inf)]), "boost_by must be finite"),
        (contract.Rules(diversity=1.5), "diversity is from 0 to 1, not.*1.5"),
        (contract.Rules(diversity=-0.1), "diversity is from 0 to 1"),
        (contract.Rules(diversity=np.nan), "diversity is from 0 to 1"),
    ],
)
def test_a_wrong_rule_is_named(rules: Rules, asked_for: Any, wrong: contract.Rules, message: str) -> None:
    asked = request([contract.Rules(filter=["brand=acme"], diversity=AS_CONFIGURED), wrong])
    assert rules.refused(asked).numpy().tolist() == [False, True]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        asked_for(tf.zeros([2, len(contract.ITEMS) + SPARE]), asked, tf.zeros([2, 0], tf.int64))


def test_boosts_without_their_numbers_are_refused(rules: Rules) -> None:
    asked = request([contract.Rules(boosts=[("brand=acme", 1.0)])])._replace(boost_by=tf.zeros([1, 0]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="boost and boost_by must have the same shape"):
        rules.checked(asked)


def test_without_attributes_only_lists_and_diversity_are_left(tmp_path: Path) -> None:
    rules = rules_of(Attributes(), tmp_path, 2)
    asked = request([contract.Rules(allow=["b"]), contract.Rules()])
    assert rules.apply(tf.zeros([2, 2]), rules.checked(asked), tf.constant([[1], [-1]], tf.int64)).numpy().tolist() == [
        [-np.inf, 0],
        [0, 0],
    ]
    with pytest.raises(tf.errors.InvalidArgumentError, match="NAME one of: none"):
        rules.checked(request([contract.Rules(filter=["brand=acme"])]))
