"""MovieLens-100K: 100,000 ratings of 1,682 films by 943 users of MovieLens, 1997-98.

F. M. Harper and J. A. Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5(4), 2015. GroupLens allows
research use with that citation and forbids redistribution, commercial use without permission, and any suggestion of
endorsement; the full terms are in the archive's README and at https://grouplens.org/datasets/movielens/100k/. So it is
downloaded when needed, never shipped.

    interactions.csv  user_id,item_id,rating,timestamp      rows in the order of the original file
    items.csv         item_id,title,year,genres             genres separated by "|"
    users.csv         user_id,age,gender,occupation,zip_code

The files come out byte for byte the same from both sources.
"""

import re
import zipfile

from pipeline.data.sources import Dataset, Rows, Source, from_address, from_index

# The flags of u.item, in its order.
_GENRES = [
    *["unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"],
    *["Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"],
]


def titled(text: str) -> list[str]:
    """Splits "Toy Story (1995)" into title and year; "(V)", for films made for video, is dropped."""
    match = re.fullmatch(r"(?P<title>.*?)\s*\((?P<year>\d{4})\)(?:\s*\(V\))?\s*", text)
    return [match["title"], match["year"]] if match else [text.strip(), ""]


def _movielens(interactions: Rows, items: Rows, users: Rows) -> dict[str, Rows]:
    return {
        "interactions.csv": [["user_id", "item_id", "rating", "timestamp"], *interactions],
        "items.csv": [["item_id", "title", "year", "genres"], *items],
        "users.csv": [["user_id", "age", "gender", "occupation", "zip_code"], *users],
    }


def _lines(zipped: zipfile.ZipFile, member: str, separator: str, encoding: str) -> Rows:
    return [line.split(separator) for line in zipped.read(member).decode(encoding).splitlines()]


def grouplens_tables(zipped: zipfile.ZipFile) -> dict[str, Rows]:
    """GroupLens's own files: u.data, u.item in Latin-1, u.user."""
    items = []
    for item_id, title, _released, _video, _url, *flags in _lines(zipped, "ml-100k/u.item", "|", "latin-1"):
        genres = [genre for genre, flag in zip(_GENRES, flags) if flag == "1"]
        items.append([item_id, *titled(title), "|".join(genres)])
    return _movielens(
        _lines(zipped, "ml-100k/u.data", "\t", "ascii"), items, _lines(zipped, "ml-100k/u.user", "|", "ascii")
    )


def recbole_tables(zipped: zipfile.ZipFile) -> dict[str, Rows]:
    """RecBole's "atomic files": a header line, tabs, UTF-8."""
    folder = "recbole/dataset_example/ml-100k/ml-100k"
    items = []
    for item_id, title, year, genres in _lines(zipped, f"{folder}.item", "\t", "utf-8")[1:]:
        if title == "unkonwn":  # their spelling for the one film without title and year
            title, year = "unknown", ""
        elif not year.isdigit():  # "... (1995)" and "V"
            title, year = titled(f"{title} ({year})")
        items.append([item_id, title, year, genres.replace(" ", "|")])
    return _movielens(
        _lines(zipped, f"{folder}.inter", "\t", "utf-8")[1:], items, _lines(zipped, f"{folder}.user", "\t", "utf-8")[1:]
    )


_GROUPLENS_URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"

MOVIELENS_100K = Dataset(
    sources=(
        Source(
            filename="ml-100k.zip",
            sha256="50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
            origin=_GROUPLENS_URL,
            download=from_address,
            tables=grouplens_tables,
        ),
        Source(
            filename="recbole-1.2.1-py3-none-any.whl",
            sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
            origin="the package recbole 1.2.1 by pip",
            download=from_index("recbole==1.2.1"),
            tables=recbole_tables,
        ),
    ),
    files={
        "interactions.csv": "010fac14271cf92527353173e77ddb19b9168a476d99c55c2f4bd55d93d4c205",
        "items.csv": "1d80965954f04aa72bb06eb4db5f5ebd451f32b5d83dadcf176da679a0ff112f",
        "users.csv": "f0666955a899ab27004d413eec2d92e393f5050879597e126ede637390e5a238",
    },
)
