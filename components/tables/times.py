"""Times: whatever a column holds to microseconds since the epoch, and finding out what it holds.

As in `columns`, nothing is raised for a bad value, only for a column whose values as a whole can't be meant.
"""

import datetime
import functools
import itertools
import re
import zoneinfo
from collections.abc import Callable, Mapping, Sequence
from typing import Optional

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.errors import InputError
from components.tables.columns import EXACT, as_numbers, as_text, decoded, mask, parsed_text, scalars
from components.tables.formats import TableSettings

_ISO = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}(:\d{2}(:\d{2}(\.\d+)?)?)?(Z|[+-]\d{2}(:?\d{2})?)?)?$"
_ZONED = r"[T ].*(Z|[+-]\d{2}(:?\d{2})?)$"
_SAYS_ZONE = r":.*(Z|UTC|GMT|[+-]\d{2}(:?\d{2})?)\s*$"
_OFFSET = r"[+-]\d{2}:?\d{2}(?!\d)"
_FROM_UTC = r"(Z|[+-]\d{2}:?\d{2})"
_SAID_AGAIN = r" ?(?:\([^()]*\)|\[[^\[\]]*\]|[A-Z]{3,5}|[+-]\d{2,4})"
"""What names a zone once more behind its offset, as JavaScript, Java, Go and mails do."""
_HOURS = {
    **{"WET": 0, "WEST": 1, "CET": 1, "CEST": 2, "MEZ": 1, "MESZ": 2, "EET": 2, "EEST": 3, "MSK": 3, "JST": 9},
    **{"KST": 9, "EST": -5, "EDT": -4, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7},
}
_OF_SEVERAL_ZONES = ("CST", "IST", "BST")
_LETTERS = re.compile(r"\b[A-Z]{3,4}\b")
_OFFSETS = {letters: f"{hours:+03d}00" for letters, hours in _HOURS.items()}
"""What the letters of a zone stand for, where they are those of one zone."""
_LITERAL = re.compile(r"[^\W\d_]+")
_GUESSED = {**_OFFSETS, **dict.fromkeys(_OF_SEVERAL_ZONES, "+0000")}
_WORD = re.compile(r"\d\W*[^\W\d_]{3,}|[^\W\d_]{3,}\W*\d")
_PLAIN = TableSettings()
_MANTISSA = re.compile(r"\s*(\d)\.?(\d*)[eE]\+?(\d+)\s*")
ROUGH_TIMES = "rows whose times have lost digits"
"""The fact that counts them."""
OFFSETS, NO_OFFSETS = "rows whose times have an offset from UTC", "rows whose times have none"
"""The facts that count them."""
_OF_DAY = re.compile(r"\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?( ?[AaPp]\.?[Mm]\.?)?")
_FACTORS = {"s": 1_000_000, "ms": 1_000, "us": 1, "days": 86_400_000_000, "excel": 86_400_000_000}
_EXCEL_EPOCH = np.datetime64("1899-12-30", "us").astype(np.int64)
_EARLIEST = np.datetime64("1900-01-01", "us").astype(np.int64)
_LATEST = np.datetime64("2200-01-01", "us").astype(np.int64)

_DIGITS = {
    6: ("YYMMDD", "%y%m%d"),
    8: ("YYYYMMDD", "%Y%m%d"),
    10: ("YYYYMMDDHH", "%Y%m%d%H"),
    12: ("YYYYMMDDHHMM", "%Y%m%d%H%M"),
    14: ("YYYYMMDDHHMMSS", "%Y%m%d%H%M%S"),
    17: ("YYYYMMDDHHMMSS and milliseconds", "%Y%m%d%H%M%S%f"),
}
"""Numbers that are dates rather than counts of seconds, by their length: their look and their format."""
_SHEET_DAYS = (32_874, 73_051)
"""1990 to 2100 in the days of a spreadsheet."""
_BROWSER_COUNTS = (1.22e16, 1.4e16)
"""1987 to 2044 in microseconds since 1601; in those since 1970 they are after 2200."""
_PEEK = 200
"""Distinct values that a format is tried on."""
_DATES = (
    *("%Y/%m/%d", "%Y.%m.%d", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y-%m-%d", "%Y%m%d"),
    *("%m/%d/%y", "%d/%m/%y", "%d.%m.%y", "%d-%m-%y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y"),
    *("%B %d, %Y", "%m %d, %Y", "%b %d %Y", "%a, %d %b %Y", "%a %b %d %Y", "%y/%m/%d", "%y-%m-%d", "%y.%m.%d"),
    *("%A, %B %d, %Y", "%a %d %b %Y", "%d%b%Y", "%Y年%m月%d日"),
)
_TIMES = (
    *("", "%H:%M:%S", "%H:%M", "%H:%M:%S.%f", "%H:%M:%S,%f", "%I:%M:%S %p", "%I:%M %p", "%I:%M%p", "%H%M%S"),
    *("%H.%M", "%H.%M.%S", "%H.%M.%S.%f", "%I.%M.%S.%f %p", "%Hh%M", "%H时%M分", "%H时%M分%S秒"),
)
_BLANKS = (" ", "T", "", ", ", "_", "-", ":")
_ZONES = ("", " %z", "%z", " UTC", " GMT", "Z", " GMT%z", " %Z")
_WHOLE = (
    *("%a %b %d %H:%M:%S %z %Y", "%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S UTC %Y", "%d/%b/%Y:%H:%M:%S %z"),
    *("%d/%b/%Y:%H:%M:%S", "[%d/%b/%Y:%H:%M:%S %z]", "%a %b %d %H:%M:%S %Z %Y"),
    *("%a %d %b %H:%M:%S %Z %Y", "%a %b %d %H:%M:%S %Y %z"),
)


def as_times(
    array: pa.Array,
    unit: str,
    name: str,
    form: Optional[str] = None,
    zone: Optional[str] = None,
    how: TableSettings = _PLAIN,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns times (int64 [n] microseconds since the epoch, UTC), where they are missing and where they are bad.

    A time before 1900 or after 2200 is bad: it comes from a wrong unit.

    Args:
        array: [n] Arrow times or dates, which know their unit; numbers or their text; or text.
        unit: s, ms, us, ns or days since 1970 or excel (days of a spreadsheet) for numbers, "iso" for ISO 8601.
        name: The column's name, for messages.
        form: The form of times in text, as `datetime.strptime` takes it, instead of a unit; %Z stands for the letters
            of a zone, those of `zone` among them.
        zone: The time zone of times without an offset; UTC if not given. Of a time that a clock showed twice, the
            first is meant.
        how: How numbers are written in text.

    Raises:
        InputError: The column's type is none of these.
    """
    array = scalars(array, name)
    _check_has_day(array, name)
    local = np.zeros(len(array), dtype=bool)
    if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
        given = getattr(array.type, "tz", None)
        times = array.cast(pa.timestamp("us", given), safe=False).cast(pa.int64())
        missing = mask(pc.is_null(times))
        bad = np.zeros(len(array), dtype=bool)
        micros = pc.fill_null(times, 0).to_numpy(zero_copy_only=False)
        local |= given is None
    elif form is not None or unit == "iso":
        text = as_text(array, name)
        missing = mask(pc.is_null(text))
        micros, bad, local = _parsed_iso(text, ~missing) if form is None else _parsed_form(text, form, zone)
    else:
        micros, missing, bad = _numeric_times(array, unit, name, how)
    absurd = ~missing & ~bad & ((micros < _EARLIEST) | (micros > _LATEST))
    bad = bad | absurd
    local &= ~missing & ~bad
    if zone is not None and local.any():
        micros = micros.copy()
        micros[local] = _from_local(micros[local], zone)
    return micros, missing, bad


def rough(array: pa.Array) -> int:
    """Returns how many of the counts in a column have lost digits: in floats that can't hold them, and in text such as
    1.6001e+09, which is looked for where the first values have it.

    >>> rough(pa.array([1_600_029_219.0], pa.float32())), rough(pa.array(["1.6001e+09", "1.600029219e+09"]))
    (1, 1)
    """
    array = decoded(array)
    if pa.types.is_floating(array.type) and array.type.bit_width in EXACT:
        values = array.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return int((np.abs(values) >= EXACT[array.type.bit_width]).sum())
    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        return 0
    if not pc.any(pc.match_substring(array[:_PEEK], "e", ignore_case=True)).as_py():
        return 0  # looking at all takes time
    written = array.filter(pc.match_substring(array, "e", ignore_case=True)).to_pylist()
    parts = filter(None, map(_MANTISSA.fullmatch, written))
    return sum(len(part[2]) < int(part[3]) for part in parts)


def offsets(array: pa.Array) -> tuple[int, int]:
    """Returns how many of the times in ISO 8601 in a column of text have an offset from UTC, and how many have none.

    >>> offsets(pa.array(["2020-09-13 20:33:39+02:00", "2020-09-13 20:33:39", "2020-09-13", None]))
    (1, 1)
    """
    array = decoded(array)
    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        return 0, 0
    timed = pc.sum(pc.match_substring(array, ":")).as_py() or 0
    zoned = pc.sum(pc.match_substring_regex(array, _SAYS_ZONE)).as_py() or 0
    return zoned, timed - zoned


def guess_time_unit(array: pa.Array, name: str, known: bool = False, how: TableSettings = _PLAIN) -> str:
    """Returns the unit that the times in `array` most likely have: s, ms, us, ns by magnitude, or "iso" for text.

    Args:
        array: The times.
        name: Their column, for messages.
        known: Whether the log's first times have been looked at: counts may grow into the days of a spreadsheet.
        how: How numbers are written in text.

    Raises:
        InputError: They look like something that no unit reads rightly; the message names the setting that does.
    """
    array = scalars(array, name)
    if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
        return "us"
    _check_has_day(array, name)
    values, missing, bad = as_numbers(array, name, how)
    good = values[~missing & ~bad]
    if len(good) == 0:
        _check_iso(as_text(array, name), name)
        return "iso"
    _check_counts(good, name, known)
    typical = np.median(np.abs(good))
    return next((unit for unit, limit in (("s", 1e11), ("ms", 1e14), ("us", 1e17)) if typical < limit), "ns")


def guess_forms(texts: Sequence[str]) -> list[str]:
    """Returns the forms, as `datetime.strptime` takes them, that all of `texts` may be times of; the likeliest first.

    >>> guess_forms(["09/13/2020 20:33"])
    ['%m/%d/%Y %H:%M']
    >>> guess_forms(["20/09/15", "20/10/28"])
    ['%y/%m/%d', '%d/%m/%y']
    """
    # To try a form takes Python a millisecond, for it makes a pattern of it: first the marks between are compared.
    texts = [re.sub(f"{_FROM_UTC}{_SAID_AGAIN}$", r"\1", text) for text in texts]
    lettered = any(word in _OFFSETS or word in _OF_SEVERAL_ZONES for text in texts for word in _LETTERS.findall(text))
    marks = [{_marks(text), _marks(re.sub(_OFFSET, "", text))} for text in texts]
    forms = (
        form
        for form, between, words in _forms()
        if ("%Z" in form) == lettered
        and all(between in each for each in marks)
        and all(word in text.upper() for word in words for text in texts)
    )
    return sorted((form for form in forms if all(_fits(text, form) for text in texts)), key=_unlikely(texts))


def _unlikely(texts: Sequence[str]) -> Callable[[str], tuple[bool, int]]:
    """Returns a measure of forms: whether times are in the future by them, and in how many years."""
    tomorrow = datetime.datetime.now() + datetime.timedelta(days=1)

    def measure(form: str) -> tuple[bool, int]:
        times = [_moment(text, form, _GUESSED).replace(tzinfo=None) for text in texts]
        return max(times) > tomorrow, len({time.year for time in times})

    return measure


@functools.lru_cache(maxsize=1)
def _forms() -> list[tuple[str, str, list[str]]]:
    """Returns all forms, the likeliest first, each with the marks and the words, in capitals, between its parts."""
    stamps = [
        f"{date}{blank}{time}{zone}"
        for date, time, blank, zone in itertools.product(_DATES, _TIMES, _BLANKS, _ZONES)
        if bool(time) == bool(blank) and (time or not zone)
    ]
    between = {form: re.sub(r"%\w", "#", form) for form in (*stamps, *_WHOLE)}
    return [(form, _marks(rest.replace("#", "")), _LITERAL.findall(rest.upper())) for form, rest in between.items()]


def _marks(text: str) -> str:
    return re.sub(r"[\w\s]", "", text)


def _parsed_iso(text: pa.Array, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    text = pc.replace_substring_regex(pc.utf8_trim_whitespace(text), r"(\.\d{6})\d+", r"\1")
    apart = f" {_FROM_UTC}(?:{_SAID_AGAIN})?|{_FROM_UTC}{_SAID_AGAIN}"  # not what can be read as it is: that takes time
    text = pc.replace_substring_regex(text, rf"(:\d{{2}}(?:\.\d+)?)(?:{apart})$", r"\1\2\3")
    text = pc.replace_substring_regex(text, r"(:\d{2}(?:\.\d+)?) ?(?:UTC|GMT)$", r"\1Z")
    zoned = wanted & mask(pc.match_substring_regex(text, _ZONED))
    here, bad_here = parsed_text(text, wanted & ~zoned, pa.timestamp("us"), _ISO)
    there, bad_there = parsed_text(text, zoned, pa.timestamp("us", "UTC"), _ISO)
    micros = pc.coalesce(here.cast(pa.int64()), there.cast(pa.int64()), pa.scalar(0, pa.int64()))
    return micros.to_numpy(zero_copy_only=False), bad_here | bad_there, wanted & ~zoned


def _parsed_form(text: pa.Array, form: str, zone: Optional[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the times, where there is none of that form, and where they have no offset."""
    # Python's strptime is slow, but alone takes no 31 February for a day in March and no text with a tail.
    text = pc.replace_substring_regex(pc.utf8_trim_whitespace(text), r"^(\d{4,})\.0$", r"\1")  # once a float
    if form.endswith("%z"):
        text = pc.replace_substring_regex(text, f"{_FROM_UTC}{_SAID_AGAIN}$", r"\1")
    letters = {**_OFFSETS, **_letters_of(zone)} if "%Z" in form else {}
    encoded = text.dictionary_encode()
    epoch = datetime.datetime(1970, 1, 1)
    size = len(encoded.dictionary)
    micros, bad, local = np.zeros(size, np.int64), np.zeros(size, bool), np.ones(size, bool)
    for place, value in enumerate(encoded.dictionary.to_pylist()):
        try:
            moment = _moment(value, form, letters)
            if moment.tzinfo is not None:
                moment = moment.astimezone(datetime.timezone.utc).replace(tzinfo=None)
                local[place] = False
        except (ValueError, OverflowError):  # the latter of the first and last moments there are, in another zone
            bad[place] = True
            continue
        micros[place] = (moment - epoch) // datetime.timedelta(microseconds=1)
    there = mask(pc.is_valid(encoded.indices))
    index = pc.fill_null(encoded.indices, 0).to_numpy(zero_copy_only=False)
    if not size:
        nothing = np.zeros(len(text), bool)
        return np.zeros(len(text), np.int64), nothing, nothing
    return np.where(there, micros[index], 0), there & bad[index], there & local[index]


def _moment(text: str, form: str, letters: Mapping[str, str]) -> datetime.datetime:
    """Returns the time that a text is, as `datetime.strptime`, which knows no letters of zones.

    Args:
        text: The text.
        form: Its form.
        letters: The offsets that the letters of a zone stand for.

    Raises:
        ValueError: It is not of that form.
    """
    if "%Z" in form:
        text, form = _LETTERS.sub(lambda found: letters.get(found[0], found[0]), text), form.replace("%Z", "%z")
    return datetime.datetime.strptime(text, form)


def _letters_of(zone: Optional[str]) -> dict[str, str]:
    """Returns the letters that a zone has in winter and in summer, and their offsets."""
    place = zone and zoneinfo.ZoneInfo(zone)
    times = [datetime.datetime(2020, month, 1, tzinfo=place) for month in (1, 7)] if place else []
    return {time.strftime("%Z"): time.strftime("%z") for time in times}


def _from_local(micros: np.ndarray, zone: str) -> np.ndarray:
    """Returns in UTC what a clock in `zone` showed; int64 [n] microseconds."""
    import pandas as pd

    shown = pd.DatetimeIndex(micros.astype("datetime64[us]").astype("datetime64[ns]"))
    utc = shown.tz_localize(zone, ambiguous=np.ones(len(shown), bool), nonexistent="shift_forward").tz_convert(None)
    return utc.to_numpy().astype("datetime64[us]").astype(np.int64)


def _numeric_times(
    array: pa.Array, unit: str, name: str, how: TableSettings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    try:
        # Integers first: nanoseconds don't fit into a float.
        whole = pc.fill_null(array.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
        missing = mask(pc.is_null(array))
        values, bad = whole, np.zeros(len(array), dtype=bool)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        values, missing, bad = as_numbers(array, name, how)
        values = np.where(missing | bad, 0.0, values)
    limit = float(_LATEST) * 2
    factor: Optional[int] = _FACTORS.get(unit)
    scaled = values.astype(np.float64) * factor if factor else values.astype(np.float64) / 1000
    bad = bad | (np.abs(scaled) > limit)
    values = np.where(bad, 0, values)
    if factor is None:
        return (values // 1000).astype(np.int64), missing, bad
    micros = values * factor if values.dtype == np.int64 else np.round(values * factor).astype(np.int64)
    return micros + _EXCEL_EPOCH if unit == "excel" else micros, missing, bad


def _check_has_day(array: pa.Array, name: str) -> None:
    if pa.types.is_time(array.type) or pa.types.is_duration(array.type):
        raise InputError(f"column {name!r} is of type {array.type}, a time without a day: write both into one column")


def _check_counts(values: np.ndarray, name: str, known: bool) -> None:
    """Raises an InputError where numbers are dates written as such, or the days of a spreadsheet."""
    whole = bool((values == np.floor(values)).all())
    look, form = _DIGITS.get(len(f"{values[0]:.0f}"), ("", "")) if whole else ("", "")
    distinct = np.unique(values)[:_PEEK]
    example = f"{values[0]:.0f}" if whole else f"{values[0]:g}"
    texts = [f"{value:.0f}" for value in distinct]
    alike = whole and all(len(text) == len(texts[0]) for text in texts)
    if alike and len(example) == 6 and all(_fits(text, "%Y%m") for text in texts):
        raise InputError(
            f"column {name!r} looks like YYYYMM ({example}), months, which tell no day: write days, or take the order "
            "of the rows for that of time by timestamp: null; or set timestamp_unit if it counts from 1970"
        )
    if form and alike and all(_fits(text, form) for text in texts):
        raise InputError(
            f"column {name!r} looks like {look} ({example}): set timestamp_format: {form!r}, "
            "or timestamp_unit if it counts from 1970"
        )
    if values.min() >= _BROWSER_COUNTS[0] and values.max() < _BROWSER_COUNTS[1]:
        raise InputError(
            f"column {name!r} looks like microseconds since 1601, as browsers count ({example}): write seconds since "
            "1970, which are count / 1000000 - 11644473600"
        )
    if not known and values.min() >= _SHEET_DAYS[0] and values.max() < _SHEET_DAYS[1]:
        raise InputError(
            f"column {name!r} looks like the days of a spreadsheet ({example}): set timestamp_unit: excel, "
            "or s if it counts seconds from 1970"
        )


def _check_iso(text: pa.Array, name: str) -> None:
    """Raises an InputError where there are texts and all are times of another form than ISO 8601."""
    there = ~mask(pc.is_null(text))
    if not there.any() or not _parsed_iso(text, there)[1][there].all():
        return
    texts = [value.strip() for value in pc.unique(text.filter(pa.array(there)))[:_PEEK].to_pylist()]
    if all(_OF_DAY.fullmatch(each) for each in texts):
        raise InputError(f"column {name!r} holds {texts[0]!r}, a time without a day: write both into one column")
    forms = guess_forms(texts)
    advice = " or ".join(map(repr, forms[:3])) or "'%d.%m.%Y %H:%M'"
    such = "" if forms else "such as "
    words = "" if forms or not any(map(_WORD.search, texts)) else "; names of months can be read in English alone"
    raise InputError(
        f"column {name!r} holds {texts[0]!r}, neither a number nor a time in ISO 8601: "
        f"set timestamp_format: {such}{advice} (and timezone, unless it is UTC){words}"
    )


def _fits(text: str, form: str) -> bool:
    try:
        moment = _moment(text, form, _GUESSED)
    except ValueError:
        return False
    return 1900 <= moment.year < 2200
