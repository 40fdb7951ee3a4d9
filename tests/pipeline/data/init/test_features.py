"""Features of items and users."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from components.tables.formats import TableSettings
from pipeline.data.init.features import guess_features, title_of
from pipeline.data.profile import profile

COUNT = 60
SIZES = ("red", "old", "very big", "new")


def column(kind: str) -> list[Any]:
    made = {
        "brand": [f"brand {n % 4}" for n in range(COUNT)],
        "title": [f"A Thing of {n}" for n in range(COUNT)],
        "pipes": [("a|b", "b|c", "c")[n % 3] for n in range(COUNT)],
        "commas": [f"{SIZES[n % 4]}, {SIZES[n % 3]}" for n in range(COUNT)],
        "lists": [["a"], ["a", "b"]] * (COUNT // 2),
        "vectors": [[n / 7, 1.0, -0.5] for n in range(COUNT)],
        "vectors_in_text": [f"[{n / 7}, 1, -5e-1]" if n else None for n in range(COUNT)],
        "plain_vectors": [f"{n / 7} 1 -0.5" for n in range(COUNT)],
        "vectors_with_commas": [f"0,{n:02d} 0,5 -1,0" for n in range(COUNT)],
        "ragged": [[n / 7] * (1 + n % 3) for n in range(COUNT)],
        "vectors_with_nan": [f"[{n / 7:.4f}, nan, -0.5]" for n in range(COUNT)],
        "cut_short": [f"[{n / 7:.4f} ... -0.5]" for n in range(COUNT)],
        "counts": [[1, 2, 3]] * COUNT + [[n, n, n] for n in range(3)],
        "price": [n / 3 for n in range(COUNT)],
        "year": [1950 + n for n in range(COUNT)],
        "flag": [n % 2 for n in range(COUNT)],
        "code": [f"c{n:07d}" for n in range(COUNT)],
        "group_id": [2**60 + n % 7 for n in range(COUNT)],
        "same": ["x"] * COUNT,
        "url": [f"http://x/{n % 5}" for n in range(COUNT)],
        "none": [None] * COUNT,
    }
    return made[kind]


@pytest.mark.parametrize(
    ("kind", "feature"),
    [
        ("vectors", {"type": "vector", "dim": 3}),
        ("vectors_in_text", {"type": "vector", "dim": 3}),
        ("plain_vectors", {"type": "vector", "dim": 3}),
        ("vectors_with_commas", None),
        ("ragged", None),
        ("vectors_with_nan", None),
        ("cut_short", None),
        ("counts", {"type": "categories"}),
        ("brand", {"type": "category"}),
        ("title", {"type": "text"}),
        ("pipes", {"type": "categories"}),
        ("commas", {"type": "categories", "separator": ","}),
        ("lists", {"type": "categories"}),
        ("price", {"type": "number"}),
        ("year", {"type": "number"}),
        ("flag", {"type": "category"}),
        ("code", None),
        ("group_id", {"type": "category"}),
        ("same", None),
        ("url", None),
        ("none", None),
    ],
)
def test_types(kind: str, feature: dict[str, Any] | None) -> None:
    profiles = {kind: profile(pa.array(column(kind)), TableSettings())}
    assert guess_features(profiles, set()).features == ({kind: feature} if feature else {})


@pytest.mark.slow
@pytest.mark.smoke
def test_names_and_what_is_taken() -> None:
    profiles = {
        name: profile(pa.array(column("brand")), TableSettings())
        for name in ("Main Brand", "display", "item_id", "größe", "style.color", "1st", "class:token")
    }
    found = guess_features(profiles, {"item_id"}).features
    assert found == {
        "Main_Brand": {"type": "category", "column": "Main Brand"},
        "display_": {"type": "category", "column": "display"},
        "gr_e": {"type": "category", "column": "größe"},
        "style_color": {"type": "category", "column": "style.color"},
        "class": {"type": "category", "column": "class:token"},
    }


def test_words_say_nothing_of_users() -> None:
    profiles = {name: profile(pa.array(column(name)), TableSettings()) for name in ("title", "brand")}
    assert list(guess_features(profiles, set(), users=True).features) == ["brand"]


def test_vectors_are_of_items() -> None:
    vectors = {"look": profile(pa.array(column("vectors")), TableSettings())}
    assert guess_features(vectors, set()).reasons == {"look": "lists of 3 numbers"}
    assert guess_features(vectors, set(), users=True).features == {}


@pytest.mark.slow
@pytest.mark.smoke
def test_titles() -> None:
    def profiles(*names: str) -> dict[str, Any]:
        return {name: profile(pa.array(column("title")), TableSettings()) for name in names}

    assert title_of(profiles("brand_name", "Book-Title")) == "Book-Title"
    assert title_of(profiles("product_name", "id")) == "product_name"
    assert title_of(profiles("about")) is None
