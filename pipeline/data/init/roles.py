"""Which column of a log is the user, the item, the time, the rating and the type of event, by names and values."""

from __future__ import annotations

import datetime
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
        *("who", "account", "person", "profile", "household", "kunde", "nutzer", "dummyuser", "session", "device"),
        *(
            "visit",
            "cookie",
            "basket",
            "author",
            "email",
            "mail",
            "klant",
            "cliente",
            "usuario",
            "utilisateur",
            "utente",
        ),
    ),
    "item": (
        *("item", "product", "movie", "film", "book", "isbn", "asin", "sku", "article", "track", "song", "course"),
        *("artist", "business", "listing", "offer", "game", "app", "recipe", "restaurant", "hotel", "venue", "place"),
        *("news", "video", "content", "stock", "gtin", "ean", "iid", "pid", "mid", "page", "url", "tool", "artikel"),
        *("show", "anime", "joke", "paper", "job", "poi", "tag", "what", "items", "producto", "produit", "prodotto"),
        *("articulo", "articolo", "libro", "livre"),
    ),
    "time": (
        *("timestamp", "time", "datetime", "ts", "date", "at", "when", "created", "unixreviewtime", "day", "start"),
        *("zeit", "datum", "zeitpunkt", "visited", "viewed", "purchased", "utc", "t", "dt", "fecha", "tijd", "tstamp"),
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

_WITH_ID = {f"{word}{end}": [word, end] for word in (*WORDS_OF["user"], *WORDS_OF["item"]) for end in ("id", "nummer")}
"""Names that are two words, such as userid."""
EVENTS: dict[str, float] = {
    **dict.fromkeys(("view", "pageview", "click", "pv", "impression", "visit", "play", "listen", "read", "open"), 1),
    **dict.fromkeys(("detail", "browse", "itemview", "productview", "clickout", "watch", "stream", "start"), 1),
    **dict.fromkeys(("wishlist", "addtowishlist", "fav", "favorite", "favourite", "like", "bookmark", "save"), 3),
    **dict.fromkeys(("cart", "addtocart", "basket", "addtobasket", "checkout", "complete", "finish", "rate"), 4),
    **dict.fromkeys(("purchase", "purchased", "buy", "bought", "transaction", "order", "sale", "conversion"), 8),
}
"""What types of events count by their names, in small letters and without marks."""

REVOKING = frozenset(
    (
        "removefromcart",
        "remove",
        "delete",
        "return",
        "refund",
        "dislike",
        "unlike",
        "unfollow",
        "skip",
        "cancel",
        "hide",
    )
)
"""Types that say the opposite."""

_MAX_EVENTS = 30
_MAX_RATINGS = 101
_NOW = datetime.datetime.now(datetime.timezone.utc).timestamp()
_FIRST = 631_152_000  # 1990
_SCALES = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_MANY = 20
_SEPARATORS = (" ", "|", ";", ",")
_REPEATED_PARTS = 4


@dataclass
class Roles:
    """Which columns of a log hold what, and why."""

    columns: dict[str, Optional[str]] = field(default_factory=dict)
    """By role: user, item, time, rating, event; None where nothing is."""
    reasons: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the log that say how times are read."""

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
    name = "".join(sign for sign in unicodedata.normalize("NFKD", name) if not unicodedata.combining(sign))
    parts = re.findall(r"[^\W_]+", name.lower())
    return [each for part in parts for each in _WITH_ID.get(part, [part])]


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
    for role, guess in (("time", _time), ("event", _event), ("rating", _rating)):
        if role not in given:
            left = {name: one for name, one in profiles.items() if name not in roles.columns.values()}
            roles.say(role, *guess(left, named))
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
    time = roles.columns["time"]
    if time is not None:
        roles.settings, why = time_settings(time, profiles[time])
        roles.reasons["time"] += why
    return roles


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
        other = f", or {seen.forms[0]}, which these values would fit as well" if seen.forms else ""
        return {"timestamp_format": seen.form}, f"; {seen.examples[0]} is of the form {seen.form}{other}"
    kind = _number_of(seen)
    if kind in ("%Y%m%d", "%Y%m%d%H", "%Y%m%d%H%M", "%Y%m%d%H%M%S"):
        return {"timestamp_format": kind}, f"; {seen.examples[0]} is of the form {kind}"
    if kind == "excel":
        return {"timestamp_unit": "excel"}, f"; {seen.examples[0]} is in the days of a spreadsheet"
    return {"timestamp_unit": kind} if kind else {}, f"; {seen.examples[0]} counts {_UNITS[kind]}" if kind else ""


_UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}


def _by_name(name: str, role: str) -> int:
    """How surely a column's name says its role, 0 to 100."""
    parts = parts_of(name)
    joined, plain = "".join(parts), [part for part in parts if part not in _IDS]
    known = WORDS_OF[role]
    for place, word in enumerate(known):
        sure = 100 - place
        if joined == word or joined in (f"{word}id", f"id{word}"):
            return sure
        if word in plain or f"{word}s" in plain:
            # The fewer other words stand there the better: item_category is none.
            others = len(plain) - 1
            has_id = any(part in _IDS for part in parts)
            return sure - (15 if has_id else 25) * others - (0 if has_id or others == 0 else 10)
        if joined.startswith(word) and joined.endswith(_IDS) and len(word) > 2:
            return sure - 20
    return 0


def _id(profiles: Mapping[str, Profile], role: str, named: bool) -> tuple[Optional[str], str]:
    able = {
        name: one
        for name, one in profiles.items()
        if one.kind in ("whole", "text")
        or (one.kind == "number" and one.in_text and named)
        or (role == "item" and one.kind == "list")
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
        return None, ""
    left = [name for name, one in able.items() if one.distinct > 1 and one.kind != "number" and not _is_row_number(one)]
    with_ids = [name for name in left if any(part in _IDS for part in parts_of(name))]
    titles = [name for name in left if parts_of(name)[-1:] in (["title"], ["name"])]
    for few in (left, with_ids, titles):
        if len(few) == 1:
            return few[0], "the only column of ids that is left"
    return None, ""


def _has_ids(name: str, seen: Profile) -> int:
    """What a column's values and the rest of its name say of ids."""
    score = 12 if any(part in _IDS for part in parts_of(name)) else 0
    if _is_row_number(seen):
        score -= 40
    if seen.distinct <= 1:
        score -= 20
    return score - 30 * (seen.missing > 0.9 * seen.rows)


def _is_row_number(seen: Profile) -> bool:
    """Whether a column counts the rows."""
    if seen.rows <= _MANY or seen.distinct < seen.rows or seen.numbers is None:
        return False
    return bool((np.diff(seen.numbers) == 1).all())


def _time(profiles: Mapping[str, Profile], named: bool) -> tuple[Optional[str], str]:
    able = {name: one for name, one in profiles.items() if one.kind == "time" or _number_of(one)}
    if not named:
        sure = [name for name, one in able.items() if one.kind == "time" or _number_of(one) not in ("excel", "%Y%m%d")]
        chosen = sure or list(able)
        return (chosen[-1], "its values are times") if chosen else (None, _NO_TIME)
    scores = {}
    for name, one in able.items():
        score = _by_name(name, "time")
        if one.kind == "time":
            score += 40 + 10 * (_is_exact(one))
        elif score <= 0:
            continue  # a number may be anything
        scores[name] = score - 40 * (one.missing > 0.5 * one.rows)
    if not scores:
        return None, _NO_TIME
    best = max(scores, key=lambda name: scores[name])
    return best, "named like a time" if _by_name(best, "time") > 0 else "its values are times"


_NO_TIME = "no column holds times: the order of the rows is taken for theirs (say --time COLUMN if one does)"


def _is_exact(seen: Profile) -> bool:
    """Whether times are finer than days."""
    return any(":" in text for text in seen.examples)


def _number_of(seen: Profile) -> str:
    """Returns the unit, or the form, that makes sensible times of numbers; "" where none does."""
    if seen.kind not in ("whole", "number") or seen.numbers is None or not len(seen.numbers):
        return ""
    numbers = seen.numbers
    whole = seen.kind == "whole" and np.abs(numbers).max() < 2.0**63  # ids may be longer than any time
    try:
        unit = guess_time_unit(pa.array(numbers.astype(np.int64) if whole else numbers), "")
    except InputError as error:
        found = re.search(r"timestamp_format: '([^']+)'", str(error))
        return found[1] if found else "excel" if "excel" in str(error) else ""
    seconds = numbers / _SCALES.get(unit, np.inf)
    return unit if seconds.min() >= _FIRST and seconds.max() <= _NOW + 366 * 86_400 else ""


def _event(profiles: Mapping[str, Profile], named: bool) -> tuple[Optional[str], str]:
    for name, one in profiles.items():
        if one.kind != "text" or not 1 <= one.distinct <= _MAX_EVENTS:
            continue
        known = [text for text in one.texts if _plain(text) in EVENTS or _plain(text) in REVOKING]
        if known and (len(known) >= 2 or len(known) == one.distinct):
            return name, f"its values are types of events: {', '.join(sorted(one.texts)[:6])}"
    if named:
        for name, one in profiles.items():
            if one.kind == "text" and 2 <= one.distinct <= _MAX_EVENTS and _by_name(name, "event") >= 75:
                return name, "named like a type of event"
    return None, ""


def event_weights(seen: Profile) -> dict[str, float]:
    """Returns what each type of event counts, by the names that they have; those that say the opposite are left out."""
    return {text: EVENTS.get(_plain(text), 1) for text in seen.texts if _plain(text) not in REVOKING}


def _plain(text: str) -> str:
    return re.sub(r"[\W_]", "", text.lower())


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
    for separator in _SEPARATORS:
        lists = [text.split(separator) for text in items.texts]
        parts = [part for some in lists for part in some]
        several = sum(len(some) > 1 for some in lists)
        # Lists hardly come again, what is in them does.
        again = len(set(parts)) * _REPEATED_PARTS <= len(parts) and 2 * items.distinct > items.rows - items.missing
        if several > 0.9 * len(lists) and again:
            return {"spread": True, **({} if separator == "|" else {"separator": separator})}
    return {}


def words_for_missing(columns: Mapping[str, Profile]) -> tuple[str, ...]:
    """Returns the words that stand for a missing value in columns of text."""
    return tuple(sorted({word for one in columns.values() for word in one.words if word.lower() in WORDS}))
