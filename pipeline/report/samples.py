"""What a run's model answers: to a handful of users and items for the eye, to some hundred queries for a chart."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.errors import InputError
from components.evaluator.answers import QUERY_FEATURES
from components.evaluator.servable import Servable, context_features, served_depth
from components.examples import reading
from components.examples.catalogue import CATALOGUE_SPLIT
from components.progress import progress
from pipeline.report.findings import Findings

SHOWN = 10
"""Users and items that are shown, and the longest history and answer of each."""
SIMILAR = 5
CARRIERS = 2
"""Items of a history that are shown for what they make the model recommend."""
MODEL, TAKEN, EVENTS, CATALOGUE = "model ", "what users took", "training events", "catalogue"
QUERIES = 512
"""Queries whose answers are counted."""

_LONGEST = 200
"""Letters of a title or a feature."""
_READ = 20_000
_REQUEST = 32
_HEAD, _MIDDLE = 0.1, 0.5


@dataclasses.dataclass(frozen=True)
class Item:
    """An item as a person is shown it."""

    id: str
    title: str
    """Empty where the catalogue has nothing to show."""
    features: tuple[tuple[str, str], ...] = ()
    """Names and values."""


@dataclasses.dataclass(frozen=True)
class UserSample:
    """A user at the moment of a held-out event, and what the models recommend."""

    id: str
    known: bool
    """Whether the user has training events."""
    history: tuple[Item, ...]
    """The newest, newest first."""
    history_length: int
    followed: Item
    """What the user took next."""
    recommended: tuple[tuple[Item, ...], ...]
    """By each model."""
    sources: tuple[str, ...]
    """What each model went by: `user`, `history` or `popular`."""
    because: tuple[tuple[Item, ...], ...] = ()
    """Of each item that the first model recommends, those of the history that carry it, most first; empty where the
    model explains nothing."""


@dataclasses.dataclass(frozen=True)
class ItemSample:
    """An item and what the models find like it."""

    item: Item
    events: int
    """Training events."""
    similar: tuple[tuple[Item, ...], ...]
    """By each model."""


@dataclasses.dataclass(frozen=True)
class Samples:
    """Answers of one or more models to the same questions."""

    users: tuple[UserSample, ...]
    items: tuple[ItemSample, ...]
    queries: int
    """How many queries `bands` is about."""
    bands: Mapping[str, Sequence[float]]
    """Shares of the popularity bands `BANDS`: `CATALOGUE` of the items, `EVENTS` of the training events, `TAKEN` of
    what users took next, and `MODEL` with a number from 0 of what each model recommends."""
    overlap: float | None
    """Mean share of the second model's items that are also the first's, over the same queries; None with one model."""

    def unnamed(self) -> Samples:
        """The same of users 1, 2 and so on."""
        users = (dataclasses.replace(user, id=str(number)) for number, user in enumerate(self.users, start=1))
        return dataclasses.replace(self, users=tuple(users))


BANDS = ("head", "mid", "tail", "new")
"""head for the tenth of the items with the most training events, mid for those down to the middle, tail for the rest,
new for items without training events, as the slices of the Evaluator have it."""


def ask(findings: Findings, models: Sequence[Path]) -> Samples | None:
    """Asks models the same questions.

    Args:
        findings: The run whose evaluation events and catalogue the questions are from.
        models: SavedModels.

    Returns:
        None where there is no model, or the run's data are not there.
    """
    interactions = findings.uri("InteractionGen", "examples")
    catalogue = findings.uri("CatalogueGen", "examples")
    if interactions is None or catalogue is None or findings.item_counts is None or not models:
        return None
    progress("asking the model for the report")
    features: dict[str, type] = {**QUERY_FEATURES, "user_type": bytes}
    for path in models:
        features.update(context_features(str(path)))
    try:
        queries = _read_queries(interactions, features)
    except InputError:  # the files are gone
        return None
    if queries is None:
        return None
    servables = [Servable(str(path), served_depth(str(path), SHOWN)) for path in models]
    counts = dict(zip(findings.item_ids, findings.item_counts.tolist()))
    shown = queries.take(spread_users(queries))
    answers = [servable.recommend(shown) for servable in servables]
    carriers = _carriers(servables[0].explain(shown, answers[0]["item_ids"]))
    asked = [findings.item_ids[place] for place in spread_places(len(findings.item_ids))]
    similar = [servable.similar_items(np.array(asked, object))[:, :SIMILAR] for servable in servables]

    histories = reading.padded(shown, "history")
    wanted = {*histories[:, :SHOWN].ravel(), *reading.scalars(shown, "item_id"), *asked}
    for part in (*(answer["item_ids"] for answer in answers), *similar, carriers):
        wanted.update(part.ravel())
    items = read_items(catalogue, wanted - {b""}, _feature_types(findings))

    def listed(ids: Iterable[bytes]) -> tuple[Item, ...]:
        return tuple(items.get(item) or Item(_text(item), "") for item in ids if item)

    some = queries.take(np.linspace(0, queries.num_rows - 1, min(QUERIES, queries.num_rows)).astype(int))
    recommended = []
    for servable in servables:
        requests = (some.slice(start, _REQUEST) for start in range(0, some.num_rows, _REQUEST))
        recommended.append(np.concatenate([servable.answer(batch) for batch in requests]))
    return Samples(
        _user_samples(shown, histories, answers, carriers, listed),
        tuple(
            ItemSample(listed([item])[0], counts[item], tuple(listed(part[row]) for part in similar))
            for row, item in enumerate(asked)
        ),
        some.num_rows,
        _shares(findings, reading.scalars(some, "item_id"), recommended),
        overlap_of(*recommended[:2]) if len(recommended) > 1 else None,
    )


def _user_samples(
    shown: reading.Columns,
    histories: np.ndarray,
    answers: Sequence[Mapping[str, np.ndarray]],
    carriers: np.ndarray,
    listed: Callable[[Iterable[bytes]], tuple[Item, ...]],
) -> tuple[UserSample, ...]:
    """What the users of some queries had, took next and are recommended; `listed` knows what ids are called."""
    followed, kinds = reading.scalars(shown, "item_id"), reading.scalars(shown, "user_type", b"")
    return tuple(
        UserSample(
            id=_text(user),
            known=kinds[row] == b"known",
            history=listed(histories[row, :SHOWN]),
            history_length=int(np.count_nonzero(histories[row] != b"")),
            followed=listed([followed[row]])[0],
            recommended=tuple(listed(answer["item_ids"][row]) for answer in answers),
            sources=tuple(_text(answer["source"][row]) for answer in answers),
            because=tuple(listed(each) for each in carriers[row]) if len(carriers) else (),
        )
        for row, user in enumerate(reading.scalars(shown, "user_id"))
    )


def _carriers(explained: Mapping[str, np.ndarray] | None) -> np.ndarray:
    """Ids [B, C, `CARRIERS`] of the items of B histories that add most to the scores of C candidates, most first.

    Empty ids where fewer items add anything; none at all where nothing is explained.
    """
    if explained is None:
        return np.zeros([0, 0, CARRIERS], object)
    added = explained["contributions"]
    best = np.argsort(-added, axis=2, kind="stable")[:, :, :CARRIERS]
    ids = np.take_along_axis(explained["history_ids"][:, np.newaxis], best, axis=2)
    return np.where(np.take_along_axis(added, best, axis=2) > 0, ids, b"")


def _shares(findings: Findings, followed: np.ndarray, recommended: Sequence[np.ndarray]) -> dict[str, Sequence[float]]:
    """`Samples.bands`, from the items [Q] that followed and what each model recommended, [Q, K]."""
    bands = Bands(findings.item_ids)
    return {
        CATALOGUE: bands.catalogue(int(findings.manifest["num_items"])),
        EVENTS: bands.shares(findings.item_ids, findings.item_counts),
        TAKEN: bands.shares(followed),
        **{f"{MODEL}{number}": bands.shares(answers.ravel()) for number, answers in enumerate(recommended)},
    }


def overlap_of(first: np.ndarray, second: np.ndarray) -> float:
    """The mean share of an answer's items that the first model has too: ids [Q, K] and [Q, L], padded with b""."""
    shares = [
        len({*one} & {*other} - {b""}) / count
        for one, other in zip(first.tolist(), second.tolist())
        if (count := len({*other} - {b""}))
    ]
    return float(np.mean(shares)) if shares else 0.0


class Bands:
    """How popular items are."""

    def __init__(self, item_ids: Sequence[bytes]) -> None:
        """Takes the items of the training events [N], most events first."""
        self._size = len(item_ids)
        starts = np.ceil([_HEAD * self._size, _MIDDLE * self._size])
        places = np.digitize(np.arange(self._size), starts)
        self._band = dict(zip(item_ids, places.tolist()))

    def shares(self, ids: Sequence[bytes] | np.ndarray, weights: np.ndarray | None = None) -> list[float]:
        """The share of each of `BANDS` among ids [M], each of which counts by its weight; empty ids don't."""
        bands = np.array([self._band.get(item, len(BANDS) - 1) for item in ids], np.int64)
        counting = np.array([bool(item) for item in ids], float) if weights is None else weights
        sums = np.bincount(bands, counting, minlength=len(BANDS))
        return (sums / max(sums.sum(), 1)).tolist()

    def catalogue(self, size: int) -> list[float]:
        """The share of each of `BANDS` among the items of a catalogue of that size."""
        sums = np.bincount(list(self._band.values()), minlength=len(BANDS)).astype(float)
        sums[-1] = max(0, size - self._size)
        return (sums / max(sums.sum(), 1)).tolist()


def spread_users(queries: Any) -> np.ndarray:
    """Rows of `SHOWN` users with histories of all lengths: one query a user, from the shortest history to the longest.

    Args:
        queries: A table with `user_id` and `history`.
    """
    users = reading.scalars(queries, "user_id")
    # A row of each user: not the first, or nobody new would have a history.
    order = np.random.default_rng(0).permutation(len(users))
    rows = order[np.unique(users[order].astype(bytes), return_index=True)[1]]
    lengths = np.diff(reading.ragged(queries, "history")[1])[rows]
    ascending = rows[np.lexsort((rows, lengths))]
    return ascending[np.unique(np.linspace(0, len(ascending) - 1, SHOWN).astype(int))]


def spread_places(size: int) -> list[int]:
    """At most `SHOWN` places from 0 to `size` - 1, closer together at the beginning."""
    places: list[int] = []
    for place in np.geomspace(1, size, min(SHOWN, size)).round().astype(int) if size else ():
        places.append(max(int(place) - 1, places[-1] + 1 if places else 0))
    return places


def read_items(catalogue: str, wanted: set[bytes], types: Mapping[str, str]) -> dict[bytes, Item]:
    """Reads some items of the catalogue.

    Args:
        catalogue: URI of the catalogue's Examples.
        wanted: Ids.
        types: The features that are shown, and their types in the config.
    """
    kinds: dict[str, type] = {name: float if kind == "number" else bytes for name, kind in types.items()}
    found = {}
    for batch in reading.read_batches(catalogue, CATALOGUE_SPLIT, {"item_id": bytes, "display": bytes, **kinds}):
        ids = reading.scalars(batch, "item_id")
        rows = [row for row, item in enumerate(ids) if item in wanted]
        if not rows:
            continue
        titles = reading.scalars(batch, "display", b"")
        columns = {name: reading.ragged(batch, name) for name in kinds}
        for row in rows:
            features = []
            for name, (values, offsets) in columns.items():
                of_row = values[offsets[row] : offsets[row + 1]]
                if len(of_row):
                    texts = [f"{value:g}" if kinds[name] is float else _text(value) for value in of_row]
                    features.append((name, _shortened(", ".join(texts))))
            found[ids[row]] = Item(_text(ids[row]), _shortened(_text(titles[row])), tuple(features))
    return found


def _read_queries(interactions: str, features: Mapping[str, type]) -> Any:
    """The first evaluation events, as a table; None without any."""
    import pyarrow as pa

    batches, count = [], 0
    for batch in reading.read_batches(interactions, "eval", features, _READ):
        batches.append(batch)
        count += batch.num_rows
        if count >= _READ:
            break
    return pa.Table.from_batches(batches).slice(0, _READ) if count else None


def _feature_types(findings: Findings) -> dict[str, str]:
    """The catalogue's features that say something to people beside the title."""
    node = findings.run.nodes["CatalogueGen"]
    features = json.loads(node.settings["settings"]).get("features", {})
    return {name: feature["type"] for name, feature in features.items() if feature["type"] not in ("text", "vector")}


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
