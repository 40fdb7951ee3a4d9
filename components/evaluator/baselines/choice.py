"""Chooses what the config leaves open of the baselines, on training events that are held back for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from components.closed_forms.histories import Ragged
from components.evaluator.answers import answer, distinct
from components.evaluator.baselines.base import Baseline, TrainingEvents
from components.evaluator.baselines.settings import BaselineSettings
from components.hashing import mixed
from components.metrics.ndcg import ndcg
from components.metrics.ranks import label_ranks
from components.metrics.surpassing import surpassing
from components.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable


class Choice(NamedTuple):
    """A parameter and the values that are tried; the first is where it starts."""

    parameter: str
    values: tuple[float, ...]
    field: str = ""
    """The field of the fitted baseline that is the parameter, where nothing else of it depends on that."""


CHOICES: Mapping[str, tuple[Choice, ...]] = {
    "item_knn": (
        Choice("item_knn_shrinkage", (0.0, 30.0)),
        Choice("item_knn_exponent", (0.75, 0.0), "exponent"),
    ),
    "ease": (
        Choice("ease_l2", (300.0, 100.0, 1000.0)),
        Choice("ease_exponent", (0.75, 0.0), "exponent"),
    ),
    "sequential_knn": (Choice("sequential_knn_half_life", (4.0, 2.0, 16.0), "places"),),
    "slit": (Choice("slit_half_life", (16.0, 4.0)),),
    "session_knn": (Choice("session_knn_half_life", (4.0, 16.0), "places"),),
    "blend": (Choice("blend_share", (0.5, 0.2, 0.8), "share"),),
}
"""Baseline to what is chosen, one parameter after the other. A baseline comes after those that it is made of."""
_PARTS = {"blend": ("ease", "sequential_knn")}
_EVENTS = 300_000
_LIMITS, _ITEMS = ("ease_max_items", "slit_max_items"), 3_000
"""How many items take part in the choice; fitting to them takes a second."""
_BATCH = 128
_DEPTH = 10


def chosen(
    settings: BaselineSettings,
    events: TrainingEvents,
    fit: Callable[[str, BaselineSettings, TrainingEvents], Any],
    without_history: bool = True,
) -> BaselineSettings:
    """Returns the settings with a value for all that is null.

    Args:
        settings: the settings.
        events: the training events. On the last one of some users, which nothing is fitted to, values are compared.
        fit: fits a baseline.
        without_history: whether the items of a history are left out of the answers to it.
    """
    missing = [choice for of in CHOICES.values() for choice in of if getattr(settings, choice.parameter) is None]
    settings = settings.model_copy(update={choice.parameter: choice.values[0] for choice in missing})
    wanted = {part for name in settings.names for part in (name, *_PARTS.get(name, ()))}
    open_ = {name: [choice for choice in CHOICES[name] if choice in missing] for name in CHOICES if name in wanted}
    learned, histories, targets = held_out(events, settings.choice_queries)
    if not any(open_.values()) or not len(targets) or not len(learned.user):
        return settings
    progress("choosing the baselines' parameters")
    most = {name: getattr(settings, name) for name in _LIMITS}
    settings = settings.model_copy(update={name: min(limit, _ITEMS) for name, limit in most.items()})
    for name, choices in open_.items():
        model: Any = None
        for choice in choices:
            if choice.field:
                model = model or fit(name, settings, learned)
                models = {of: replace(model, **{choice.field: np.array(of, np.float32)}) for of in choice.values}
            else:
                models = {
                    of: fit(name, settings.model_copy(update={choice.parameter: of}), learned) for of in choice.values
                }
            values = [*models]
            best = values[surpassing([_gains(models[value], histories, targets, without_history) for value in values])]
            model, settings = models[best], settings.model_copy(update={choice.parameter: best})
    return settings.model_copy(update=most)


def held_out(events: TrainingEvents, queries: int) -> tuple[TrainingEvents, Ragged, np.ndarray]:
    """Holds back the last event of some users.

    Args:
        events: the events.
        queries: of how many users at most.

    Returns:
        The other events, of a long log those of some users; the histories of the users whose last event is held back,
        as for `Baseline.scores`; and the items [Q] of these events.
    """
    order = np.argsort(mixed(np.arange(events.num_users)), kind="stable")
    counts = np.bincount(events.user, minlength=events.num_users)
    kept = np.zeros(events.num_users, bool)
    kept[order[np.cumsum(counts[order]) <= max(_EVENTS, int(counts[order[0]]))]] = True
    events = events.take(np.flatnonzero(kept[events.user]))
    place = events.places()
    asked = np.zeros(events.num_users, bool)
    asked[[user for user in order if kept[user] and counts[user] > 1][:queries]] = True
    last = (place == 0) & asked[events.user]
    learned = events.take(np.flatnonzero(~last))
    rows = np.flatnonzero(asked[learned.user])
    # Newest first, by user.
    rows = rows[np.lexsort((-rows, learned.user[rows]))]
    number = np.cumsum(asked) - 1
    histories = distinct(number[learned.user[rows]], learned.item[rows], int(asked.sum()), events.num_items)
    last_rows = np.flatnonzero(last)
    return learned, histories, events.item[last_rows[np.argsort(events.user[last_rows])]]


def _gains(baseline: Baseline, histories: Ragged, targets: np.ndarray, without_history: bool = True) -> np.ndarray:
    """The NDCG@10 [Q] of the targets among all items, or those that are not in the history, where who had the target
    counts 0."""
    values, offsets = histories
    ranks = []
    for start in range(0, len(targets), _BATCH):
        stop = min(start + _BATCH, len(targets))
        some = values[offsets[start] : offsets[stop]], offsets[start : stop + 1] - offsets[start]
        excluded = some if without_history else (some[0][:0], np.zeros_like(some[1]))
        ranks.append(label_ranks(answer(baseline, some, excluded, _DEPTH), targets[start:stop]))
    return ndcg(np.concatenate(ranks), _DEPTH)
