"""A servable of the Indexer's own with random towers and stored histories, and in NumPy what it must answer."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Union

import numpy as np
from hypothesis import strategies as st

from serving.contract import NO_SCORE, Shard

SEED, DIM, STORED_HISTORY = 20, 4, 6
ITEMS = [*(f"item {number}" for number in range(25)), "ä", "🎬", "日本", 'say "hi"', "a,b", "a\\b", "0", "-1", "null"]
BRANDS = ["acme", "a=b", "x<=1", "ünal & co", "two\nlines", "carriage\rreturn", "back\\slash", "back\\nslash", "a"]
TAGS = ["new", "in stock", "brand=acme"]
PRICES = [-1.5, 0.0, 0.1, 5.0, 19.99, 1e6]
FILTERS = {"brand": "category", "tags": "categories", "price": "number"}
USERS = ["ann", "bob, jr", "ünal", "🙂", "no history"]
PEOPLE: list[dict[str, Union[list[str], float]]] = [
    {"city": ["a=b"], "age": 17.0},
    {"city": ["Łódź"], "age": 18.0},
    {"city": ["a=b"]},
    {"age": 64.5},
    {"city": ["Łódź"], "age": 18.0},
]
"""Features of the users."""
TASKS = {"purchase": 1.0, "view": 0.0}
"""What each task counts by default."""


@dataclass(frozen=True)
class Rules:
    """What a request asks beside the rest, as it stands on the wire."""

    allow: Sequence[str] = ()
    filter: Sequence[str] = ()
    boosts: Sequence[tuple[str, float]] = ()
    diversity: float = 0.0


@dataclass(frozen=True)
class World:
    """What the servable was made of."""

    embedding: np.ndarray
    bias: np.ndarray
    popularity: np.ndarray
    stored: dict[str, list[str]]
    attributes: list[dict[str, Union[list[str], float]]]
    """Of each item; `brand` and `tags` are lists, and an item without a price has none."""

    def recommend(
        self,
        user: str,
        history: list[str],
        exclude: list[str],
        rules: Rules = Rules(),
        view: float = 0.0,
        leave_out: str = "",
    ) -> tuple[list[str], np.ndarray, str]:
        """All that may be recommended, best first, with scores and source; diversity is left to `diverse`. `view` is
        the share of that task, and all that the user had is left out unless `leave_out` says nothing is."""
        known_history = [item for item in history if item in ITEMS]
        stored = self.stored.get(user, [])
        if user in self.stored or known_history:
            rows = [ITEMS.index(item) for item in known_history or stored]
            query = self.embedding[rows].mean(axis=0) if rows else np.zeros(DIM, np.float32)
            scores = self.embedding @ ((1 - view) * query + view * query[::-1]) + self.bias
            source = "user" if user in self.stored else "history"
        else:
            scores, source = self.popularity, "popular"
        had = () if leave_out == "nothing" else (*history, *stored)
        return *self.ranked(scores, {*had, *exclude}, rules), source

    def similar(self, item: str, exclude: list[str], rules: Rules = Rules()) -> tuple[list[str], np.ndarray]:
        """All items by cosine with `item`, best first; none for an unknown item."""
        if item not in ITEMS:
            return [], np.zeros(0, np.float32)
        direction = self.embedding / np.linalg.norm(self.embedding, axis=1, keepdims=True)
        return self.ranked(direction @ direction[ITEMS.index(item)], {item, *exclude}, rules)

    def diverse(self, best: list[str], scores: np.ndarray, diversity: float, k: int) -> list[str]:
        """The k first of the best, of which there are at most a hundred, by maximal marginal relevance."""
        direction = self.embedding / np.linalg.norm(self.embedding, axis=1, keepdims=True)
        vectors = [direction[ITEMS.index(item)] for item in best]
        spread = scores.max() - scores.min() if len(best) else 0
        relevance = (scores - scores.min()) / spread if spread else np.zeros(len(best))
        chosen: list[int] = []
        while len(chosen) < min(k, len(best)):
            marginal = {
                place: (1 - diversity) * relevance[place]
                - diversity * max((vectors[place] @ vectors[other] for other in chosen), default=0)
                for place in range(len(best))
                if place not in chosen
            }
            chosen.append(max(marginal, key=lambda place: marginal[place]))
        return [best[place] for place in chosen]

    def audience(
        self, item: str, exclude: list[str], without_owners: bool, rules: Rules = Rules()
    ) -> tuple[list[str], np.ndarray]:
        """All users by log p(item | user), best first; none for an unknown item."""
        if item not in ITEMS:
            return [], np.zeros(0, np.float32)
        scores = np.array([[self.score(user, [], other) for other in ITEMS] for user in USERS])
        scores = scores[:, ITEMS.index(item)] - np.log(np.exp(scores).sum(axis=1))
        owners = {user for user in USERS if without_owners and item in self.stored[user]}
        return self.ranked_users(scores, {*exclude, *owners}, rules)

    def similar_users(self, user: str, exclude: list[str]) -> tuple[list[str], np.ndarray]:
        """All users by the cosine of their queries with that of `user`; none for an unknown one."""
        if user not in USERS:
            return [], np.zeros(0, np.float32)
        rows = [[ITEMS.index(item) for item in self.stored[each]] for each in USERS]
        queries = np.array([self.embedding[own].mean(axis=0) if own else np.zeros(DIM) for own in rows])
        directions = queries / np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-12)
        return self.ranked_users(directions @ directions[USERS.index(user)], {user, *exclude}, Rules())

    def ranked_users(self, scores: np.ndarray, left_out: set[str], rules: Rules) -> tuple[list[str], np.ndarray]:
        """The users that remain, best first."""
        allowed = set(rules.allow) - {""}
        rows = [
            int(row)
            for row in np.argsort(-scores, kind="stable")
            if USERS[row] not in left_out
            and (not allowed or USERS[row] in allowed)
            and _passes(PEOPLE[row], rules.filter)
        ]
        return [USERS[row] for row in rows], scores[rows]

    def ranked(self, scores: np.ndarray, left_out: set[str], rules: Rules) -> tuple[list[str], np.ndarray]:
        """What remains, best first, with its boosts."""
        boosts = [sum(by for condition, by in rules.boosts if _fulfils(own, condition)) for own in self.attributes]
        scores = scores + np.array(boosts, np.float32)
        allowed = set(rules.allow) - {""}
        rows = [
            int(row)
            for row in np.argsort(-scores, kind="stable")
            if ITEMS[row] not in left_out
            and (not allowed or ITEMS[row] in allowed)
            and _passes(self.attributes[row], rules.filter)
        ]
        return [ITEMS[row] for row in rows], scores[rows]

    def score(self, user: str, history: list[str], item: str) -> float:
        """The item's score, whether it may be recommended or not."""
        if item not in ITEMS:
            return NO_SCORE
        known_history = [each for each in history if each in ITEMS]
        rows = [ITEMS.index(each) for each in known_history or self.stored.get(user, [])]
        if user not in self.stored and not known_history:
            return float(self.popularity[ITEMS.index(item)])
        query = self.embedding[rows].mean(axis=0) if rows else np.zeros(DIM, np.float32)
        return float(self.embedding[ITEMS.index(item)] @ query + self.bias[ITEMS.index(item)])

    def contributions(self, user: str, history: list[str], item: str) -> list[tuple[str, float]]:
        """The items of the history that is used, and what each adds to the item's score."""
        known_history = [each for each in history if each in ITEMS]
        used = [each for each in history if each] if known_history else self.stored.get(user, [])
        count = len(known_history or used)
        own = self.embedding[ITEMS.index(item)] if item in ITEMS else np.zeros(DIM)
        adds = [own @ self.embedding[ITEMS.index(each)] / count if each in ITEMS else 0.0 for each in used]
        return [(each if each in ITEMS else "", float(value)) for each, value in zip(used, adds)]


def _passes(own: dict[str, Union[list[str], float]], conditions: Sequence[str]) -> bool:
    bounds = [c for c in conditions if re.match(r"\w+[<>]=", c)]
    values: dict[str, list[str]] = {}
    for condition in {*conditions} - {*bounds, ""}:
        values.setdefault(condition.partition("=")[0], []).append(condition)
    return all(_fulfils(own, c) for c in bounds) and all(
        any(_fulfils(own, c) for c in alternatives) for alternatives in values.values()
    )


def _fulfils(attributes: dict[str, Union[list[str], float]], condition: str) -> bool:
    name, operator, value = re.split("(<=|>=|=)", condition, maxsplit=1)
    own = attributes.get(name, [])
    if isinstance(own, list):
        return value in own
    own, number = np.float32(own), np.float32(value)
    return bool({"=": own == number, "<=": own <= number, ">=": own >= number}[operator])


def world() -> World:
    """The same one each time."""
    rng = np.random.default_rng(SEED)
    # Ties of popularity are broken by the order of the catalogue.
    popularity = rng.integers(0, 5, len(ITEMS)).astype(np.float32)
    stored = {
        user: [str(item) for item in rng.permutation(ITEMS)[: rng.integers(1, STORED_HISTORY + 1)]]
        for user in USERS[:-1]
    }
    embedding = rng.normal(size=(len(ITEMS), DIM)).astype(np.float32)
    bias = rng.normal(size=len(ITEMS)).astype(np.float32)
    attributes = [
        {
            "brand": [str(rng.choice(BRANDS))] if rng.random() < 0.9 else [],
            "tags": [str(tag) for tag in rng.permutation(TAGS)[: rng.integers(0, len(TAGS) + 1)]],
            **({"price": float(rng.choice(PRICES))} if rng.random() < 0.8 else {}),
        }
        for _ in ITEMS
    ]
    return World(embedding, bias, popularity, {**stored, USERS[-1]: []}, attributes)


def any_rules() -> st.SearchStrategy[Rules]:
    """Rules that no request is refused for."""
    values = st.one_of(
        st.sampled_from([f"brand={brand}" for brand in [*BRANDS, "", "no such brand"]]),
        st.sampled_from([f"tags={tag}" for tag in [*TAGS, "no such tag"]]),
    )
    numbers = st.builds(
        "price{}{}".format,
        st.sampled_from(["=", "<=", ">="]),
        st.sampled_from([*PRICES, "1", "+.5", "-1e0", "2E+1", "7."]),
    )
    conditions = st.one_of(values, numbers)
    return st.builds(
        Rules,
        allow=st.one_of(st.just([]), st.lists(st.sampled_from([*ITEMS, "no such item", ""]), max_size=30)),
        filter=st.lists(st.one_of(conditions, st.just("")), max_size=4),
        boosts=st.lists(st.tuples(conditions, st.sampled_from([-10.0, 0.25, 0.5, 3.0])), max_size=3),
        diversity=st.sampled_from([0.0, 0.0, 0.1, 0.5, 1.0]),
    )


def any_rules_of_users() -> st.SearchStrategy[Rules]:
    """Rules of users that no request is refused for."""
    conditions = st.sampled_from(["city=a=b", "city=Łódź", "city=", "age>=18", "age<=18", "age=17", "age=18", ""])
    return st.builds(
        Rules,
        allow=st.one_of(st.just([]), st.lists(st.sampled_from([*USERS, "nobody", ""]), max_size=5)),
        filter=st.lists(conditions, max_size=3),
    )


def build(path: Path, of: int = 1) -> None:
    """Writes the servable, or with `of` as many shards of it, in folders that are named by their numbers."""
    import tensorflow as tf

    from components.indexer.attributes import read_attributes
    from components.indexer.index import Index
    from components.indexer.saving import save_servable
    from components.indexer.settings import IndexerSettings

    made = world()

    class QueryPart(tf.Module):
        """The query is the mean of the embeddings of the history's known items; of the second task back to front."""

        @tf.function(
            input_signature=[
                tf.TensorSpec([None, None, DIM]),
                tf.TensorSpec([None, None], tf.bool),
                tf.TensorSpec([None, DIM]),
                tf.TensorSpec([None, 2], tf.string),
                tf.TensorSpec([None, 2]),
            ]
        )
        def combine(
            self, items: tf.Tensor, known: tf.Tensor, user: tf.Tensor, context: tf.Tensor, shares: tf.Tensor
        ) -> tf.Tensor:
            del user, context
            weight = tf.cast(known, tf.float32)[:, :, tf.newaxis]
            mean = tf.math.divide_no_nan(tf.reduce_sum(items * weight, axis=1), tf.reduce_sum(weight, axis=1))
            return mean * shares[:, :1] + mean[:, ::-1] * shares[:, 1:]

        @tf.function(
            input_signature=[
                tf.TensorSpec([None, None, DIM]),
                tf.TensorSpec([None, None], tf.bool),
                tf.TensorSpec([None, DIM]),
                tf.TensorSpec([None, 2], tf.string),
                tf.TensorSpec([None, None, DIM]),
                tf.TensorSpec([None, 2]),
            ],
            autograph=False,
        )
        def explain(
            self,
            items: tf.Tensor,
            known: tf.Tensor,
            user: tf.Tensor,
            context: tf.Tensor,
            candidates: tf.Tensor,
            shares: tf.Tensor,
        ) -> dict[str, tf.Tensor]:
            del context
            first, second = shares[:, tf.newaxis, :1], shares[:, tf.newaxis, 1:]
            candidates = candidates * first + candidates[:, :, ::-1] * second
            weight = tf.cast(known, tf.float32)
            share = tf.math.divide_no_nan(weight, tf.reduce_sum(weight, axis=1, keepdims=True))
            return {
                "contributions": tf.matmul(candidates, items, transpose_b=True) * share[:, tf.newaxis],
                "parts": tf.matmul(candidates, user[:, tf.newaxis], transpose_b=True),
                "part_names": tf.constant(["user_id"]),
                "method": tf.constant("exact"),
            }

    with tempfile.TemporaryDirectory() as folder:
        write_catalogue(Path(folder) / "Split-catalogue", made)
        attributes = read_attributes(folder, FILTERS)
    histories = [[ITEMS.index(item) for item in made.stored[user]] for user in USERS]
    index = Index(
        item_ids=np.array([item.encode() for item in ITEMS], object),
        display=np.array([f"Title of {item}".encode() for item in ITEMS], object),
        embedding=made.embedding,
        bias=made.bias,
        history_embedding=made.embedding,
        history_known=np.ones(len(ITEMS), bool),
        popularity=made.popularity,
        user_ids=np.array([user.encode() for user in USERS], object),
        user_embedding=np.zeros([0, DIM], np.float32),
        user_context=np.array([example_of(person) for person in PEOPLE], object),
        history_values=np.array([row for history in histories for row in history], np.int32),
        history_splits=np.cumsum([0, *map(len, histories)]).astype(np.int64),
        attributes=attributes,
    )
    with tempfile.TemporaryDirectory() as folder:
        towers = tf.Module()
        towers.query_part = QueryPart()
        tf.saved_model.save(towers, folder)
        (Path(folder) / "assets.extra").mkdir()
        features = {"city": "category", "age": "number"}
        manifest = {
            "context": [{"name": name, "type": kind} for name, kind in features.items()],
            "user_features": list(features),
            "max_history": 100,
            "tasks": [{"name": name, "weight": weight} for name, weight in TASKS.items()],
        }
        (Path(folder) / "assets.extra" / "towers.json").write_text(json.dumps(manifest))
        if of == 1:
            save_servable(folder, index, IndexerSettings(audience=True), "contract", str(path))
            return
        for number in range(1, of + 1):
            own, shard = index.shard(number, of), Shard(number, of, "f1")
            save_servable(folder, own, IndexerSettings(), "contract", str(path / str(number)), shard=shard)


def example_of(own: dict[str, Union[list[str], float]]) -> bytes:
    """A serialized tf.Example."""
    import tensorflow as tf

    example = tf.train.Example()
    for name, value in own.items():
        feature = example.features.feature[name]
        if isinstance(value, list):
            feature.bytes_list.value.extend(text.encode() for text in value)
        else:
            feature.float_list.value.append(value)
    return example.SerializeToString()


def write_catalogue(folder: Path, made: World) -> None:
    """Writes the attributes of the items as a split of Examples."""
    import tensorflow as tf

    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "data.gz"), "GZIP") as writer:
        for own in made.attributes:
            writer.write(example_of(own))
