"""Synthetic ratings of books by readers.

    python -m tests.recipes.books OUT_DIR [--rows 1733561] [--seed 0]

Same columns, sizes and skew as the ratings of the notebook behind `configs/books.yaml`: of 1,733,561 rows 54.0 % are
rated above 3, 21.5 % with 3, 11.6 % below and 12.9 % not at all; 706,880 readers, of whom 130,888 have more than two
rows, and 57,198 titles. The rows stand by book. `ratings.jsonl` has the genres as a list, `ratings.csv` as Python
writes one. Hidden in it: readers have two genres that they come back to, and like the books of these better.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Optional

import numpy as np

from tests.recipes.tables import command, write_csv

HEADER = ("User", "ISBN", "RatingOf5", "Genres")
ROWS, READERS, FREQUENT, TITLES = 1_733_561, 706_880, 130_888, 57_198
_RATED = {None: 222_763, 1: 60_488, 2: 141_140, 3: 372_374, 4: 480_000, 5: 456_796}
_GENRES = (
    *("Fiction", "Fantasy", "Mystery", "Romance", "History", "Children's", "Science Fiction", "Young Adult"),
    *("Poetry", "Cookbooks", "Art", "Travel", "Horror", "Classics", "Biography", "Manga"),
)
_WORDS = (
    *("Veggie", "River", "Ghosts", "Law", "Café", "Méridien", "Silver", "Night", "Garden", "Amy", "Winter", "Stone"),
    *("Letters", "House", "Candyland", "Ooze", "Himmel", "Harbour", "Clock", "Trial", "Sea", "Fear", "Ёлка", "東京"),
)
_FORMS = ("{0} of {1}", "The {0} {1}", "{0}, {1} and {2}", '"{0}" {1}: A Novel', "{0}'s {1}", "In meinem {0}: {1}")

Row = tuple[str, str, Optional[float], list[str]]


def generate(rows: int, seed: int = 0) -> list[Row]:
    """Returns about `rows` rows of `HEADER`, by book; readers and titles are as many in proportion.

    Args:
        rows: How many.
        seed: The same gives the same rows.
    """
    rng = np.random.default_rng(seed)
    share = rows / ROWS
    readers, frequent, titles = (max(20, round(number * share)) for number in (READERS, FREQUENT, TITLES))
    genres = rng.choice(len(_GENRES), (titles, 3), p=_zipf(len(_GENRES), 0.8))
    popularity = _zipf(titles, 0.9)[rng.permutation(titles)]

    # Most readers rate one or two books; the others so many that the rows come out.
    counts = np.ones(readers, np.int64)
    counts[frequent:] += rng.random(readers - frequent) < 0.25
    extra = rng.pareto(1.3, frequent)
    left = max(rows - counts[frequent:].sum() - 3 * frequent, 0)
    upto = np.cumsum(np.minimum(extra, 300))
    counts[:frequent] = 3 + np.diff(np.floor(upto / upto[-1] * left), prepend=0)

    by_genre = [np.flatnonzero((genres == genre).any(axis=1)) for genre in range(len(_GENRES))]
    cumulated = [np.cumsum(popularity[books]) for books in by_genre]
    reader = np.repeat(np.arange(readers), counts)
    tastes = rng.choice(len(_GENRES), (readers, 2), p=_zipf(len(_GENRES), 0.8))
    at_home = rng.random(len(reader)) < 0.8
    taste = np.where(
        at_home, tastes[reader, rng.integers(0, 2, len(reader))], rng.integers(0, len(_GENRES), len(reader))
    )
    book = np.zeros(len(reader), np.int64)
    for genre, (books, total) in enumerate(zip(by_genre, cumulated)):
        here = np.flatnonzero(taste == genre)
        if len(books):
            book[here] = books[np.searchsorted(total, rng.random(len(here)) * total[-1])]

    # The best ratings go, most of the time, to books of a reader's genres.
    values = np.array([np.nan if value is None else value for value in _RATED])
    wanted = rng.choice(values, len(reader), p=np.array(list(_RATED.values())) / ROWS)
    known = np.flatnonzero(~np.isnan(wanted))
    liking = at_home[known] + rng.normal(0, 0.7, len(known))
    rating = wanted.copy()
    rating[known[np.argsort(liking, kind="stable")]] = np.sort(wanted[known])

    names = _titles(titles, rng)
    labels = [list(dict.fromkeys(_GENRES[genre] for genre in row)) for row in genres]
    ids = rng.permutation(readers)
    order = np.lexsort((rng.random(len(book)), rng.permutation(titles)[book]))
    return [
        (str(ids[reader[row]]), names[book[row]], None if np.isnan(rating[row]) else rating[row], labels[book[row]])
        for row in order
    ]


def write(folder: Path, rows: int = ROWS, seed: int = 0) -> None:
    """Writes `ratings.jsonl` and `ratings.csv`, the same rows."""
    made = generate(rows, seed)
    write_csv(
        folder / "ratings.csv",
        HEADER,
        ((user, title, "" if rating is None else rating, str(genres)) for user, title, rating, genres in made),
    )
    with open(folder / "ratings.jsonl", "w", encoding="utf-8", newline="") as file:
        file.writelines(json.dumps(dict(zip(HEADER, row)), ensure_ascii=False) + "\n" for row in made)


def _titles(count: int, rng: np.random.Generator) -> list[str]:
    words = rng.choice(_WORDS, (count, 3))
    forms = rng.choice(_FORMS, count)
    plain = [str(form).format(*row) for form, row in zip(forms, words)]
    seen: dict[str, int] = {}
    titles = []
    for title in plain:
        seen[title] = seen.get(title, 0) + 1
        titles.append(title if seen[title] == 1 else f"{title} {seen[title]}")
    return titles


def _zipf(count: int, power: float) -> np.ndarray:
    weights = 1 / np.arange(1, count + 1) ** power
    return weights / weights.sum()


if __name__ == "__main__":
    command(__doc__, write, ROWS)
