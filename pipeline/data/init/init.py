"""What `recommender init` does: looks at files, guesses what is in them, and makes a config of it that says why."""

from __future__ import annotations

import collections
import glob
import itertools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from components.errors import InputError
from components.interaction_gen.log import inspect
from components.interaction_gen.preview import Preview, preview
from components.interaction_gen.sanity import as_time
from components.tables import reading, sampling
from components.tables.columns import as_text, decoded
from components.tables.row_report import Report
from pipeline.config import Config
from pipeline.config.config import InteractionsConfig
from pipeline.data.init.dialect import Look, look_at
from pipeline.data.init.draft import Draft, in_yaml
from pipeline.data.init.features import guess_features, title_of
from pipeline.data.init.numbers import NUMBERS, guess_numbers, perhaps_thousands
from pipeline.data.init.roles import (
    Roles,
    described,
    event_weights,
    guess_roles,
    is_known,
    shown_and_clicked,
    spread_settings,
    words_for_missing,
)
from pipeline.data.init.unread import warnings as warnings_of_unread
from pipeline.data.profile import Profile, profiles_of
from pipeline.data.validate import validate
from serving.files import write_atomically

Ask = Callable[[str, Sequence[str]], str]

_HEAD = """Made by `recommender init` from {of_what}.
A comment says why; every key that is not here has a default, see docs/config.md. See what it comes to, and go on:
  recommender validate --config {out}
  recommender run --config {out}"""
_LOOKED_AT = 1 << 20
_TABLE_LOOKED_AT = 8 << 20
_COLUMNS = {"user": "user_id", "item": "item_id", "time": "timestamp", "rating": "rating", "event": "event"}
"""The settings by role."""
_MANY_TIES = 0.2
_FIFTH = 0.2
_MANY_REPEATS = 0.3
_MOST_QUERIES = 100_000
_FEW_QUERIES = 1_000
_FEW_ITEMS = 100
_DAY = 86_400_000_000
_EARLY = 631_152_000_000_000
"""1990 in microseconds."""
_FEW_EARLY = 0.05
_MOST_AT_ZERO = 0.5
_REJECTED = 0.01
_MUCH_REJECTED = 0.05
_FEW_THINGS = 5


@dataclass(frozen=True)
class Wanted:
    """What is asked for on the command line."""

    log: Sequence[str]
    catalogue: Sequence[str] = ()
    users: Sequence[str] = ()
    roles: Mapping[str, Optional[str]] = field(default_factory=dict)
    """Columns by role, None for none."""
    out: Path = Path("shop.yaml")

    @property
    def name(self) -> str:
        """The model's name, from that of the file."""
        plain = re.sub(r"[^A-Za-z0-9_-]+", "_", self.out.stem).strip("_-")[:63]
        return plain if plain[:1].isalpha() else f"shop_{plain}".rstrip("_")


@dataclass(frozen=True)
class Made:
    """A config that was written."""

    draft: Draft
    of_what: str
    """What the files hold, in a line."""
    warnings: list[str]
    """What is striking about them."""
    problem: str
    """Why the config can't be run as it is, or ""."""

    def said(self) -> Iterator[tuple[str, str, str]]:
        """Yields key, value as the file has it, and reason of what was guessed."""
        for key, value, reason in self.draft.guesses():
            yield key.removeprefix("data.").removeprefix("interactions."), in_yaml(value), reason


def init(wanted: Wanted, force: bool = False, ask: Optional[Ask] = None) -> Made:
    """Writes a config of some files, and looks whether it can be run.

    Args:
        wanted: What is asked for.
        force: Whether to replace a file that is there.
        ask: Asks a person where a column can't be told; by default nobody is asked.

    Raises:
        InputError: There is a file already, the files can't be read, or a column that is needed can't be told.
    """
    out = wanted.out
    if out.exists() and not force:
        raise InputError(f"{out} is there already: --force replaces it, and -o names another file")
    if not out.parent.is_dir():
        raise InputError(f"{out}: there is no folder {out.parent}")
    draft, of_what = make(wanted, ask)
    head = _HEAD.format(of_what=of_what, out=out)
    text = draft.text(head)
    warnings, problem = [*draft.warnings], ""
    try:
        for finding in validate(Config.model_validate(yaml.safe_load(text))):
            warnings += [finding.text] if finding.is_warning else []
    except InputError as error:
        problem = str(error)
    try:
        write_atomically(out, text)
    except OSError as error:
        raise InputError(f"{out} can't be written: {error.strerror or error}") from None
    return Made(draft, of_what, warnings, problem)


def make(wanted: Wanted, ask: Optional[Ask] = None) -> tuple[Draft, str]:
    """Looks at the files and returns a config and a line on what it is of.

    Args:
        wanted: What is asked for.
        ask: Asks a person where a column can't be told; by default nobody is asked.

    Raises:
        InputError: The files can't be read, or a column that is needed can't be told.
    """
    draft = Draft()
    draft.put("name", wanted.name)
    found = _log(draft, wanted, ask)
    if wanted.users:
        _users(draft, wanted, found)
    if wanted.catalogue:
        _catalogue(draft, wanted, found)
    _fit(draft, found)
    return draft, _of_what(found)


def pattern_of(paths: Sequence[str]) -> str:
    """Returns a path, folder or glob that stands for just these files.

    Raises:
        InputError: There is none.
    """
    if len(paths) == 1:
        return paths[0]
    before = _common_beginning(paths)
    behind = _common_beginning([path[len(before) :][::-1] for path in paths])[::-1]
    between = {path[len(before) : len(path) - len(behind)] for path in paths}
    pattern = f"{before}*{behind}"
    wanted = {os.path.normpath(path) for path in paths}
    if not any("/" in part for part in between) and {os.path.normpath(path) for path in glob.glob(pattern)} == wanted:
        return pattern
    raise InputError(
        f"{', '.join(paths)}: no glob names these files and no others: put them into a folder of their own and name "
        "that, or give a glob in quotes"
    )


def _common_beginning(texts: Sequence[str]) -> str:
    return "".join(signs[0] for signs in itertools.takewhile(lambda signs: len({*signs}) == 1, zip(*texts)))


def _log(draft: Draft, wanted: Wanted, ask: Optional[Ask]) -> Preview:
    pattern = pattern_of(wanted.log)
    look = look_at(pattern, "interactions")
    _check_columns(look)
    plain = _profiles(look)
    profiles = _numbered(look, plain)
    shown = shown_and_clicked(profiles) if "item" not in wanted.roles else None
    given = {**wanted.roles, **({"item": shown[0]} if shown else {})}
    roles = _roles(look, profiles, given, ask)
    rating = roles.columns["rating"]
    if rating is None or plain[rating].kind != "text":
        look.settings = {key: value for key, value in look.settings.items() if key not in NUMBERS}
    lists = spread_settings(profiles[str(roles.columns["item"])])
    if shown:
        lists = {"spread": True, "separator": " ", "clicked": shown[1]}
        roles.reasons["item"] = "lists of what was shown, with a label of what was clicked"
    draft.warnings += roles.warnings
    _warn_of_unread(draft, look, profiles, roles)
    _call(look, {column: _COLUMNS[role] for role, column in roles.columns.items() if column is not None})
    if not look.named:
        profiles = dict(zip(look.columns, profiles.values()))
        roles.columns = {role: column and _COLUMNS[role] for role, column in roles.columns.items()}
    place = "data.interactions"
    _put_table(draft, place, pattern, look)
    others = [column for column in profiles if column not in roles.columns.values()]
    if others:
        draft.reasons[f"{place}.path"] = f"not read of it: {', '.join(others)}"
    for role, setting in _COLUMNS.items():
        column = roles.columns[role]
        if column is not None:
            such = f"; such as {', '.join(profiles[column].examples)}"
            draft.put(f"{place}.columns.{setting}", column, roles.reasons[role] + such)
        elif role == "time":
            draft.put(f"{place}.columns.{setting}", None, roles.reasons[role])
    for setting, value in {**roles.settings, **lists}.items():
        draft.put(f"{place}.{setting}", value)
    if lists:
        draft.reasons[f"{place}.spread"] = "each row holds a list of items"
    if shown:
        draft.reasons[f"{place}.clicked"] = "what else was shown is left out"
    _put_words(draft, place, {name: profiles[name] for name in roles.columns.values() if name is not None})
    if roles.columns.get("event") is not None:
        event = profiles[str(roles.columns["event"])]
        seen, weights = event.inner or event, event_weights(event)
        if weights and len(seen.texts) > 1:
            reason = "what each type counts beside the others, by its name: yours to say; types not listed are dropped"
            draft.put(f"{place}.event_weights", weights, reason)
    return _tried(draft, look, roles, profiles)


def _roles(
    look: Look, profiles: Mapping[str, Profile], given: Mapping[str, Optional[str]], ask: Optional[Ask]
) -> Roles:
    """Guesses which column is what; the time is one of events, if any is, and not of users or items."""
    path, passed_over = look.files[0].path, {}
    try:
        first = roles = guess_roles(profiles, look.named, given, path, ask)
    except InputError as error:
        if not look.warnings:
            raise
        raise InputError("; ".join([str(error), *look.warnings])) from None
    while "time" not in given and (time := roles.columns["time"]) and (thing := _same_for_each(look, roles, time)):
        passed_over[time] = thing
        left = {name: one for name, one in profiles.items() if name not in passed_over}
        roles = guess_roles(left, look.named, given, path, ask)
    said = [
        f"{name} is the same in all events of {'an item' if thing == 'item' else 'a user'}, so that it tells little of "
        "when they were"
        for name, thing in passed_over.items()
    ]
    if roles.columns["time"] is None and "item" not in passed_over.values():
        roles = first  # as the time of a session may be
    time = roles.columns["time"]
    taken = f"{time} is taken for the time" if time else "the order of the rows is taken for theirs"
    if time in passed_over:
        taken = "it is taken for the time, for there is no other; if it is not of visits, say --time none"
    roles.warnings += [f"{each}: {taken}" for each in said]
    return roles


def _same_for_each(look: Look, roles: Roles, column: str) -> str:
    """Returns of what a column is, "item" or "user", if it is the same in all of its events; "" for others."""
    names = {**{role: str(roles.columns[role]) for role in ("item", "user")}, "value": column}
    place = reading.Place(size=_LOOKED_AT)
    block = next(iter(reading.read_blocks(look.files[0], list(names.values()), look.how, place=place)), None)
    if block is None or any(pa.types.is_nested(column.type) for column in block.columns.values()):
        return ""
    table = pa.table([decoded(block.columns[name]) for name in names.values()], list(names))
    for thing in ("item", "user"):
        counts = table.group_by(thing).aggregate([("value", "count_distinct"), ("value", "count")])
        several = counts.filter(pc.greater(counts["value_count"], 1))["value_count_distinct"]
        if len(several) >= _FEW_THINGS and pc.sum(pc.equal(several, 1)).as_py() > 0.95 * len(several):
            return thing
    return ""


def _check_columns(look: Look) -> None:
    path, [first, *others] = look.files[0].path, look.columns
    if not others and look.files[0].format == "csv":
        raise InputError(f"{path}: its rows have one column, {first!r}: what stands between columns can't be told")
    twice = [name for name, count in collections.Counter(look.columns).items() if count > 1 and is_known(name)]
    if twice:
        raise InputError(f"{path} has more than one column {twice[0]!r}: give each a name of its own")


def _warn_of_unread(draft: Draft, look: Look, profiles: Mapping[str, Profile], roles: Roles) -> None:
    read, time = set(roles.columns.values()), roles.columns["time"]
    unread = {name: one for name, one in profiles.items() if name not in read}
    for name, warning in warnings_of_unread(unread, profiles[time] if time else None, roles):
        if not look.named or not _same_for_each(look, roles, name):  # of items or users it tells nothing of events
            draft.warnings.append(warning)


def _tried(draft: Draft, look: Look, roles: Roles, profiles: Mapping[str, Profile]) -> Preview:
    """Reads the log as the draft says and adds what only then is known."""
    place = "data.interactions"
    rating = roles.columns.get("rating")
    if rating is not None and profiles[rating].missing:
        reason = f"{rating} is missing in {profiles[rating].missing:,} of the first {profiles[rating].rows:,} rows"
        draft.put(f"{place}.drop_unrated", True, reason)
    found = _without_early(draft, _preview(draft))
    rows, rejected = found.facts["rows"], found.facts["rejected"]
    missing = [each for each in rejected if each["reason"].endswith((" is missing", "(earliest_year)"))]
    lost = sum(each["rows"] for each in missing)
    if lost > _REJECTED * rows and sum(each["rows"] for each in rejected) - lost <= _REJECTED * rows:
        what = "; ".join(sorted({each["reason"] for each in missing}))
        reason = f"{lost / rows:.1%} of the rows can't be used: {what}"
        draft.put(f"{place}.max_rejected_fraction", min(1.0, round(1.5 * lost / rows + 0.02, 2)), reason)
        if lost > _MUCH_REJECTED * rows:
            draft.warnings.append(f"{reason}: is that so?")
        found = _preview(draft)
    if not len(found.events):
        found.check()
    _split(draft, found)
    return _preview(draft)


def _without_early(draft: Draft, found: Preview) -> Preview:
    """Leaves out a few times that are far before all others: so are those that are missing and written as 0."""
    if not found.facts["timed"] or not len(found.events):
        return found
    times = found.events["timestamp"].to_numpy()
    early = times < _EARLY
    at_zero = bool(
        (np.abs(times[early]) <= _DAY).all()
    )  # of which there may be many; a day, for the sake of time zones
    if not 0 < early.mean() <= (_MOST_AT_ZERO if at_zero else _FEW_EARLY):
        return found
    if times[~early].min() - times[early].max() < 365 * _DAY:
        return found  # they may well have begun then
    such = f"such as {as_time(int(times[early].min()))}"
    reason = f"{early.sum():,} of {len(times):,} events are long before the others, {such}, as where a time is missing"
    draft.put("data.interactions.earliest_year", 1990, reason)
    draft.warnings.append(f"{reason}: they are rejected by earliest_year: 1990")
    return _preview(draft)


def _preview(draft: Draft) -> Preview:
    log = InteractionsConfig.model_validate(draft.content["data"]["interactions"])
    return preview(inspect(log.settings(), log.path, log.users.path if log.users else "", ""))


def _split(draft: Draft, found: Preview) -> None:
    place, events = "data.interactions", found.events
    users = events["user_id"].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    items = events["item_id"].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    pairs = users.astype(np.int64) * (int(items.max()) + 1) + items
    repeated = 1 - len(np.unique(pairs)) / len(pairs)
    timed = found.facts["timed"]
    if timed:
        times = events["timestamp"].to_numpy()
        ties = float(np.mean((users[1:] == users[:-1]) & (times[1:] == times[:-1]))) if len(times) > 1 else 0.0
        if ties > _MANY_TIES:
            reason = (
                f"{ties:.0%} of the events share their time with another of their user: the files' order tells more"
            )
            draft.put(f"{place}.history.ties", "log_order", reason)
    if repeated > _MANY_REPEATS and "event_weights" not in draft.content["data"]["interactions"]:
        reason = (
            f"{repeated:.0%} of the events are of an item that the user had before, which nobody is recommended; if it "
            "is to be, leave this out and set serving.exclude: nothing"
        )
        draft.put(f"{place}.deduplicate", "user_item", reason)
    rows = len(events) * (found.rows.share.of_all or found.rows.share.rows) / found.rows.share.rows
    spread = timed and len(np.unique(times)) > 1
    if spread:
        fraction = _FIFTH if rows * _FIFTH <= _MOST_QUERIES else max(0.01, float(f"{_MOST_QUERIES / rows:.1g}"))
        reason = f"the newest {fraction:.0%} of about {rows:,.0f} events are for evaluation"
        draft.put(f"{place}.split", {"method": "time", "eval_fraction": fraction}, reason)
        return
    counts = np.bincount(users)
    several = int((counts > 1).sum())
    if several >= 0.2 * len(counts) or several >= _FEW_QUERIES:
        reason = "there are no times by which to tell the newest events of all: the last of each user is for evaluation"
        draft.put(f"{place}.split", {"method": "leave_last_n", "n": 1}, reason)
    else:
        reason = "no times, and few users with more than one event: a fifth, at random, is for evaluation"
        draft.put(f"{place}.split", {"method": "hash", "eval_fraction": _FIFTH}, reason)


def _put_joined(
    draft: Draft, place: str, files: Sequence[str], found: Preview, joined_by: str, key: str
) -> tuple[dict[str, Profile], str]:
    """Puts a table of items or users that is joined to the log; returns its columns, and which of them has the ids."""
    what, things = place.rpartition(".")[2], joined_by.removesuffix("_id") + "s"
    pattern = pattern_of(files)
    ids = set(pc.unique(found.events[joined_by].combine_chunks()).to_pylist())
    column_of_log = draft.content["data"]["interactions"]["columns"][joined_by]
    look, profiles, column, share = _table(pattern, what, ids, str(column_of_log), key)
    _put_table(draft, place, pattern, look)
    draft.put(f"{place}.{key}", column, f"{share:.0%} of the log's {things} stand there")
    _put_words(draft, place, profiles)
    return profiles, column


def _users(draft: Draft, wanted: Wanted, found: Preview) -> None:
    place = "data.interactions.users"
    profiles, column = _put_joined(draft, place, wanted.users, found, "user_id", "id")
    features = guess_features(profiles, {column}, users=True)
    if features.features:
        for name, feature in features.features.items():
            draft.put(f"{place}.features.{name}", feature, features.reasons[name])
        reason = "what is known of users, new ones too, goes into the query"
        draft.put("model.query_features", list(features.features), reason)


def _catalogue(draft: Draft, wanted: Wanted, found: Preview) -> None:
    place = "data.catalogue"
    profiles, column = _put_joined(draft, place, wanted.catalogue, found, "item_id", "item_id")
    log = draft.content["data"]["interactions"]["columns"]
    seen = profiles[column]
    if seen.distinct < seen.rows - seen.missing:
        draft.put(f"{place}.repeated_ids", "first", "items have several rows: of each feature the first value counts")
    title = title_of(profiles)
    if title is not None and not set(title) & set(":!{}"):
        draft.put(f"{place}.display", f"{{{title}}}", "what people are shown")
    features = guess_features(profiles, {column, *(each for each in log.values() if each in profiles)})
    for name, feature in features.features.items():
        draft.put(f"{place}.features.{name}", feature, features.reasons[name])


def _table(
    pattern: str, what: str, ids: set[str], column_of_log: str, called: str
) -> tuple[Look, dict[str, Profile], str, float]:
    """Looks at a table of items or users; returns its columns, which of them has the log's ids, and of how many."""
    look = look_at(pattern, what)
    columns = [column for column in look.columns if column]
    head = sampling.read_table(
        look.files, columns, look.how, _TABLE_LOOKED_AT, lambda piece, _: (pa.table(piece.block.columns), Report())
    )
    if not head.tables:
        raise InputError(next((each.problems[0] for each in head.reports if each.problems), f"{pattern} has no rows"))
    table = pa.concat_tables(head.tables)
    shares = {column: _share(table[column].combine_chunks(), ids) for column in columns}
    best = max(columns, key=lambda column: (round(shares[column], 3), column == column_of_log))
    profiles = _profiles_of({column: table[column].combine_chunks() for column in columns}, look)
    if not shares[best]:
        such = ", ".join(map(repr, sorted(ids)[:3]))
        raise InputError(f"{pattern}: no column of the {what} has the log's ids, such as {such}: {described(profiles)}")
    share, profiles = shares[best], _numbered(look, profiles, table)
    look.warnings += perhaps_thousands(profiles)
    title = next((name for name, one in profiles.items() if _is_title(one)), None)
    calls = {best: called, **({title: "title"} if title is not None and title != best else {})}
    if not look.named:
        _call(look, calls)
        profiles = {calls.get(name, name): one for name, one in profiles.items()}
        best = called
    return look, profiles, best, share


def _share(array: pa.Array, ids: set[str]) -> float:
    """Which share of the ids a column holds."""
    try:
        values = pc.unique(as_text(array, ""))
    except InputError:  # lists, fractions
        return 0.0
    return len(ids.intersection(values.to_pylist())) / len(ids)


def _is_title(seen: Profile) -> bool:
    """Whether texts without a name are titles: nearly all differ, and most have several words."""
    if seen.kind != "text" or seen.distinct < 0.8 * (seen.rows - seen.missing):
        return False
    return sum(" " in text for text in seen.texts) > 0.5 * len(seen.texts) and not seen.texts[0].startswith("http")


def _fit(draft: Draft, found: Preview) -> None:
    """Sets what the size decides."""
    share = found.rows.share.rows and (found.rows.share.of_all or found.rows.share.rows) / found.rows.share.rows
    # Where too many rows are rejected there is no split yet.
    queries = found.facts["events"].get("eval", _FIFTH * len(found.events)) * share
    items = pc.count_distinct(found.events["item_id"]).as_py()
    if items < _FEW_ITEMS:
        ks = [k for k in (1, 3, 5, 10, 20, 50) if k < items] or [1]
        draft.put("evaluation.ks", sorted({*ks, 10}), f"there are {items:,} items")
    if queries < _FEW_QUERIES:
        thresholds = {"hit_rate@10": {"max_drop": 0.05}, "ndcg@10": {"beat_popularity": True}}
        reason = f"some {queries:,.0f} queries tell little: what has to be beaten is popularity, not the best baseline"
        draft.put("evaluation.thresholds", thresholds, reason)
    elif queries > 1.5 * _MOST_QUERIES:
        draft.put("evaluation.max_queries", _MOST_QUERIES, f"of some {queries:,.0f}: more tell no more")


def _of_what(found: Preview) -> str:
    facts, share = found.facts, found.rows.share
    users, items = (pc.count_distinct(found.events[name]).as_py() for name in ("user_id", "item_id"))
    said = f"{share.rows:,} rows" if share.whole else f"a sample of {share.rows:,} rows"
    said += f": {len(found.events):,} events of {users:,} users with {items:,} items"
    return said + (f", {as_time(facts['span'][0])} to {as_time(facts['span'][1])} UTC" if facts["timed"] else "")


def _profiles(look: Look) -> dict[str, Profile]:
    """Looks at the first rows of a table's columns."""
    counts = collections.Counter(look.columns)
    columns = [column for column in look.columns if column and counts[column] == 1]
    found, against = {}, []
    for some, block in _heads(look, columns, len(_head(look, []).malformed)):
        if len(block.rows):
            found.update({column: block.columns[column] for column in some})
        else:
            against += [f"{bad.reason} (row {bad.row}: {bad.text[:80]!r})" for bad in block.malformed[:1]]
    if not found:
        raise InputError(f"{look.files[0].path}: no row can be read{': ' if against else ''}{'; '.join(against[:1])}")
    return _profiles_of({column: found[column] for column in columns if column in found}, look)


def _profiles_of(columns: Mapping[str, pa.Array], look: Look) -> dict[str, Profile]:
    return profiles_of(columns, look.how, by_path=look.named and look.files[0].format in ("csv", "parquet"))


def _heads(look: Look, columns: Sequence[str], broken: int) -> Iterator[tuple[Sequence[str], reading.Block]]:
    """Yields the first rows of a table's columns, of some of them at a time.

    In JSON a value that is an object in another row must not take the row from all columns.

    Args:
        look: How the table is read.
        columns: The columns.
        broken: How many rows can't be read whatever the columns are.
    """
    block = _head(look, columns)
    if len(block.malformed) > broken and len(columns) > 1 and look.files[0].format == "jsonl":
        for half in (columns[: len(columns) // 2], columns[len(columns) // 2 :]):
            yield from _heads(look, half, broken)
    else:
        yield columns, block


def _head(look: Look, columns: Sequence[str]) -> reading.Block:
    blocks = reading.read_blocks(look.files[0], columns, look.how, place=reading.Place(size=_LOOKED_AT))
    return next(iter(blocks), reading.Block(np.empty(0, np.int64), {}))


def _numbered(look: Look, profiles: dict[str, Profile], table: Optional[pa.Table] = None) -> dict[str, Profile]:
    """Finds out how numbers are written; returns what the columns hold then."""
    settings, reason = guess_numbers(profiles, look.how)
    if not settings:
        return profiles
    for setting, value in settings.items():
        look.say(setting, value, reason)
    if table is None:
        return _profiles(look)
    return _profiles_of({name: table[name].combine_chunks() for name in table.column_names}, look)


def _call(look: Look, names: Mapping[Any, str]) -> None:
    """Gives columns of a table without a header names."""
    if not look.named:
        look.columns = [names.get(column, column) for column in look.columns]
        look.settings["names"] = look.columns


def _put_table(draft: Draft, place: str, pattern: str, look: Look) -> None:
    draft.put(f"{place}.path", pattern)
    for setting, value in look.settings.items():
        draft.put(f"{place}.{setting}", value, look.reasons[setting])
    draft.warnings += look.warnings


def _put_words(draft: Draft, place: str, profiles: Mapping[str, Profile]) -> None:
    if words := words_for_missing(profiles):
        draft.put(f"{place}.missing", list(words), "these words stand where a value is missing")
