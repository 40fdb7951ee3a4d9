"""A synthetic log of a shop for babies' things: who viewed, wished for or bought what.

    python -m tests.recipes.retail OUT_DIR [--rows 667000] [--seed 0] [--catalogue DIR]

Same columns, types and sizes as the logs of the notebook behind `configs/retail.yaml`: `train.csv` and `test.csv` with
one row for each user and item, in the order of time. The items are those of DIR/item_info.csv and the users those of
DIR/user_info.csv; without --catalogue a small shop is made too. Hidden in it: users have their brands, groups
of products and, what no column tells, a style; a visit is about one brand and group; four in five items never sell.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path
from typing import Optional

import numpy as np

from tests.recipes.tables import command, write_csv

HEADER = (
    *("user_no", "item_no", "gender_description", "brand", "product_group", "first_interaction_month"),
    "event_type",
)
EVENTS = {"pageView": 0.72, "addToCart": 0.12, "addToWishlist": 0.06, "purchased": 0.1}
ITEM_HEADER = ("item_no", "colour", "gender_description", "brand", "product_group", "min_age", "max_age")
_GROUPS = ("tops", "bottoms", "dresses", "boots", "headwear", "all in ones", "toys", "tableware", "sandals", "bags")
_COLOURS = ("blue", "pink", "white", "black", "navy", "grey", "")
_STYLES = 3
_TEST_SHARE = 0.15

Item = dict[str, str]
Key = tuple[tuple[str, str], ...]
Cells = dict[Key, tuple[np.ndarray, np.ndarray]]
"""By brand, by group, by both and by both and style: the items and their cumulated popularity."""


def make_items(count: int, rng: np.random.Generator) -> list[Item]:
    """Returns a small shop's catalogue."""
    rows = []
    for _ in range(count):
        low = int(rng.integers(0, 6))
        ages = ("", "") if rng.random() < 0.2 else (f"{low}.0", f"{low + 3}.0")
        values = (
            str(rng.integers(-(2**62), 2**62)),
            str(rng.choice(_COLOURS)),
            str(rng.choice(("unisex", "girls", "boys"), p=(0.46, 0.34, 0.2))),
            f"brand {min(int(rng.zipf(1.6)), 12)}",
            str(rng.choice(_GROUPS)),
            *ages,
        )
        rows.append(dict(zip(ITEM_HEADER, values)))
    return rows


def generate(items: list[Item], users: list[str], rows: int, seed: int = 0) -> tuple[list[list[str]], list[list[str]]]:
    """Returns about `rows` rows of `HEADER`, the training and the test ones, each in the order of time.

    Args:
        items: Rows of `ITEM_HEADER`.
        users: Their ids.
        rows: How many.
        seed: The same gives the same rows.
    """
    rng = np.random.default_rng(seed)
    # What is sold at all, and how often.
    popularity = 1 / rng.permutation(np.arange(1, len(items) + 1)) ** 0.8 * (rng.random(len(items)) < 0.2)
    cells = _cells(items, rng.integers(_STYLES, size=len(items)), popularity)
    singles = [key for key in cells if len(key) == 1]
    names = tuple([key for key in singles if key[0][0] == kind] for kind in ("brand", "product_group"))
    activity = rng.lognormal(0, 1.1, len(users))
    counts = np.maximum(1, np.round(activity / activity.sum() * rows)).astype(int)
    train: list[tuple[float, list[str]]] = []
    test: list[tuple[float, list[str]]] = []
    for user, count in zip(users, counts):
        chosen = _choices(rng, cells, names, int(count))
        start = 11 * rng.random()
        times = np.sort(start + (12 - start) * rng.random(len(chosen)))
        first_test = len(chosen) - int(_TEST_SHARE * len(chosen))
        types = rng.choice(list(EVENTS), size=len(chosen), p=list(EVENTS.values()))
        for place, (item, time, kind) in enumerate(zip(chosen, times, types)):
            values = [items[item][name] for name in ITEM_HEADER if name in HEADER]
            row = [user, *values, str(int(time) + 1), str(kind)]
            (train if place < first_test else test).append((time, row))
    return [row for _, row in sorted(train)], [row for _, row in sorted(test)]


def _choices(rng: np.random.Generator, cells: Cells, names: tuple[list[Key], ...], count: int) -> list[int]:
    """A user's distinct items, in order; `names` are the brands and the groups, the largest first."""
    brands, groups = ([int(n) for n in rng.zipf(1.5, 3)] for _ in range(2))
    style = ("style", str(rng.integers(_STYLES)))
    chosen: dict[int, None] = {}
    for _ in range(4 * count):
        if len(chosen) >= count:
            break
        # Now and then something else, which also lets the most active find new items.
        other = int(rng.integers(1, len(names[0]) + 1)) if rng.random() < 0.15 else brands[int(rng.integers(3))]
        brand = names[0][(other - 1) % len(names[0])]
        group = names[1][(groups[int(rng.integers(3))] - 1) % len(names[1])]
        keys: list[Key] = [(*brand, *group, style), (*brand, *group), brand, group]
        for _ in range(int(rng.geometric(0.3))):
            draw = rng.random()
            # Mostly the closest that there is.
            key = next(k for k in (keys if draw < 0.7 else keys[1:] if draw < 0.85 else keys[2:]) if k in cells)
            members, cumulated = cells[key]
            chosen[int(members[np.searchsorted(cumulated, rng.random() * cumulated[-1])])] = None
    return list(chosen)[:count]


def _cells(items: list[Item], style: np.ndarray, popularity: np.ndarray) -> Cells:
    rows: dict[Key, list[int]] = defaultdict(list)
    for row in np.flatnonzero(popularity):
        brand, group = ((name, items[row][name]) for name in ("brand", "product_group"))
        for key in ((brand,), (group,), (brand, group), (brand, group, ("style", str(style[row])))):
            rows[key].append(int(row))
    sizes = {key: popularity[members].sum() for key, members in rows.items()}
    # The largest first, for users' tastes are drawn by rank.
    return {
        key: (np.array(rows[key]), np.cumsum(popularity[rows[key]]))
        for key in sorted(rows, key=sizes.__getitem__, reverse=True)
    }


def write(folder: Path, rows: int = 667_000, seed: int = 0, catalogue: Optional[Path] = None) -> None:
    """Writes `train.csv` and `test.csv` and, without a catalogue, `item_info.csv` and `user_info.csv` too."""
    if catalogue is None:
        rng = np.random.default_rng(seed)
        catalogue = folder
        made = make_items(max(50, rows // 5), rng)
        write_csv(folder / "item_info.csv", ITEM_HEADER, (item.values() for item in made))
        users = [str(rng.integers(-(2**62), 2**62)) for _ in range(max(2, rows // 25))]
        values = ((user, "sweden", f"{rng.lognormal(6.3, 0.6):.1f}", f"{-rng.random():.2f}") for user in users)
        write_csv(folder / "user_info.csv", ("user_no", "country", "aov", "avg_markdown"), values)
    with open(catalogue / "item_info.csv", encoding="utf-8", newline="") as file:
        items = list(csv.DictReader(file))
    with open(catalogue / "user_info.csv", encoding="utf-8", newline="") as file:
        users = [row["user_no"] for row in csv.DictReader(file)]
    train, test = generate(items, users, rows, seed)
    write_csv(folder / "train.csv", HEADER, train)
    write_csv(folder / "test.csv", HEADER, test)


if __name__ == "__main__":
    command(__doc__, write, rows=667_000, catalogue="folder with item_info.csv and user_info.csv")
