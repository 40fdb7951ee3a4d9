"""Which column is what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from components.errors import InputError
from components.tables.formats import TableSettings
from pipeline.data.init import roles
from pipeline.data.init.roles import guess_roles, is_known, parts_of, spread_settings
from pipeline.data.profile import Profile, profile

SECONDS = [str(1_600_000_000 + 50 * n) for n in range(60)]
IDS = [str(n * 37 % 11) for n in range(60)]
LETTERS = [f"x{n * 7 % 13}" for n in range(60)]
STARS = [str(1 + n % 5) for n in range(60)]
KINDS = [("view", "view", "purchase")[n % 3] for n in range(60)]
NUMBERS = [str(n) for n in range(60)]
PRICES = [f"{n / 7:.2f}" for n in range(60)]


def seen(columns: dict[str, Sequence[Any]]) -> dict[str, Profile]:
    return {name: profile(pa.array(values), TableSettings()) for name, values in columns.items()}


SHOWN = {
    "whole": IDS,
    "letters": LETTERS,
    "stars": STARS,
    "times": SECONDS,
    "rows": NUMBERS,
    "prices": PRICES,
    "kinds": KINDS,
    "days": ["2020-09-14"] * 60,
    "moments": ["2020-09-13 10:00:00"] * 60,
}


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            "userId=whole movieId=letters rating=stars timestamp=times",
            ("userId", "movieId", "timestamp", "rating", None),
        ),
        (
            "=rows reviewerID=whole asin=letters reviewerName=letters overall=stars",
            ("reviewerID", "asin", None, "overall", None),
        ),
        (
            "ts=times visitorid=whole event=kinds itemid=letters transactionid=rows",
            ("visitorid", "itemid", "ts", None, "event"),
        ),
        ("what=letters who=whole at=times", ("who", "what", "at", None, None)),
        (
            "customer_id=whole product_category=letters product_id=letters price=prices",
            ("customer_id", "product_id", None, None, None),
        ),
        (
            "user.id=letters user.plan=kinds product.sku=whole product.price=prices",
            ("user.id", "product.sku", None, None, "user.plan"),
        ),
        ("Kunde=whole Artikel=letters Datum=times", ("Kunde", "Artikel", "Datum", None, None)),
        ("user=whole thing=letters when=times", ("user", "thing", "when", None, None)),
        ("session_id=rows item=letters", ("session_id", "item", None, None, None)),
        ("DOMAIN_USERID=letters PAGE_URL=whole", ("DOMAIN_USERID", "PAGE_URL", None, None, None)),
        (
            "id_cliente=whole id_producto=letters puntuación=stars",
            ("id_cliente", "id_producto", None, "puntuación", None),
        ),
        ("Klantnummer=whole Email=letters sku=letters", ("Klantnummer", "sku", None, None, None)),
        ("user_id=prices name=whole map_id=letters", ("user_id", "map_id", None, None, None)),
        ("uid=whole iid=letters updated=days created_at=moments", ("uid", "iid", "created_at", None, None)),
    ],
)
def test_columns_with_names(columns: str, expected: tuple[str | None, ...]) -> None:
    named = dict(column.split("=") for column in columns.split())
    found = guess_roles(seen({name: SHOWN[kind] for name, kind in named.items()}), True, {}, "log.csv").columns
    assert tuple(found[role] for role in ("user", "item", "time", "rating", "event")) == expected


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ([IDS, LETTERS, STARS, SECONDS], (0, 1, 3, 2, None)),
        ([LETTERS, SECONDS, IDS], (0, 2, 1, None, None)),
        ([NUMBERS, IDS, LETTERS], (1, 2, None, None, None)),
        ([IDS, LETTERS, KINDS], (0, 1, None, None, 2)),
        ([LETTERS, IDS, ["2020-09-13"] * 60], (0, 1, 2, None, None)),
    ],
)
def test_columns_without_names_go_by_their_places(columns: list[list[str]], expected: tuple[int | None, ...]) -> None:
    found = guess_roles(seen({str(n): column for n, column in enumerate(columns)}), False, {}, "log.csv").columns
    places = (found[role] for role in ("user", "item", "time", "rating", "event"))
    assert tuple(None if place is None else int(place) for place in places) == expected


@pytest.mark.parametrize(
    ("values", "settings"),
    [
        (SECONDS, {"timestamp_unit": "s"}),
        ([text + "000" for text in SECONDS], {"timestamp_unit": "ms"}),
        (["20200913", "20200914"], {"timestamp_format": "%Y%m%d"}),
        (["44087.5", "44088.25"], {"timestamp_unit": "excel"}),
        (["13.09.2020 20:33"], {"timestamp_format": "%d.%m.%Y %H:%M"}),
        (["2020-09-13T20:33:39Z"], {}),
    ],
)
def test_how_times_are_read(values: list[str], settings: dict[str, str]) -> None:
    columns = {"user": IDS[: len(values)], "item": LETTERS[: len(values)], "time": values}
    found = guess_roles(seen(columns), True, {}, "log.csv")
    assert (found.columns["time"], found.settings) == ("time", settings)


def test_an_order_of_day_and_month_that_could_be_another_is_said() -> None:
    found = guess_roles(seen({"user": IDS[:2], "item": LETTERS[:2], "date": ["03/04/2020"] * 2}), True, {}, "log.csv")
    assert "or %d/%m/%Y, which these values would fit as well" in found.reasons["time"]


def test_numbers_that_make_no_times_are_none() -> None:
    found = guess_roles(seen({"user": IDS, "item": LETTERS, "time": NUMBERS}), True, {}, "log.csv")
    assert found.columns["time"] is None
    assert "say --time COLUMN" in found.reasons["time"]


def test_one_message_where_nothing_can_be_told() -> None:
    with pytest.raises(InputError) as caught:
        guess_roles(seen({"a": LETTERS, "b": PRICES}), True, {}, "log.csv")
    assert str(caught.value) == (
        "log.csv: which column is the user can't be told from 'a' (text, such as x0); 'b' (numbers, such as 0.00): "
        "say --user COLUMN --item COLUMN, and --time COLUMN if there is one"
    )


def test_words_of_names() -> None:
    assert parts_of("CustomerID") == ["customer", "id"]
    assert is_known("Book-Rating")
    assert is_known("user_id")
    assert not is_known("anna")
    assert not is_known("196")


def test_weights_of_events() -> None:
    [kinds] = seen({"event": ["Page View", "add_to_cart", "remove_from_cart", "purchase", "other"]}).values()
    assert roles.event_weights(kinds) == {"Page View": 1, "add_to_cart": 4, "purchase": 8, "other": 1}


def test_lists_in_rows() -> None:
    sessions = [f"{n % 5}|{n % 7}|{n % 3}" for n in range(60)]
    titles = [f"The Old Man {n}" for n in range(60)]
    found = seen({"a": sessions, "b": [text.replace("|", ",") for text in sessions], "c": [["x", "y"]], "d": titles})
    assert [spread_settings(one) for one in found.values()] == [
        {"spread": True},
        {"spread": True, "separator": ","},
        {"spread": True},
        {},
    ]
