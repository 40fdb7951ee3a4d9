"""Which column is what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from components.errors import InputError
from components.tables.formats import TableSettings
from pipeline.data.init import roles
from pipeline.data.init.roles import event_weights, guess_roles, is_known, parts_of, shown_and_clicked, spread_settings
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
        ("order_id=whole product_id=letters add_to_cart_order=stars", ("order_id", "product_id", None, None, None)),
        ("order_id=letters customer=whole product_id=letters", ("customer", "product_id", None, None, None)),
        ("username=letters asin=whole", ("username", "asin", None, None, None)),
        ("user=whole item=letters updated_at=moments created_at=moments", ("user", "item", "created_at", None, None)),
        ("用户=whole 商品ID=letters 时间=moments", ("用户", "商品ID", "时间", None, None)),
        ("ユーザーID=whole アイテム=letters 日時=times", ("ユーザーID", "アイテム", "日時", None, None)),
        ("Müşteri=whole Ürün=letters", ("Müşteri", "Ürün", None, None, None)),
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
    assert found.settings == {"timestamp_format": "%m/%d/%Y"}
    [warning] = found.warnings
    assert "fit %d/%m/%Y as well, such as 03/04/2020: if that is meant, set it as timestamp_format" in warning
    sure = ["03/14/2020", "03/04/2020"]
    assert not guess_roles(seen({"user": IDS[:2], "item": LETTERS[:2], "date": sure}), True, {}, "log.csv").warnings


def test_numbers_that_make_no_times_are_none() -> None:
    found = guess_roles(seen({"user": IDS, "item": LETTERS, "time": NUMBERS}), True, {}, "log.csv")
    assert found.columns["time"] is None
    assert "say --time COLUMN" in found.reasons["time"]


def test_a_column_that_is_only_named_like_a_time_is_said() -> None:
    found = guess_roles(seen({"user": IDS, "item": LETTERS, "timestamp": NUMBERS}), True, {}, "log.csv")
    assert found.reasons["time"].startswith("no column holds times")
    assert found.warnings == [
        "timestamp is named like a time, but how its values are written is not known, such as '0': the order of the "
        "rows is taken for theirs; if they are times, set columns.timestamp: timestamp and timestamp_format or "
        "timestamp_unit"
    ]


def test_numbers_that_may_be_times_are_said_where_there_is_no_other() -> None:
    seconds = [1_600_000_000 + 9 * n for n in range(60)]
    found = guess_roles(seen({"user": IDS, "item": LETTERS, "published": seconds}), True, {}, "log.csv")
    assert found.columns["time"] is None
    assert found.warnings == [
        "published has numbers such as 1600000000, and no column is read for the time: if they count seconds since "
        "1970, say --time published"
    ]


def test_counts_of_seconds_are_rather_the_time_than_days() -> None:
    seconds = [1_600_000_000 + 9_000 * n for n in range(60)]
    days = [f"2020-09-{13 + n // 10}" for n in range(60)]
    for columns in ({"timestamp": seconds, "dt": days}, {"date": days, "ts": seconds}):
        found = guess_roles(seen({"user": IDS, "item": LETTERS, **columns}), True, {}, "log.csv")
        assert columns[str(found.columns["time"])] is seconds


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize(
    ("times", "odd", "settings"),
    [
        (SECONDS, "Total", {"timestamp_unit": "s"}),
        (SECONDS, "unknown", {"timestamp_unit": "s"}),
        (SECONDS, "infinity", {"timestamp_unit": "s"}),
        (SECONDS, "9" * 400, {"timestamp_unit": "s"}),
        (SECONDS, "1600000000000", {"timestamp_unit": "s"}),
        (["20200914"] * 59, "0", {"timestamp_format": "%Y%m%d"}),
        (["2020-09-13T20:33:39Z"] * 59, "2020-09-13T20:33:60Z", {}),
        (["2020-09-13 20:33:39"] * 59, "9999-12-31 00:00:00", {}),
        (["2020-09-13 20:33:39"] * 59, "timestamp", {}),
        (["13.09.2020 20:33"] * 59, "DD.MM.YYYY", {"timestamp_format": "%d.%m.%Y %H:%M"}),
    ],
)
@pytest.mark.parametrize("place", [0, 30])
def test_a_few_odd_values_take_no_times_away(times: list[str], odd: str, settings: dict[str, str], place: int) -> None:
    column = [*times[:place], odd, *times[place:59]]
    found = guess_roles(seen({"user": IDS, "item": LETTERS, "timestamp": column}), True, {}, "log.csv")
    assert (found.columns["time"], found.settings) == ("timestamp", settings)
    [warning] = found.warnings
    assert warning.startswith("timestamp: some values are no times, such as '")
    assert warning.endswith("': their rows are rejected")


def test_times_of_which_many_are_none_are_times() -> None:
    column = ["2025-01-03 09:00:20", "0000-00-00 00:00:00", "2025-01-05 09:00:20"] * 20
    found = guess_roles(seen({"user": IDS, "item": LETTERS, "created_at": column}), True, {}, "log.csv")
    assert found.columns["time"] == "created_at"
    [warning] = found.warnings
    assert "no times, such as '0000-00-00 00:00:00'" in warning


def test_what_is_named_like_a_rating_or_a_month_and_is_not_read_is_said() -> None:
    columns = {"user": IDS, "item": LETTERS, "rating": ["5 stars", "1 star"] * 30, "month": ["2025-01", "2025-02"] * 30}
    found = guess_roles(seen(columns), True, {}, "log.csv")
    assert found.columns["rating"] is found.columns["time"] is None
    time, rating = found.warnings
    assert time.startswith("month is named like a time, but how its values are written is not known, such as '2025-01'")
    assert rating.startswith("rating is named like a rating and has no numbers but such as '5 stars'")


def test_the_day_of_the_week_is_no_item() -> None:
    with pytest.raises(InputError, match="which column is the item can't be told"):
        guess_roles(seen({"user": IDS, "order_dow": STARS}), True, {}, "log.csv")


def test_whoever_is_missing_less_often_is_the_user() -> None:
    few = ["" if n % 3 else text for n, text in enumerate(IDS)]
    found = guess_roles(seen({"session": LETTERS, "user_id": few, "item": STARS}), True, {}, "log.csv")
    assert found.columns["user"] == "session"


@pytest.mark.slow
@pytest.mark.smoke
def test_what_was_shown_is_known_by_its_labels() -> None:
    lists = [f"N{n}-{n % 2} N{n + 1}-{1 - n % 2}" for n in range(9)]
    assert shown_and_clicked(seen({"a": LETTERS, "b": lists})) == ("b", "-1")
    assert shown_and_clicked(seen({"a": [f"N{n}-1" for n in range(9)], "b": [f"{text} x" for text in lists]})) is None


@pytest.mark.slow
@pytest.mark.smoke
def test_times_and_types_beside_items_in_lists_of_objects() -> None:
    lists = {"session": IDS, "events.ts": [SECONDS[:2]] * 60, "events.type": [["clicks", "carts"]] * 60}
    found = guess_roles(seen({**lists, "events.aid": [[text, "5"] for text in IDS]}), True, {}, "log.csv")
    assert found.columns == {
        "user": "session",
        "item": "events.aid",
        "time": "events.ts",
        "event": "events.type",
        "rating": None,
    }
    assert found.settings == {"timestamp_unit": "s"}
    columns = guess_roles(seen({**lists, "item": LETTERS}), True, {}, "log.csv").columns
    assert (columns["item"], columns["time"], columns["event"]) == ("item", None, None), "they are not of the item"
    assert event_weights(seen(lists)["events.type"]) == {"clicks": 1, "carts": 4}


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
    [kinds] = seen(
        {"event": ["view_item", "Product Viewed", "Item Saved", "Product Removed", "purchase_item"]}
    ).values()
    assert roles.event_weights(kinds) == {"view_item": 1, "Product Viewed": 1, "Item Saved": 3, "purchase_item": 8}


@pytest.mark.slow
@pytest.mark.smoke
def test_lists_in_rows() -> None:
    sessions = [f"{n % 5}|{n % 7}|{n % 3}" for n in range(60)]
    baskets = [", ".join(str(1000 + n * k % 17) for k in range(1, 2 + n % 5)) for n in range(60)]
    assert [
        spread_settings(one)
        for one in seen(
            {
                "a": baskets,
                "b": [text.replace(", ", " ") for text in baskets],
                "c": [text.replace(", ", "|") for text in baskets],
                "d": ["7 299", "1 299", "12 299"] * 20,
            }
        ).values()
    ] == [{"spread": True, "separator": ", "}, {"spread": True, "separator": " "}, {"spread": True}, {}]
    titles = [f"The Old Man {n}" for n in range(60)]
    found = seen({"a": sessions, "b": [text.replace("|", ",") for text in sessions], "c": [["x", "y"]], "d": titles})
    assert [spread_settings(one) for one in found.values()] == [
        {"spread": True},
        {"spread": True, "separator": ","},
        {"spread": True},
        {},
    ]
