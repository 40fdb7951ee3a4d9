"""Fits the linear part: closed forms beside the towers, and how much they count."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from scipy import sparse
from threadpoolctl import threadpool_limits

from components.closed_forms.ease import ease
from components.closed_forms.histories import half_life, power
from components.closed_forms.linear import Part, strongest
from components.closed_forms.sequential import sequential
from components.closed_forms.slit import slit
from components.examples.interactions import AGAIN, PAST
from components.examples.reading import read_file, scalars, split_files
from components.hashing import mixed
from components.metrics.ndcg import ndcg
from components.metrics.surpassing import surpassing
from components.progress import progress
from pipeline.model.preprocessing import FIRST
from pipeline.model.reading import Events, Log
from pipeline.model.settings import LinearSettings
from pipeline.model.towers import TwoTowerModel
from pipeline.model.validation import at_a_time, every_score, ranking_metrics, rows, without_history

_HALF_LIFE = 4.0
_WINDOW, _SOURCE_POWER, _TARGET_POWER = 10, 0.5, 0.3
_SLIT_L2, _SLIT_HALF_LIFE, _SLIT_WINDOW = 300.0, 16.0, 48
_L2, _EXPONENTS = (300.0, 100.0, 1000.0), (0.75, 0.0)
"""Of EASE, the first where nothing else is clearly better; how fast the items of a history count less by their place,
which is 0 for logs without an order."""
_TRIED_ON, _TRIED_WITH = 3_000, 2_000
"""Items among which these are chosen, for it takes a second each, and at most so many queries for them."""
_SHARES, _NEAR = (0.06, 0.25, 1.0), 1.5
"""Of a part, the first that are tried; and by how much one that counts is made more and less."""
_WEIGHTS = 10_000_000
"""Weights of each part at most, which take 8 bytes in the servable: of very many items each keeps fewer."""
_COMPARED = 100_000_000
"""Scores that are held to compare combinations of shares; of very many items only those are that may be ahead."""
_FEWEST = 500
"""Queries that are asked also where that is more."""
_BATCH = 128
_DEPTHS = 10, 100
"""Of the NDCG, whose mean is compared: what is reported, and what has more of the ranks in it, so leads are surer."""


class Pairs(NamedTuple):
    """Events in the order of time, by user and item."""

    user: np.ndarray
    """[E] int, from 0."""
    item: np.ndarray
    """[E] int32, rows of the vocabulary."""


class Ease(NamedTuple):
    """What EASE is fitted and asked with."""

    l2: float
    exponent: float
    """The item at place p of a history counts (p + 1)^-exponent."""


class Linear(NamedTuple):
    """What was learned."""

    parts: tuple[Part, ...]
    """Those that count, on the vocabulary's items."""
    ease: Ease
    metrics: Mapping[str, Mapping[str, float]]
    """On the events held back: `towers` alone, and `together`."""


def read_pairs(log: Log, most: int) -> Pairs:
    """The events of a log that are not negative; of one of more than `most` those of its first parts, which are of
    whole users."""
    users: list[np.ndarray] = []
    items: list[np.ndarray] = []
    size = 0
    for part in log.parts:
        events = part()
        if users and size + len(events) > most:
            break
        events = events.positives()
        users.append(events.user)
        items.append(events.item - FIRST)
        size += len(events)
    return Pairs(np.unique(np.concatenate(users), return_inverse=True)[1], np.concatenate(items))


def read_all_pairs(examples: str, most: int) -> Pairs:
    """Those of the transformed events of before and of the new ones beside them; of more than `most` those of users who
    are drawn by a hash."""
    types = {"user_hash": int, "item": int, "timestamp": int, "place": int}
    files = [file for file in split_files(examples, "train") if not os.path.basename(file).startswith(AGAIN)]
    batches = [batch for file in [*split_files(examples, PAST), *files] for batch in read_file(file, types)]
    user, item, time, place = (np.concatenate([scalars(batch, name) for batch in batches]) for name in types)
    there = item >= FIRST
    if there.sum() > most:
        there &= mixed(user.astype(np.uint64)) < np.uint64(most / there.sum() * 2**64)
    rows = np.flatnonzero(there)
    rows = rows[np.lexsort((item[rows], user[rows], place[rows], time[rows]))]
    return Pairs(np.unique(user[rows], return_inverse=True)[1], (item[rows] - FIRST).astype(np.int32))


def fit_parts(pairs: Pairs, num_items: int, places: int, chosen: Ease, settings: LinearSettings) -> tuple[Part, ...]:
    """EASE, what follows one another, and SLIT, each with a share of 1.

    Args:
        pairs: What they are fitted to.
        num_items: N; the vocabulary has the most popular items first.
        places: H, the most items of a history.
        chosen: For EASE.
        settings: The linear part's.
    """
    place = np.arange(places)
    together = _strongest(partial(ease, _matrix(pairs, settings.max_items), chosen.l2), settings.neighbours)
    together.resize((num_items, num_items))
    neighbours = min(settings.neighbours, max(1, _WEIGHTS // num_items))
    following = sequential(pairs.user, pairs.item, num_items, _WINDOW, _SOURCE_POWER, _TARGET_POWER, neighbours)
    size, window = min(num_items, settings.max_items), min(places, _SLIT_WINDOW)
    coming = _strongest(partial(slit, *pairs, size, _SLIT_L2, _SLIT_HALF_LIFE, window), settings.neighbours)
    coming.resize((num_items, num_items))
    return (
        Part("ease", together, power(chosen.exponent)(place).astype(np.float32)),
        Part("sequential", following, half_life(_HALF_LIFE)(place).astype(np.float32)),
        Part("slit", coming, half_life(_SLIT_HALF_LIFE)(place[:window]).astype(np.float32)),
    )


def learn(model: TwoTowerModel, pairs: Pairs, queries: Events, settings: LinearSettings) -> Linear:
    """Fits the parts to `pairs` and learns from `queries`, of which neither they nor `model` know, how they count.

    From each part alone on, and from nothing, the share of one part is changed at a time: that which is better by the
    most, beyond a standard error of the gain, as long as one is. The gain is the mean of NDCG@10 and NDCG@100: of the
    latter leads are surer.

    Args:
        model: The towers.
        pairs: Events.
        queries: Other ones.
        settings: The linear part's.
    """
    progress("fitting the linear part")
    items = model.vocabulary_embeddings()
    num_items, places = int(items[1].shape[0]), model.max_history
    count = min(settings.queries, max(_FEWEST, _COMPARED // num_items))
    queries = queries.take(np.unique(np.linspace(0, len(queries) - 1, count).astype(int)))
    of_ease = _best_ease(pairs, queries, num_items, settings, model.may_repeat)
    parts = _in_units(model, items, queries, fit_parts(pairs, num_items, places, of_ease, settings))
    asked = _ask(model, items, queries, parts)
    shares, before, after = _best_shares(asked, len(parts))
    chosen = tuple(replace(part, share=part.share * share) for part, share in zip(parts, shares) if share)
    return Linear(chosen, of_ease, {"towers": ranking_metrics(before), "together": ranking_metrics(after)})


class _Asked(NamedTuple):
    """A batch of queries, and what may be ahead of their items."""

    size: int
    """B."""
    row: np.ndarray
    """[C] int32, of which query it is said."""
    towers: np.ndarray
    """[C] float32, by how much an item is ahead in the towers' scores."""
    votes: list[np.ndarray]
    """[C] float32 each, in the votes of the parts."""

    def ranks(self, shares: Sequence[float]) -> np.ndarray:
        """Ranks [B] of the queries' items with shares of the parts."""
        leads = self.towers + sum(share * vote for share, vote in zip(shares, self.votes) if share)
        return np.bincount(self.row[leads > 0], minlength=self.size)


def _ask(
    model: TwoTowerModel, items: tuple[tf.Tensor, tf.Tensor], queries: Events, parts: Sequence[Part]
) -> list[_Asked]:
    """Asks towers and parts."""
    asked = []
    for batch, _, scores in every_score(model, items, queries, at_a_time(model, queries, len(items[1]), _BATCH)):
        history, own = rows(batch), batch.item - FIRST
        without = _leads(without_history(scores, batch, model.may_repeat), own)
        votes = [_leads(part.votes(history), own) for part in parts]
        # What is nowhere ahead is so with no shares.
        row, item = np.nonzero(np.any([without > 0, *(vote > 0 for vote in votes)], axis=0) & (without > -np.inf))
        asked.append(_Asked(len(batch), row.astype(np.int32), without[row, item], [vote[row, item] for vote in votes]))
    return asked


def _best_shares(asked: Sequence[_Asked], num_parts: int) -> tuple[tuple[float, ...], np.ndarray, np.ndarray]:
    """The shares that do best, and the ranks [Q] of the queries' items with none and with these."""

    @functools.cache
    def ranks(shares: tuple[float, ...]) -> np.ndarray:
        return np.concatenate([batch.ranks(shares) for batch in asked])

    def best(tried: Sequence[tuple[float, ...]], errors: float = 1.0) -> tuple[float, ...]:
        return tried[surpassing([_gain(ranks(shares)) for shares in tried], errors)]

    def moves(shares: tuple[float, ...], place: int) -> Iterator[tuple[float, ...]]:
        share = shares[place]
        for changed in (share / _NEAR, share * _NEAR) if share else _SHARES:
            yield (*shares[:place], changed, *shares[place + 1 :])

    none = (0.0,) * num_parts
    ends = [none]
    for place in range(num_parts):
        shares, better = none, best([none, *moves(none, place)])
        while better != shares:
            shares = better
            better = best([shares, *(moved for each in range(num_parts) for moved in moves(shares, each))])
        ends.append(shares)
    chosen = best(ends, errors=1.5)  # the best of many leads most by chance alone
    return chosen, ranks(none), ranks(chosen)


def _gain(rank: np.ndarray) -> np.ndarray:
    """What queries whose items have these ranks [Q] gain, [Q]."""
    return np.mean([ndcg(rank, depth) for depth in _DEPTHS], axis=0)


def with_shares(
    shares: Mapping[str, float], pairs: Pairs, num_items: int, places: int, chosen: Ease, settings: LinearSettings
) -> tuple[Part, ...]:
    """The parts that have a share, fitted to events as by `fit_parts`."""
    parts = fit_parts(pairs, num_items, places, chosen, settings) if shares else ()
    return tuple(replace(part, share=shares[part.name]) for part in parts if part.name in shares)


def refitted(linear: Linear, pairs: Pairs, num_items: int, places: int, settings: LinearSettings) -> Linear:
    """The same parts with the same shares, fitted to other events."""
    shares = {part.name: part.share for part in linear.parts}
    return linear._replace(parts=with_shares(shares, pairs, num_items, places, linear.ease, settings))


def _in_units(
    model: TwoTowerModel, items: tuple[tf.Tensor, tf.Tensor], queries: Events, parts: Sequence[Part]
) -> list[Part]:
    """The parts with shares with which their votes vary as much among the items as the towers' scores do."""
    some = queries.take(np.unique(np.linspace(0, len(queries) - 1, _BATCH).astype(int)))
    [(_, _, scores)] = every_score(model, items, some, len(some))
    deviations = [part.votes(rows(some)).std(axis=1).mean() for part in parts]
    unit = float(scores.std(axis=1).mean())
    return [replace(part, share=unit / float(found) if found else 0.0) for part, found in zip(parts, deviations)]


def _strongest(solve: Callable[[], np.ndarray], neighbours: int) -> sparse.csr_array:
    """The strongest weights of what is solved for, [M, M]."""
    # How LAPACK shares its sums among threads decides their last bit, and so a fingerprint.
    with threadpool_limits(1, user_api="blas"):
        return strongest(solve(), neighbours)


def _matrix(pairs: Pairs, num_items: int) -> sparse.csr_array:
    """Which user had which of the first `num_items` items, [U, M] float32 of ones."""
    there = pairs.item < num_items
    cells = np.ones(int(there.sum()), np.float32), (pairs.user[there], pairs.item[there])
    size = min(num_items, int(pairs.item.max()) + 1)
    matrix = sparse.coo_array(cells, (int(pairs.user.max()) + 1, size)).tocsr()
    matrix.data[:] = 1
    return matrix


def _best_ease(
    pairs: Pairs, queries: Events, num_items: int, settings: LinearSettings, may_repeat: bool = False
) -> Ease:
    """What EASE does best with on queries for the most popular items, among these."""
    tried = [Ease(l2, exponent) for l2 in _L2 for exponent in _EXPONENTS]
    size = min(_TRIED_ON, settings.max_items, num_items)
    matrix = _matrix(pairs, size)
    popular = np.flatnonzero(queries.item - FIRST < matrix.shape[1])
    if not len(popular):
        return tried[0]
    queries = queries.take(popular[np.unique(np.linspace(0, len(popular) - 1, _TRIED_WITH).astype(int))])
    history, own = rows(queries), queries.item - FIRST
    history = np.where(history < matrix.shape[1], history, -1)
    fitted = {l2: _strongest(partial(ease, matrix, l2), settings.neighbours) for l2 in _L2}
    gains = []
    for l2, exponent in tried:
        part = Part("ease", fitted[l2], power(exponent)(np.arange(history.shape[1])).astype(np.float32))
        found = []
        for start in range(0, len(queries), _BATCH):
            some = slice(start, start + _BATCH)
            scores = without_history(part.votes(history[some]), queries.take(some), may_repeat)
            found.append((_leads(scores, own[some]) > 0).sum(axis=1))
        gains.append(_gain(np.concatenate(found)))
    return tried[surpassing(gains)]


def _leads(scores: np.ndarray, own: np.ndarray) -> np.ndarray:
    """By how much all items [B, N] are ahead of each row's own one [B]."""
    return scores - scores[np.arange(len(own)), own][:, np.newaxis]
