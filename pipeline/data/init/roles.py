"""Which column of a log is the user, the item, the time, the rating and the type of event, by names and values."""

from __future__ import annotations

import datetime
import functools
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

import numpy as np
import pyarrow as pa

from components.errors import InputError
from components.tables.contents import WORDS
from components.tables.times import guess_time_unit
from pipeline.data.profile import KINDS, Profile

_IDS = ("id", "ids", "no", "nr", "num", "number", "nummer", "code", "key", "handle", "uuid", "guid", "hash", "sku")
"""Words that say of a column that it has ids."""

WORDS_OF: dict[str, tuple[str, ...]] = {
    "user": (
        *("user", "customer", "visitor", "client", "member", "reviewer", "reader", "buyer", "shopper", "listener"),
        *("viewer", "learner", "student", "subscriber", "patient", "player", "guest", "consumer", "cust", "uid"),
        *("who", "account", "person", "profile", "household", "kunde", "nutzer", "dummyuser", "session"),
        *("device", "visit", "cookie", "basket", "author", "email", "mail", "klant", "cliente", "usuario"),
        *("utilisateur", "utente", "username", "login", "borrower", "actor", "contact", "employee", "worker", "rater"),
        *("пользователь", "клиент", "покупатель", "用户", "客户", "会员", "ユーザー", "顧客", "müşteri", "kullanıcı"),
        "benutzer",
    ),
    "item": (
        *("item", "product", "movie", "film", "book", "isbn", "asin", "sku", "article", "track", "song", "course"),
        *("artist", "business", "listing", "offer", "game", "app", "recipe", "restaurant", "hotel", "venue", "place"),
        *("news", "video", "content", "stock", "gtin", "ean", "iid", "pid", "mid", "page", "url", "tool", "artikel"),
        *("show", "anime", "joke", "paper", "job", "poi", "tag", "what", "items", "producto", "produit", "prodotto"),
        *("articulo", "articolo", "libro", "livre", "aid", "ad", "campaign", "repo", "podcast", "lesson", "question"),
        *("товар", "фильм", "книга", "商品", "产品", "物品", "アイテム", "ürün", "produkt", "vara", "vare"),
        "produto",
    ),
    "time": (
        *("timestamp", "time", "datetime", "ts", "date", "at", "when", "created", "unixreviewtime", "day", "month"),
        *("start", "zeit", "datum", "zeitpunkt", "visited", "viewed", "purchased", "utc", "t", "dt", "fecha", "tijd"),
        *("tstamp", "дата", "время", "时间", "日期", "日時", "日付", "tarih", "data"),
    ),
    "rating": (
        *("rating", "ratings", "stars", "star", "score", "overall", "grade", "rate", "rated", "note", "bewertung"),
        *("ratingof5", "bookrating", "puntuacion", "valoracion", "voto"),
    ),
    "event": (
        *("event", "action", "behavior", "behaviour", "activity", "interaction", "eventtype", "actiontype", "verb"),
        *("type",),
    ),
}
"""Words by the role of a column whose name has them, the surest first."""

_LISTS = ("events", "clicks", "actions", "interactions", "items", "history")
"""Words before what objects in lists hold."""
_WITH_ID = {f"{word}{end}": [word, end] for word in (*WORDS_OF["user"], *WORDS_OF["item"]) for end in ("id", "nummer")}
"""Names that are two words, such as userid."""
EVENTS: dict[str, float] = {
    **dict.fromkeys(("view", "pageview", "click", "pv", "impression", "visit", "play", "listen", "read", "open"), 1),
    **dict.fromkeys(("detail", "browse", "clickout", "watch", "stream", "start"), 1),
    **dict.fromkeys(("wishlist", "addtowishlist", "fav", "favorite", "favourite", "like", "bookmark", "save"), 3),
    **dict.fromkeys(("cart", "addtocart", "basket", "addtobasket", "checkout", "complete", "finish", "rate"), 4),
    **dict.fromkeys(("purchase", "buy", "bought", "transaction", "order", "sale", "conversion"), 8),
}
"""What types of events count by their names, in small letters and without marks."""

_REVOKING = re.compile(
    "(removefromcart|remove|delete|return|refund|dislike|unlike|unfollow|skip|cancel|hide|reject)(s|d|l?ed|ped)?|hidden"
)
"""Types that say the opposite."""

_BASKETS = frozenset(("order", "invoice", "receipt", "transaction", "trip", "cart"))
"""What stands for a user where none is named."""
_LATER = frozenset(("updated", "modified", "changed", "expires", "expired", "expiry", "expiration", "due", "deleted"))
"""Words for times at which nobody took an item."""
_FEW_ITEMS = 20
_LABELLED = re.compile(r"\S+([-:_])[01]")
_MISSING = 60
"""So much less sure is a column without any value."""
_MAX_EVENTS = 30
_MAX_RATINGS = 101
_NOW = datetime.datetime.now(datetime.timezone.utc).timestamp()
_FIRST = 631_152_000  # 1990
_LEAST, _GREATEST = -2_208_988_800, 7_258_118_400
"""1900 and 2200: other times are rejected."""
_SCALES = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_LIKE_IDS = ("excel", "%Y%m%d", "%y%m%d")
"""What ids without a name may look like too."""
_MANY = 20
_MOST = 0.95
_SURELY = 75
_SEPARATORS = ("|", ";", ",", " ")
_LIKE_ID = re.compile(r"[A-Za-z_-]{0,4}\d+")
_REPEATED_PARTS = 4


@dataclass
class Roles:
    """Which columns of a log hold what, and why."""

    columns: dict[str, Optional[str]] = field(default_factory=dict)
    """By role: user, item, time, rating, event; None where nothing is."""
    reasons: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the log that say how times are read."""
    warnings: list[str] = field(default_factory=list)
    """What a person had better look at."""

    def say(self, role: str, column: Optional[str], reason: str) -> None:
        """Takes a column for a role and says why."""
        self.columns[role] = column
        self.reasons[role] = reason


def parts_of(name: str) -> list[str]:
    """Returns the words of a column's name in small letters, the kinds left out that RecBole writes behind it.

    >>> parts_of("visitorId"), parts_of("Book-Rating"), parts_of("user_id:token")
    (['visitor', 'id'], ['book', 'rating'], ['user', 'id'])
    """
    name = re.sub(r":(token|float|token_seq|float_seq)$", "", name)
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    parts = re.findall(r"[^\W_]+", _without_accents(name).lower())
    return [each for part in parts for each in _WITH_ID.get(part, [part])]


@functools.cache
def _without_accents(text: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))


def is_known(name: str) -> bool:
    """Whether a text is the name that a column of a log has, rather than a value."""
    return max(_by_name(name, role) for role in WORDS_OF) >= 50 or name.strip().lower() in _IDS


def guess_roles(
    profiles: Mapping[str, Profile],
    named: bool,
    given: Mapping[str, Optional[str]],
    what: str,
    ask: Optional[Callable[[str, Sequence[str]], str]] = None,
) -> Roles:
    """Guesses the roles of a log's columns.

    Args:
        profiles: What the columns hold, in their order.
        named: Whether the columns have names; else their places count.
        given: Columns that somebody says have a role, None for none; by role.
        what: The log's files, for messages.
        ask: Asks a person for the column of a role, where it can't be told.

    Raises:
        InputError: Neither user nor item can be told, or a given column is not there.
    """
    roles = Roles()
    for role, column in given.items():
        if column is not None and column not in profiles:
            raise InputError(f"{what} has no column {column!r} for --{role}; it has {', '.join(map(repr, profiles))}")
        roles.say(role, column, f"--{role} says so")
    if given.get("user") is not None and given["user"] == given.get("item"):
        raise InputError(f"{given['user']!r} can't be both --user and --item")
    for role, guess in (("time", _time), ("event", _event), ("rating", _rating)):
        if role not in given:
            left = {name: one for name, one in profiles.items() if name not in roles.columns.values()}
            column, reason = guess(left, named)
            if column is None and (beside := _in_lists(left)):
                column, reason = guess(beside, named)
            roles.say(role, column, reason)
    for role in ("user", "item"):
        if role in given:
            continue
        left = {name: one for name, one in profiles.items() if name not in roles.columns.values()}
        column, reason = _id(left, role, named)
        if column is None and ask is not None:
            column = ask(f"Which column is the {role}?", list(left))
            reason = "you said so"
        if column is None:
            raise InputError(
                f"{what}: which column is the {role} can't be told from {described(profiles)}: say --{role} COLUMN"
                + ("" if role == "item" or "item" in given else " --item COLUMN")
                + ("" if roles.columns.get("time") else ", and --time COLUMN if there is one")
            )
        roles.say(role, column, reason)
    for role in ("time", "event", "rating"):
        column = roles.columns[role]
        one_each = profiles[str(roles.columns["item"])].kind != "list"
        if role not in given and column and profiles[column].kind == "list" and one_each:
            roles.say(role, None, _NO_TIME if role == "time" else "")
    _say_times(roles, profiles, given, named)
    if named and "rating" not in given:
        _say_ratings(roles, profiles)
    return roles


def _say_ratings(roles: Roles, profiles: Mapping[str, Profile]) -> None:
    """Says what is named like a rating and isn't read, where nothing else is."""
    if roles.columns["rating"] is None:
        roles.warnings += [
            f"{name} is named like a rating and has no numbers but such as {one.examples[0]!r}: it isn't read, and bad "
            f"ratings are events like good ones; write numbers into it, or set columns.event: {name} and event_weights"
            for name, one in profiles.items()
            if one.kind == "text" and name not in roles.columns.values() and _by_name(name, "rating") >= _SURELY
        ]


def _say_times(roles: Roles, profiles: Mapping[str, Profile], given: Mapping[str, Optional[str]], named: bool) -> None:
    """Says how times are written, and what looks like times and isn't read."""
    time = roles.columns["time"]
    if time is not None:
        seen = profiles[time].inner or profiles[time]
        roles.settings, why = time_settings(time, seen.mostly or seen)
        roles.reasons["time"] += why
        if (fits := seen.mostly or seen).forms:
            roles.warnings.append(
                f"{time} is read by {fits.form}, and all of its values that were looked at fit {fits.forms[0]} as "
                f"well, such as {fits.examples[0]}: if that is meant, set it as timestamp_format"
            )
        if odd := _no_times(seen):
            roles.warnings.append(
                f"{time}: some values are no times, such as {', '.join(map(repr, odd))}: their rows are rejected"
            )
    elif "time" not in given:
        roles.warnings += [
            f"{name} is named like a time, but how its values are written is not known, such as {one.examples[0]!r}: "
            f"the order of the rows is taken for theirs; if they are times, set columns.timestamp: {name} and "
            "timestamp_format or timestamp_unit"
            for name, one in profiles.items()
            if named and one.examples and name not in roles.columns.values() and _by_name(name, "time") >= _SURELY
        ]
        roles.warnings += [
            f"{name} has numbers such as {one.examples[0]}, and no column is read for the time: if they count "
            f"{_UNITS[unit]} since 1970, say --time {name}"
            for name, one in profiles.items()
            if one.distinct > 1 and name not in roles.columns.values() and _by_name(name, "time") < _SURELY
            if (unit := _number_of(one)) in _UNITS
        ]


def _no_times(seen: Profile) -> tuple[str, ...]:
    """Returns examples of the values of a column of times that are no times."""
    if seen.odd or seen.numbers is None:
        return seen.odd
    unit = _number_of(seen)
    seconds = seen.numbers / _SCALES.get(unit, 1.0)
    are_times = (seconds >= _LEAST) & (seconds <= _GREATEST) if unit in _SCALES else seen.numbers > 0
    return tuple(f"{number:.15g}" for number in seen.numbers[~are_times][:3])


def _in_lists(profiles: Mapping[str, Profile]) -> dict[str, Profile]:
    """Returns what the values of lists are, such as of a session's times, or of objects in lists at their keys."""
    return {name: one.inner for name, one in profiles.items() if one.inner is not None and one.width is None}


def described(profiles: Mapping[str, Profile]) -> str:
    """Returns the columns with what they hold, for a message."""
    return "; ".join(
        f"{name!r} ({KINDS[one.kind]}{', such as ' + one.examples[0] if one.examples else ''})"
        for name, one in profiles.items()
    )


def time_settings(column: str, seen: Profile) -> tuple[dict[str, Any], str]:
    """Returns the settings by which a column's times are read, and why; none for what is read by itself."""
    if seen.kind == "time":
        if seen.form in (None, "iso"):
            return {}, ""
        return {"timestamp_format": seen.form}, f"; {seen.examples[0]} is of the form {seen.form}"
    kind = _number_of(seen)
    if kind.startswith("%"):
        return {"timestamp_format": kind}, f"; {seen.examples[0]} is of the form {kind}"
    if kind == "excel":
        return {"timestamp_unit": "excel"}, f"; {seen.examples[0]} is in the days of a spreadsheet"
    return {"timestamp_unit": kind} if kind else {}, f"; {seen.examples[0]} counts {_UNITS[kind]}" if kind else ""


_UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}


def _by_name(name: str, role: str) -> int:
    """How surely a column's name says its role, 0 to 100."""
    parts = parts_of(name)
    if len(parts) == 2 and parts[0] in _LISTS:
        parts = parts[1:]
    joined, plain = "".join(parts), [part for part in parts if part not in _IDS]
    for place, word in enumerate(map(_without_accents, WORDS_OF[role])):
        sure = 100 - place
        if joined == word or joined in (f"{word}id", f"id{word}"):
            return sure
        if word in plain or f"{word}s" in plain:
            # The fewer other words stand there the better: item_category is none.
            others = len(plain) - 1
            has_id = any(part in _IDS for part in parts)
            return sure - (15 if has_id else 25) * others - (0 if has_id or others == 0 else 10)
        if joined.startswith(word) and joined.endswith(_IDS) and (len(word) > 2 or not word.isascii()):
            return sure - 20
    return 0


def _id(profiles: Mapping[str, Profile], role: str, named: bool) -> tuple[Optional[str], str]:
    able = {
        name: one
        for name, one in profiles.items()
        if one.kind in ("whole", "text")
        or (one.kind == "number" and one.in_text and named)
        or (role == "item" and one.kind == "list" and one.width is None)
    }
    if not named:
        column = next((name for name, one in able.items() if one.distinct > 1 and not _is_row_number(one)), None)
        place = "first" if role == "user" else "second"
        return column, f"the {place} column of ids, as in most logs without a header"
    named_so = {name: one for name, one in able.items() if _by_name(name, role) > 0}
    scores = {name: _by_name(name, role) + _has_ids(name, one) for name, one in named_so.items()}
    # What is surely the other one is none of this.
    other = "item" if role == "user" else "user"
    scores = {name: score for name, score in scores.items() if score > 30 and _by_name(name, other) <= score + 20}
    if scores:
        best = max(scores, key=lambda name: scores[name])
        return best, f"named like {'an' if role == 'item' else 'a'} {role}"
    if role == "user":
        baskets = [name for name in able if set(parts_of(name)) & _BASKETS and set(parts_of(name)) & {*_IDS}]
        found = len(baskets) == 1 and able[baskets[0]].distinct < able[baskets[0]].rows
        return (baskets[0], "no column is named like a user: each of these stands for one") if found else (None, "")
    left = [name for name, one in able.items() if one.distinct > 1 and one.kind != "number" and not _is_row_number(one)]
    left = [name for name in left if able[name].kind != "whole" or able[name].distinct > _FEW_ITEMS or _says_id(name)]
    with_ids = [name for name in left if _says_id(name)]
    titles = [name for name in left if parts_of(name)[-1:] in (["title"], ["name"])]
    for few in (left, with_ids, titles):
        if len(few) == 1:
            return few[0], "the only column of ids that is left"
    return None, ""


def _says_id(name: str) -> bool:
    return any(part in _IDS for part in parts_of(name))


def _has_ids(name: str, seen: Profile) -> float:
    """What a column's values and the rest of its name say of ids."""
    score = 12.0 if _says_id(name) else 0.0
    if _is_row_number(seen):
        score -= 40
    if seen.distinct <= 1:
        score -= 20
    return score - _MISSING * seen.missing / max(seen.rows, 1)


def _is_row_number(seen: Profile) -> bool:
    """Whether a column counts the rows."""
    if seen.rows <= _MANY or seen.distinct < seen.rows or seen.numbers is None:
        return False
    return bool((np.diff(seen.numbers) == 1).all())


def _time(profiles: Mapping[str, Profile], named: bool) -> tuple[Optional[str], str]:
    most = {name: one.mostly or one for name, one in profiles.items()}
    able = {name: one for name, one in most.items() if one.kind == "time" or _number_of(one)}
    if not named:
        sure = [name for name, one in able.items() if one.kind == "time" or _number_of(one) not in _LIKE_IDS]
        chosen = sure or list(able)
        return (chosen[-1], "its values are times") if chosen else (None, _NO_TIME)
    scores = {}
    for name, one in able.items():
        score = _by_name(name, "time")
        if one.kind == "time":
            score += 40 + 40 * _is_exact(one)
        elif score <= 0:
            continue  # a number may be anything
        else:
            score += 40 + 40 * (_number_of(one) in _UNITS)
        later = bool(_LATER & set(parts_of(name)))
        scores[name] = score - 70 * later - 40 * (one.missing > 0.5 * one.rows)
    if not scores:
        return None, _NO_TIME
    best = max(scores, key=lambda name: scores[name])
    return best, "named like a time" if _by_name(best, "time") > 0 else "its values are times"


_NO_TIME = "no column holds times: the order of the rows is taken for theirs (say --time COLUMN if one does)"


def _is_exact(seen: Profile) -> bool:
    """Whether times are finer than days."""
    return any(":" in text and "00:00:00" not in text for text in seen.examples)


def _number_of(seen: Profile) -> str:
    """Returns the unit, or the form, that makes sensible times of numbers; "" where none does."""
    if seen.kind not in ("whole", "number") or seen.numbers is None or not len(seen.numbers):
        return ""
    some = seen.numbers[seen.numbers != 0]  # 0 is what some write for a missing time
    numbers = some[some > 0]
    if len(numbers) < max(_MOST * len(some), 0.5 * len(seen.numbers)):
        return ""
    whole = seen.kind == "whole" and np.abs(numbers).max() < 2.0**63  # ids may be longer than any time
    try:
        unit = guess_time_unit(pa.array(numbers.astype(np.int64) if whole else numbers), "")
    except InputError as error:
        found = re.search(r"timestamp_format: '([^']+)'", str(error))
        return found[1] if found else "excel" if "excel" in str(error) else ""
    return unit if _are_sensible(numbers, unit).mean() >= _MOST else ""


def _are_sensible(numbers: np.ndarray, unit: str) -> np.ndarray:
    """Returns which counts are of times since 1990, and not far in the future."""
    if unit not in _SCALES:
        return numbers > 0
    seconds = numbers / _SCALES[unit]
    return (seconds >= _FIRST) & (seconds <= _NOW + 366 * 86_400)


def _event(profiles: Mapping[str, Profile], named: bool) -> tuple[Optional[str], str]:
    for name, one in profiles.items():
        if one.kind != "text" or not 1 <= one.distinct <= _MAX_EVENTS:
            continue
        known = [text for text in one.texts if _weight_of(text) or revokes(text)]
        if known and (len(known) >= 2 or len(known) == one.distinct):
            return name, f"its values are types of events: {', '.join(sorted(one.texts)[:6])}"
    if named:
        for name, one in profiles.items():
            if one.kind == "text" and 2 <= one.distinct <= _MAX_EVENTS and _by_name(name, "event") >= _SURELY:
                return name, "named like a type of event"
    return None, ""


def event_weights(seen: Profile) -> dict[str, float]:
    """Returns what each type of event counts, by the names that they have; those that say the opposite are left out."""
    texts = (seen.inner or seen).texts
    return {text: _weight_of(text) or 1 for text in texts if not revokes(text)}


def revokes(text: str) -> bool:
    """Whether a type of event says that somebody did not take an item, or not for long."""
    return _REVOKING.fullmatch(_plain(text)) is not None


def _weight_of(text: str) -> float:
    plain = _plain(text)
    return next((EVENTS[word] for end in ("", "s", "d", "ed") if (word := plain.removesuffix(end)) in EVENTS), 0)


def _plain(text: str) -> str:
    """Returns a type of event in small letters, without marks and without what it is of: "view" of Product View."""
    return re.sub(r"[\W_]|items?|products?", "", text.lower())


def _rating(profiles: Mapping[str, Profile], named: bool) -> tuple[Optional[str], str]:
    able = {
        name: one
        for name, one in profiles.items()
        if one.kind in ("whole", "number") and one.numbers is not None and 1 <= one.distinct <= _MAX_RATINGS
    }
    if named:
        scores = {name: _by_name(name, "rating") for name in able if _by_name(name, "rating") >= 50}
        if not scores:
            return None, ""
        best = max(scores, key=lambda name: scores[name])
        return best, "named like a rating"
    few = [
        name
        for place, (name, one) in enumerate(profiles.items())
        if place >= 2 and name in able and 2 <= one.distinct <= 21
        if one.numbers is not None and one.numbers.min() >= 0 and one.numbers.max() <= 10
    ]
    return (few[0], "a few small numbers") if few else (None, "")


def spread_settings(items: Profile) -> dict[str, Any]:
    """Returns the settings by which rows with lists of items are spread out; none where a row has one item."""
    if items.kind == "list":
        return {"spread": True}
    for mark in _SEPARATORS:
        with_mark = [text for text in items.texts if mark in text.strip()]
        separator = f"{mark} " if mark != " " and all(f"{mark} " in text for text in with_mark) else mark
        lists = [text.split(separator) for text in items.texts]
        parts = [part for some in lists for part in some]
        # Lists hardly come again, what is in them does; the more surely, the more it looks like ids.
        varied_ids = len({*map(len, lists)}) > 2 and all(map(_LIKE_ID.fullmatch, parts))
        most, repeated = (0.5, 1.5) if varied_ids else (0.9, _REPEATED_PARTS)
        again = len(set(parts)) * repeated <= len(parts) and 2 * items.distinct > items.rows - items.missing
        if len(with_mark) > most * len(lists) and again:
            return {"spread": True, **({} if separator == "|" else {"separator": separator})}
    return {}


def shown_and_clicked(columns: Mapping[str, Profile]) -> Optional[tuple[str, str]]:
    """Returns the column of lists of what was shown with labels of what was clicked, as in `N55689-1 N35729-0`, and the
    label of that; None where there is none."""
    for name, one in columns.items():
        lists = [text.split() for text in one.texts]
        marks = {match and match[1] for parts in lists for match in map(_LABELLED.fullmatch, parts)}
        labels = {part[-1] for parts in lists for part in parts}
        if len(marks) == 1 and None not in marks and labels == {"0", "1"} and any(len(parts) > 1 for parts in lists):
            return name, f"{marks.pop()}1"
    return None


def words_for_missing(columns: Mapping[str, Profile]) -> tuple[str, ...]:
    """Returns the words that stand for a missing value in columns of text."""
    return tuple(sorted({word for one in columns.values() for word in one.words if word.lower() in WORDS}))
