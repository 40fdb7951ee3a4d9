"""Files of many shapes with the same events in them, as people publish and export them."""

from __future__ import annotations

import bz2
import csv
import datetime
import gzip
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

UTC = datetime.timezone.utc
DAY = 86_400


@dataclass(frozen=True)
class Event:
    """What all files have, or some of it."""

    user: int
    item: int
    time: int
    """Seconds since 1970."""
    rating: int
    kind: str

    @property
    def moment(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self.time, UTC).replace(tzinfo=None)


def _make(events: int = 600, seed: int = 0) -> list[Event]:
    rng = np.random.default_rng(seed)
    found: dict[tuple[int, int], Event] = {}
    while len(found) < events:
        user, item = int(rng.integers(1, 41)) + 900, int(rng.zipf(1.3)) % 60 + 100
        time = 1_600_029_219 + int(rng.integers(0, 200 * DAY))
        kind = str(rng.choice(["view", "cart", "purchase"], p=[0.7, 0.2, 0.1]))
        found[user, item] = Event(user, item, time, int(rng.integers(1, 6)), kind)
    return sorted(found.values(), key=lambda event: event.time)


EVENTS = _make()
ITEMS = sorted({event.item for event in EVENTS})
USERS = sorted({event.user for event in EVENTS})
GENRES = ("Drama", "Comedy", "Horror", "Science Fiction", "Children's")


@dataclass
class Files:
    """What was written, and the events that are to be read: user, item and time in seconds, None without times."""

    log: list[str]
    events: list[tuple[str, str, Any]]
    catalogue: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    features: dict[str, str] = field(default_factory=dict)
    """The types of the features of items."""


SHAPES: dict[str, Callable[[Path], Files]] = {}


def shape(name: str) -> Callable[[Callable[[Path], Files]], Callable[[Path], Files]]:
    def add(write: Callable[[Path], Files]) -> Callable[[Path], Files]:
        SHAPES[name] = write
        return write

    return add


def events(
    user: Callable[[Event], Any] = lambda e: e.user,
    item: Callable[[Event], Any] = lambda e: e.item,
    time: Callable[[Event], Any] = lambda e: e.time,
    of: Sequence[Event] = EVENTS,
) -> list[tuple[str, str, Any]]:
    return [(str(user(event)), str(item(event)), time(event)) for event in of]


def untimed(event: Event) -> None:
    return None


def day(event: Event) -> int:
    return event.time // DAY * DAY


def text_of(rows: Sequence[Sequence[Any]], delimiter: str = ",", **options: Any) -> str:
    if len(delimiter) > 1:
        return "".join(delimiter.join(map(str, row)) + "\n" for row in rows)
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n", **options).writerows(rows)
    return text.getvalue()


def write(folder: Path, name: str, content: str | bytes, encoding: str = "utf-8") -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return str(path)


def write_lines(folder: Path, name: str, rows: Sequence[Any]) -> str:
    return write(folder, name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


# ---------------------------------------------------------------- MovieLens


@shape("MovieLens-100K: u.data, u.item, u.user")
def movielens_100k(folder: Path) -> Files:
    log = write(folder, "u.data", text_of([(e.user, e.item, e.rating, e.time) for e in EVENTS], "\t"))
    flags = [[int(place == item % 5) for place in range(5)] for item in ITEMS]
    rows = [
        (item, f"Über den Film {item} (1995)", "01-Jan-1995", "", f"http://us.imdb.com/M/title-exact?F%20{item}", *flag)
        for item, flag in zip(ITEMS, flags)
    ]
    items = write(folder, "u.item", text_of(rows, "|"), "latin-1")
    jobs = ("writer", "technician", "student")
    people = [(user, 20 + user % 50, "MF"[user % 2], jobs[user % 3], f"{user * 97:05d}") for user in USERS]
    users = write(folder, "u.user", text_of(people, "|"))
    return Files([log], events(), [items], [users])


@shape("MovieLens-1M: ratings.dat, movies.dat")
def movielens_1m(folder: Path) -> Files:
    log = write(folder, "ratings.dat", text_of([(e.user, e.item, e.rating, e.time) for e in EVENTS], "::"))
    rows = [(item, f"Film {item}, The (1995)", f"{GENRES[item % 5]}|{GENRES[item % 4]}") for item in ITEMS]
    items = write(folder, "movies.dat", text_of(rows, "::"), "latin-1")
    return Files([log], events(), [items], features={"column_3": "categories"})


@shape("MovieLens-latest: ratings.csv, movies.csv")
def movielens_latest(folder: Path) -> Files:
    rows = [("userId", "movieId", "rating", "timestamp"), *((e.user, e.item, e.rating - 0.5, e.time) for e in EVENTS)]
    log = write(folder, "ratings.csv", text_of(rows))
    films = [(item, f"Film {item}, The (1995)", f"{GENRES[item % 5]}|{GENRES[item % 4]}") for item in ITEMS]
    items = write(folder, "movies.csv", text_of([("movieId", "title", "genres"), *films]))
    return Files([log], events(), [items], features={"title": "text", "genres": "categories"})


@shape("MovieLens as RecBole has it: .inter, .item, .user")
def recbole(folder: Path) -> Files:
    head = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")
    log = write(folder, "ml.inter", text_of([head, *((e.user, e.item, e.rating, e.time) for e in EVENTS)], "\t"))
    head = ("item_id:token", "movie_title:token_seq", "release_year:token", "class:token_seq")
    kinds = ("Drama", "Comedy", "Horror", "Action", "War")
    films = [(item, f"A Film {item}", 1990 + item % 9, f"{kinds[item % 5]} {kinds[item % 4]}") for item in ITEMS]
    items = write(folder, "ml.item", text_of([head, *films], "\t"))
    head = ("user_id:token", "age:token", "gender:token", "occupation:token", "zip_code:token")
    people = [(user, 20 + user % 50, "MF"[user % 2], "writer", f"{user * 97:05d}") for user in USERS]
    users = write(folder, "ml.user", text_of([head, *people], "\t"))
    return Files(
        [log],
        events(),
        [items],
        [users],
        {"movie_title": "text", "release_year": "number", "class": "categories"},
    )


# ---------------------------------------------------------------- of other makings


@shape("semicolons, decimal commas, days first")
def german(folder: Path) -> Files:
    rows = [(e.user, e.item, f"{e.rating},5", f"{e.moment:%d.%m.%Y %H:%M}") for e in EVENTS]
    log = write(
        folder, "Bewertungen.csv", text_of([("Kunde", "Artikel", "Bewertung", "Zeitpunkt"), *rows], ";"), "cp1252"
    )
    goods = [(item, f"Müsliriegel {item}", f"1.{item:03d},50 €", ("süß", "herb")[item % 2]) for item in ITEMS]
    items = write(folder, "Artikel.csv", text_of([("Artikel", "Name", "Preis", "Art"), *goods], ";"), "cp1252")
    return Files(
        [log],
        events(time=lambda e: e.time // 60 * 60),
        [items],
        features={"Name": "text", "Preis": "number", "Art": "category"},
    )


@shape("tabs, no header, times first (Last.fm)")
def lastfm(folder: Path) -> Files:
    rows = [(f"user_{e.user:06d}", f"{e.moment:%Y-%m-%dT%H:%M:%SZ}", f"f1b1cf71-{e.item}", "A Band") for e in EVENTS]
    log = write(folder, "plays.tsv", text_of(rows, "\t"))
    return Files([log], events(lambda e: f"user_{e.user:06d}", lambda e: f"f1b1cf71-{e.item}"))


@shape("JSON lines, nested")
def nested(folder: Path) -> Files:
    rows = [
        {
            "_id": {"$oid": f"{n:024x}"},
            "user": {"id": f"u{e.user}", "plan": "pro"},
            "product": {"sku": f"s{e.item}", "price": 9.5},
            "ts": e.time * 1000,
        }
        for n, e in enumerate(EVENTS)
    ]
    log = write_lines(folder, "events.jsonl", rows)
    return Files([log], events(lambda e: f"u{e.user}", lambda e: f"s{e.item}"))


@shape("Parquet, a list column, times of its own")
def parquet(folder: Path) -> Files:
    table = pa.table(
        {
            "tags": [["a", "b"][: 1 + e.item % 2] for e in EVENTS],
            "customer_id": [e.user for e in EVENTS],
            "product_id": [e.item for e in EVENTS],
            "purchased_at": pa.array([e.moment for e in EVENTS], pa.timestamp("ms")),
        }
    )
    folder.mkdir(exist_ok=True)
    pq.write_table(table, folder / "sales.parquet")
    goods = pa.table(
        {
            "product_id": ITEMS,
            "name": [f"Thing {item}" for item in ITEMS],
            "tags": [["a", "b"][: 1 + item % 2] for item in ITEMS],
            "price": [item / 4 for item in ITEMS],
        }
    )
    pq.write_table(goods, folder / "products.parquet")
    return Files(
        [str(folder / "sales.parquet")],
        events(),
        [str(folder / "products.parquet")],
        features={"name": "text", "tags": "categories", "price": "number"},
    )


@shape("gzip without a suffix that says so, a glob of files")
def packed(folder: Path) -> Files:
    head = ("uid", "iid", "ts")
    for number in range(3):
        rows = [(e.user, e.item, e.time) for e in EVENTS[number::3]]
        write(folder, f"part-{number}.log", gzip.compress(text_of([head, *rows]).encode()))
    return Files([str(folder / "part-*.log")], events())


@shape("Book-Crossing: latin-1, quotes around all, ratings without times")
def bookcrossing(folder: Path) -> Files:
    rows = [(f"{e.user}", f"ISBN{e.item:06d}X", f"{e.rating}") for e in EVENTS]
    head = ("User-ID", "ISBN", "Book-Rating")
    log = write(folder, "BX-Book-Ratings.csv", text_of([head, *rows], ";", quoting=csv.QUOTE_ALL), "latin-1")
    head = ("ISBN", "Book-Title", "Book-Author", "Year-Of-Publication", "Image-URL-S")
    books = [
        (
            f"ISBN{item:06d}X",
            f"Das größte Buch Nr. {item}",
            ("Émile Zola", "Günter Grass")[item % 2],
            1950 + item % 50,
            f"http://x/{item}",
        )
        for item in ITEMS
    ]
    items = write(folder, "BX-Books.csv", text_of([head, *books], ";", quoting=csv.QUOTE_ALL), "latin-1")
    return Files(
        [log],
        events(item=lambda e: f"ISBN{e.item:06d}X", time=untimed),
        [items],
        features={"Book_Title": "text", "Book_Author": "category", "Year_Of_Publication": "number"},
    )


@shape("UTF-16, as spreadsheets save Unicode text")
def utf_16(folder: Path) -> Files:
    rows = [(f"Анна {e.user}", f"книга {e.item}", f"{e.moment:%Y-%m-%d %H:%M:%S}") for e in EVENTS]
    log = write(folder, "log.txt", text_of([("reader", "book", "date"), *rows], "\t"), "utf-16")
    return Files([log], events(lambda e: f"Анна {e.user}", lambda e: f"книга {e.item}"))


@shape("Retailrocket: milliseconds, types of events")
def retailrocket(folder: Path) -> Files:
    kinds = {"view": "view", "cart": "addtocart", "purchase": "transaction"}
    rows = [
        (e.time * 1000 + 7, e.user, kinds[e.kind], e.item, n if e.kind == "purchase" else "")
        for n, e in enumerate(EVENTS)
    ]
    log = write(folder, "events.csv", text_of([("timestamp", "visitorid", "event", "itemid", "transactionid"), *rows]))
    return Files([log], events())


@shape("a shop's log: view, cart, purchase, with categories and prices (REES46)")
def rees46(folder: Path) -> Files:
    head = (
        "event_time",
        "event_type",
        "product_id",
        "category_id",
        "category_code",
        "brand",
        "price",
        "user_id",
        "user_session",
    )
    rows = [
        (
            f"{e.moment:%Y-%m-%d %H:%M:%S} UTC",
            e.kind,
            e.item,
            2053013555631882655 + e.item % 7,
            ("electronics.phone", "", "garden")[e.item % 3],
            f"brand{e.item % 5}",
            f"{e.item / 2:.2f}",
            e.user,
            f"{e.user:08x}-{e.time // DAY:04x}",
        )
        for e in EVENTS
    ]
    log = write(folder, "2019-Oct.csv.bz2", bz2.compress(text_of([head, *rows]).encode()))
    return Files([log], events(), [log], features={"category_code": "category", "brand": "category", "price": "number"})


@shape("ratings from 1 to 5 without times, all columns numbers")
def plain_ratings(folder: Path) -> Files:
    rows = [(n, e.user, e.item, e.rating) for n, e in enumerate(EVENTS)]
    log = write(folder, "ratings.csv", text_of([("", "user", "movie", "stars"), *rows]))
    return Files([log], events(time=untimed))


@shape("Amazon's reviews: JSON lines with seconds and a text")
def amazon(folder: Path) -> Files:
    rows = [
        {
            "reviewerID": f"A{e.user}XYZ",
            "asin": f"B000{e.item}",
            "reviewerName": "Ann",
            "helpful": [0, 0],
            "reviewText": "I like it.\nA lot",
            "overall": float(e.rating),
            "summary": "Good",
            "unixReviewTime": day(e),
            "reviewTime": f"{e.moment:%m %d, %Y}",
        }
        for e in EVENTS
    ]
    log = write_lines(folder, "reviews_Beauty_5.json", rows)
    return Files([log], events(lambda e: f"A{e.user}XYZ", lambda e: f"B000{e.item}", day))


@shape("Yelp's reviews: local times in text, ids of letters")
def yelp(folder: Path) -> Files:
    rows = [
        {
            "review_id": f"r{n}",
            "user_id": f"u-{e.user}",
            "business_id": f"b_{e.item}",
            "stars": float(e.rating),
            "useful": 0,
            "text": "Fine",
            "date": f"{e.moment:%Y-%m-%d %H:%M:%S}",
        }
        for n, e in enumerate(EVENTS)
    ]
    log = write_lines(folder, "review.json", rows)
    return Files([log], events(lambda e: f"u-{e.user}", lambda e: f"b_{e.item}"))


@shape("a dump of MySQL: escapes, backslash N, no header")
def mysql(folder: Path) -> Files:
    rows = [
        (n + 1, e.user, f'"{e.item}\\"{"x" * (e.item % 2)}"', f"{e.moment:%Y-%m-%d %H:%M:%S}", r"\N")
        for n, e in enumerate(EVENTS)
    ]
    log = write(folder, "dump.csv", "".join(",".join(map(str, row)) + "\n" for row in rows))
    return Files([log], events(item=lambda e: f'{e.item}"{"x" * (e.item % 2)}'))


@shape("an online shop's invoices: months first, missing customers")
def invoices(folder: Path) -> Files:
    rows = [
        (
            536365 + n,
            f"{e.item}A",
            "WHITE, HANGING HEART",
            6,
            f"{e.moment:%m/%d/%Y %H:%M}",
            2.55,
            e.user if n % 8 else "",
            "France",
        )
        for n, e in enumerate(EVENTS)
    ]
    head = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
    log = write(folder, "online_retail.csv", text_of([head, *rows]), "cp1252")
    left = [e for n, e in enumerate(EVENTS) if n % 8]
    return Files([log], events(item=lambda e: f"{e.item}A", time=lambda e: e.time // 60 * 60, of=left))


@shape("days alone, as numbers, and quotes that are none")
def days(folder: Path) -> Files:
    rows = [(e.user, f'{e.item}" pipe' if e.item % 3 else f'"{e.item}', f"{e.moment:%Y%m%d}") for e in EVENTS]
    log = write(folder, "log.tsv", "client\tarticle\tday\n" + "".join("\t".join(map(str, row)) + "\n" for row in rows))
    return Files([log], events(item=lambda e: f'{e.item}" pipe' if e.item % 3 else f'"{e.item}', time=day))


@shape("folders by day, as Hive writes them")
def hive(folder: Path) -> Files:
    by_day: dict[int, list[Event]] = {}
    for event in EVENTS:
        by_day.setdefault(event.time // (20 * DAY) * 20 * DAY, []).append(event)
    for stamp, some in by_day.items():
        date = datetime.datetime.fromtimestamp(stamp, UTC).date()
        (folder / "log" / f"dt={date}").mkdir(parents=True)
        table = pa.table({"user_id": [e.user for e in some], "item_id": [e.item for e in some]})
        pq.write_table(table, folder / "log" / f"dt={date}" / "part-0.parquet")
    (folder / "log" / "_SUCCESS").touch()
    return Files([str(folder / "log")], events(time=lambda e: e.time // (20 * DAY) * 20 * DAY))


@shape("words for missing users")
def words(folder: Path) -> Files:
    rows = [(e.user if n % 10 else "NULL", e.item, e.time) for n, e in enumerate(EVENTS)]
    log = write(folder, "log.csv", text_of([("customer_id", "product_id", "ts"), *rows]))
    return Files([log], events(of=[e for n, e in enumerate(EVENTS) if n % 10]))


@shape("only letters: who and what, no header, spaces between")
def letters(folder: Path) -> Files:
    rows = [(f"w{e.user}", f"thing{e.item}") for e in EVENTS]
    return Files(
        [write(folder, "pairs.txt", text_of(rows, " "))],
        events(lambda e: f"w{e.user}", lambda e: f"thing{e.item}", untimed),
    )


@shape("HetRec: tabs, a weight, no times")
def hetrec(folder: Path) -> Files:
    rows = [(e.user, e.item, 13883 - e.time % 1000) for e in EVENTS]
    log = write(folder, "user_artists.dat", text_of([("userID", "artistID", "weight"), *rows], "\t"))
    return Files([log], events(time=untimed))


# ---------------------------------------------------------------- as further data sets are published


@shape("Steam: purchases and plays, no header")
def steam_headerless_csv(folder: Path) -> Files:
    return Files(
        [
            write(
                folder,
                "steam-200k.csv",
                text_of(
                    [
                        (151603712 + e.user, f"The Game, Part {e.item}", ("purchase", "play")[n % 2], 1.0 + n % 7, 0)
                        for n, e in enumerate(EVENTS)
                    ]
                ),
            )
        ],
        events(lambda e: 151603712 + e.user, lambda e: f"The Game, Part {e.item}", untimed),
    )


@shape("Last.fm 360K: plays, no header")
def lastfm_360k(folder: Path) -> Files:
    return Files(
        [
            write(
                folder,
                "usersha1-artmbid-artname-plays.tsv",
                text_of(
                    [
                        (f"{e.user:040x}", f"3bd73256-3905-4f3a-97e2-{e.item:012x}", f"band {e.item}", 2137 + n % 100)
                        for n, e in enumerate(EVENTS)
                    ],
                    "\t",
                ),
            )
        ],
        events(lambda e: f"{e.user:040x}", lambda e: f"3bd73256-3905-4f3a-97e2-{e.item:012x}", untimed),
    )


@shape("Taobao: pv, buy, cart and fav, no header")
def taobao(folder: Path) -> Files:
    return Files(
        [
            write(
                folder,
                "UserBehavior.csv",
                text_of(
                    [
                        (e.user, e.item, 2520377 + e.item % 9, ("pv", "buy", "cart", "fav")[n % 4], e.time)
                        for n, e in enumerate(EVENTS)
                    ]
                ),
            )
        ],
        events(),
    )


@shape("Yoochoose: clicks, no header")
def yoochoose(folder: Path) -> Files:
    return Files(
        [
            write(
                folder,
                "yoochoose-clicks.dat",
                text_of([(e.user, f"{e.moment:%Y-%m-%dT%H:%M:%S}.277Z", e.item, 0) for e in EVENTS]),
            )
        ],
        events(),
    )


@shape("Gowalla: check-ins with places on earth, no header")
def gowalla(folder: Path) -> Files:
    return Files(
        [
            write(
                folder,
                "Gowalla_totalCheckins.txt",
                text_of(
                    [
                        (e.user, f"{e.moment:%Y-%m-%dT%H:%M:%SZ}", 30.2 + e.item / 1e3, -97.7 - e.item / 1e3, e.item)
                        for e in EVENTS
                    ],
                    "\t",
                ),
            )
        ],
        events(),
    )


@shape("Foursquare: times as Twitter writes them, no header")
def foursquare(folder: Path) -> Files:
    return Files(
        [
            write(
                folder,
                "dataset_TSMC2014_NYC.txt",
                text_of(
                    [
                        (
                            e.user,
                            f"49bbd6c0f964a520f453{e.item:04x}",
                            "4bf58dd8d48988d127951735",
                            "Arts & Crafts Store",
                            40.7 + e.item / 1e3,
                            -74.0,
                            -240,
                            f"{e.moment:%a %b %d %H:%M:%S} +0000 {e.moment:%Y}",
                        )
                        for e in EVENTS
                    ],
                    "\t",
                ),
            )
        ],
        events(item=lambda e: f"49bbd6c0f964a520f453{e.item:04x}"),
    )


@shape("H&M: days, ids of 64 letters")
def hm(folder: Path) -> Files:
    return Files(
        [
            write(
                folder,
                "transactions_train.csv",
                text_of(
                    [
                        ("t_dat", "customer_id", "article_id", "price", "sales_channel_id"),
                        *(
                            (f"{e.moment:%Y-%m-%d}", f"{e.user:064x}", f"0{e.item:09d}", 0.0508 + e.item / 1e4, 2)
                            for e in EVENTS
                        ),
                    ]
                ),
            )
        ],
        events(lambda e: f"{e.user:064x}", lambda e: f"0{e.item:09d}", day),
    )


@shape("Goodreads: flags beside ratings")
def goodreads(folder: Path) -> Files:
    return Files(
        [
            write(
                folder,
                "goodreads_interactions.csv",
                text_of(
                    [
                        ("user_id", "book_id", "is_read", "rating", "is_reviewed"),
                        *((e.user, e.item, 1, e.rating, 0) for e in EVENTS),
                    ]
                ),
            )
        ],
        events(time=untimed),
    )


@shape("Epinions: blanks between")
def epinions_spaces(folder: Path) -> Files:
    return Files(
        [write(folder, "ratings_data.txt", text_of([(e.user, e.item, e.rating) for e in EVENTS], " "))],
        events(time=untimed),
    )


@shape("KuaiRec: three columns of times")
def kuairec(folder: Path) -> Files:
    return Files(
        [
            write(
                folder,
                "small_matrix.csv",
                text_of(
                    [
                        (
                            "user_id",
                            "video_id",
                            "play_duration",
                            "video_duration",
                            "time",
                            "date",
                            "timestamp",
                            "watch_ratio",
                        ),
                        *(
                            (
                                e.user,
                                e.item,
                                4381 + n,
                                6067,
                                f"{e.moment:%Y-%m-%d %H:%M:%S}.25",
                                f"{e.moment:%Y%m%d}",
                                e.time + 0.25,
                                0.72,
                            )
                            for n, e in enumerate(EVENTS)
                        ),
                    ]
                ),
            )
        ],
        events(),
    )


@shape("Diginetica: sessions whose users are missing")
def diginetica(folder: Path) -> Files:
    return Files(
        [
            write(
                folder,
                "train-item-views.csv",
                text_of(
                    [
                        ("sessionId", "userId", "itemId", "timeframe", "eventdate"),
                        *((e.user, "NA", e.item, 526309 + n, f"{e.moment:%Y-%m-%d}") for n, e in enumerate(EVENTS)),
                    ],
                    ";",
                ),
            )
        ],
        events(time=day),
    )


@shape("TMDB's films: CSV whose columns hold lists of objects, as Python writes them")
def tmdb(folder: Path) -> Files:
    log = write(
        folder,
        "ratings_small.csv",
        text_of([("userId", "movieId", "rating", "timestamp"), *((e.user, e.item, e.rating, e.time) for e in EVENTS)]),
    )
    films = [
        (
            "False",
            {"id": 10 + item % 5, "name": f"{GENRES[item % 2]}s"} if item % 3 else "",
            [{"id": 20 + genre, "name": GENRES[genre]} for genre in {item % 5, item % 4}] if item % 7 else [],
            item,
            f"Film {item}, The",
        )
        for item in ITEMS
    ]
    head = ("adult", "belongs_to_collection", "genres", "id", "title")
    items = write(folder, "movies_metadata.csv", text_of([head, *films]))
    features = {
        "title": "text",
        "genres_name": "categories",
        "genres_id": "categories",
        "belongs_to_collection_name": "category",
    }
    return Files([log], events(), [items], features=features)


@shape("Orders whose lines are JSON in a column of CSV")
def orders_with_json(folder: Path) -> Files:
    orders: dict[tuple[int, int], list[int]] = {}
    for e in EVENTS:
        orders.setdefault((e.user, e.time // DAY), []).append(e.item)
    first = datetime.date(1970, 1, 1)
    rows = [
        (f"o{n}", user, first + datetime.timedelta(day), json.dumps([{"sku": item, "qty": 1} for item in items]))
        for n, ((user, day), items) in enumerate(orders.items())
    ]
    log = write(folder, "orders.csv", text_of([("order_id", "customer_id", "ordered_at", "products"), *rows]))
    return Files([log], events(time=day))


@shape("Google's reviews of places: JSON lines with objects and nothing")
def google_local(folder: Path) -> Files:
    return Files(
        [
            write_lines(
                folder,
                "review-Alaska.json",
                [
                    {
                        "user_id": f"1091298048426862{e.user}",
                        "name": "Nicki",
                        "time": e.time * 1000,
                        "rating": e.rating,
                        "text": "We always",
                        "pics": None,
                        "resp": {"time": 1, "text": "x"} if n % 9 == 0 else None,
                        "gmap_id": f"0x56b646ed2220b77f:0x{e.item:x}",
                    }
                    for n, e in enumerate(EVENTS)
                ],
            )
        ],
        events(lambda e: f"1091298048426862{e.user}", lambda e: f"0x56b646ed2220b77f:0x{e.item:x}"),
    )


@shape("Anime: ratings of -1")
def anime(folder: Path) -> Files:
    return Files(
        [
            write(
                folder,
                "rating.csv",
                text_of(
                    [
                        ("user_id", "anime_id", "rating"),
                        *((e.user, e.item, -1 if n % 3 == 0 else e.rating * 2) for n, e in enumerate(EVENTS)),
                    ]
                ),
            )
        ],
        events(time=untimed),
    )


@shape("Amazon's reviews of 2023")
def amazon_2023(folder: Path) -> Files:
    return Files(
        [
            write_lines(
                folder,
                "All_Beauty.jsonl",
                [
                    {
                        "rating": 5.0,
                        "title": "Such a lovely scent",
                        "text": "This",
                        "images": [],
                        "asin": f"B00YQ6X8{e.item}",
                        "parent_asin": f"B00YQ6X8{e.item}",
                        "user_id": f"AGKHLEW2SOWHNMFQ{e.user}",
                        "timestamp": e.time * 1000 + 923,
                        "helpful_vote": 0,
                        "verified_purchase": True,
                    }
                    for e in EVENTS
                ],
            )
        ],
        events(lambda e: f"AGKHLEW2SOWHNMFQ{e.user}", lambda e: f"B00YQ6X8{e.item}"),
    )


@shape("an export of web analytics: microseconds")
def ga4(folder: Path) -> Files:
    return Files(
        [
            write(
                folder,
                "ga4.csv",
                text_of(
                    [
                        ("event_date", "event_timestamp", "event_name", "user_pseudo_id", "item_id", "item_name"),
                        *(
                            (
                                f"{e.moment:%Y%m%d}",
                                e.time * 10**6,
                                ("view_item", "add_to_cart", "purchase")[n % 3],
                                f"{e.user}.161",
                                f"GGOE{e.item}",
                                f"Google Tee {e.item}",
                            )
                            for n, e in enumerate(EVENTS)
                        ),
                    ]
                ),
            )
        ],
        events(lambda e: f"{e.user}.161", lambda e: f"GGOE{e.item}"),
    )


@shape("a shop's orders: addresses for users, an offset of time")
def shopify_export(folder: Path) -> Files:
    return Files(
        [
            write(
                folder,
                "orders_export.csv",
                text_of(
                    [
                        ("Name", "Email", "Paid at", "Lineitem sku", "Lineitem name", "Lineitem price"),
                        *(
                            (
                                f"#{1000 + n}",
                                f"c{e.user}@x.org",
                                f"{e.moment:%Y-%m-%d %H:%M:%S} +0200",
                                f"SKU-{e.item}",
                                f"Shirt, {e.item}",
                                "19.90",
                            )
                            for n, e in enumerate(EVENTS)
                        ),
                    ]
                ),
            )
        ],
        events(lambda e: f"c{e.user}@x.org", lambda e: f"SKU-{e.item}", lambda e: e.time - 7200),
    )


@shape("Spanish names of columns")
def spanish(folder: Path) -> Files:
    return Files(
        [
            write(
                folder,
                "compras.csv",
                text_of(
                    [
                        ("id_cliente", "id_producto", "fecha", "puntuación"),
                        *((e.user, e.item, f"{e.moment:%d/%m/%Y}", e.rating) for e in EVENTS),
                    ]
                ),
                "latin-1",
            )
        ],
        events(time=day),
    )


@shape("clicks on addresses, names in capitals")
def snowplow_tsv_of_clicks_upper_case(folder: Path) -> Files:
    return Files(
        [
            write(
                folder,
                "CLICKS.TSV",
                text_of(
                    [
                        ("EVENT_ID", "COLLECTOR_TSTAMP", "DOMAIN_USERID", "PAGE_URL"),
                        *(
                            (
                                f"{n:032x}",
                                f"{e.moment:%Y-%m-%d %H:%M:%S}.123",
                                f"d{e.user:010x}",
                                f"https://x.org/p/{e.item}?a=1",
                            )
                            for n, e in enumerate(EVENTS)
                        ),
                    ],
                    "\t",
                ),
            )
        ],
        events(lambda e: f"d{e.user:010x}", lambda e: f"https://x.org/p/{e.item}?a=1"),
    )


@shape("MIND: lists of what was shown, with a label of what was clicked, no header")
def mind(folder: Path) -> Files:
    rows = [
        (
            n + 1,
            f"U{e.user}",
            f"{e.moment:%m/%d/%Y %I:%M:%S %p}",
            f"N{EVENTS[n - 1].item} N{EVENTS[n - 2].item}",
            f"N{EVENTS[n - 1].item}-0 N{e.item}-1 N{EVENTS[n - 3].item}-0",
        )
        for n, e in enumerate(EVENTS)
    ]
    log = write(folder, "behaviors.tsv", text_of(rows, "\t"))
    return Files([log], events(lambda e: f"U{e.user}", lambda e: f"N{e.item}"))


@shape("Last.fm 1K: users under a header that begins with #")
def lastfm_1k(folder: Path) -> Files:
    rows = [(f"user_{e.user:06d}", f"{e.moment:%Y-%m-%dT%H:%M:%SZ}", f"f1b1cf71-{e.item}", 'A "Band"') for e in EVENTS]
    log = write(folder, "plays.tsv", "".join("\t".join(row) + "\n" for row in rows))
    head = ("#id", "gender", "age", "country")
    people = [(f"user_{user:06d}", "mf"[user % 2], 20 + user % 40, ("Japan", "Peru")[user % 2]) for user in USERS]
    users = write(folder, "profile.tsv", text_of([head, *people], "\t"))
    return Files([log], events(lambda e: f"user_{e.user:06d}", lambda e: f"f1b1cf71-{e.item}"), users=[users])


@shape("R's write.table: a header without the column of the rows' names")
def written_by_r(folder: Path) -> Files:
    rows = [(f'"{n + 1}"', e.user, f'"b{e.item}"', e.time) for n, e in enumerate(EVENTS)]
    text = '"customer" "book" "at"\n' + "".join(" ".join(map(str, row)) + "\n" for row in rows)
    return Files([write(folder, "log.txt", text)], events(item=lambda e: f"b{e.item}"))


@shape("a delimiter at the end of each row, but not of the header")
def ended_rows(folder: Path) -> Files:
    rows = "".join(f"{e.user},{e.item},{e.time},\n" for e in EVENTS)
    return Files([write(folder, "log.csv", "customer,product,when\n" + rows)], events())


@shape("blanks after delimiters")
def blanks(folder: Path) -> Files:
    rows = "".join(f'{e.user}, "b, {e.item}", {e.time}\n' for e in EVENTS)
    log = write(folder, "log.csv", "customer, product, when\n" + rows)
    return Files([log], events(item=lambda e: f"b, {e.item}"))


@shape("sessions, of which few have a user (Diginetica)")
def sessions_with_few_users(folder: Path) -> Files:
    head = ("session_id", "user_id", "item_id", "timeframe", "eventdate")
    rows = [(e.user, "" if n % 3 else n, e.item, 526309 + n, f"{e.moment:%Y-%m-%d}") for n, e in enumerate(EVENTS)]
    return Files([write(folder, "views.csv", text_of([head, *rows], ";"))], events(time=day))


@shape("Instacart: orders, and nobody's id")
def instacart(folder: Path) -> Files:
    head = ("order_id", "product_id", "add_to_cart_order", "reordered")
    rows = [(e.user, e.item, n % 9 + 1, n % 2) for n, e in enumerate(EVENTS)]
    return Files([write(folder, "order_products.csv", text_of([head, *rows]))], events(time=untimed))


@shape("Steam's reviews: lines as Python 2 prints them")
def steam_python_2(folder: Path) -> Files:
    row = "{{u'username': u'{0}', u'product_id': u'{1}', u'date': u'{2:%Y-%m-%d}', u'text': u'it\\'s good'}}\n"
    text = "".join(row.format(f"Ann {e.user}", e.item, e.moment) for e in EVENTS)
    return Files([write(folder, "steam.json", text)], events(lambda e: f"Ann {e.user}", time=day))


@shape("Otto: a session with a list of events in each line")
def otto(folder: Path) -> Files:
    kinds = {"view": "clicks", "cart": "carts", "purchase": "orders"}
    rows = [
        {
            "session": user,
            "events": [{"aid": e.item, "ts": e.time * 1000, "type": kinds[e.kind]} for e in EVENTS if e.user == user],
        }
        for user in USERS
    ]
    return Files([write_lines(folder, "train.jsonl", rows)], events())
