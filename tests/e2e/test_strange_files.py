"""Files as people have them, and what `validate` says of each: read rightly, or refused with the setting that mends it.

Each kind is tested in depth beside the module that reads it; here the whole way from a config is gone.
"""

from __future__ import annotations

import dataclasses
import decimal
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from components.errors import InputError
from pipeline.config import load_config
from pipeline.data.validate import validate

EVENTS = [(f"u{user}", f"i{(3 * user + event) % 20}", 1_600_000_000 + 9_000 * (8 * user + event))
          for user in range(24) for event in range(8)]  # fmt: skip
COLUMNS = ["user_id", "item_id", "timestamp"]
LOG = pd.DataFrame(EVENTS, columns=COLUMNS)
ITEMS = [f"i{number}" for number in range(20)]
ALL = "all 192 rows read", "events: 192 of 24 users with 20 items, 2020-09-13 12:26:40 to 2020-10-03 09:56:40"


def log_csv(change: Callable[[pd.DataFrame], pd.DataFrame] = lambda log: log) -> Callable[[Path], None]:
    return lambda folder: change(LOG).to_csv(folder / "log.csv", index=False)


def times_as(form: str) -> Callable[[Path], None]:
    return log_csv(lambda log: log.assign(timestamp=pd.to_datetime(log["timestamp"], unit="s").dt.strftime(form)))


def two_thirds_are(word: str) -> Callable[[Path], None]:
    return log_csv(lambda log: log.assign(user_id=[word] * 128 + log["user_id"].tolist()[128:]))


def lines(separator: str, header: bool = False) -> Callable[[Path], None]:
    rows = [COLUMNS] * header + [list(map(str, event)) for event in EVENTS]
    return lambda folder: write(folder / "log.csv", "".join(separator.join(row) + "\n" for row in rows))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def json_lines(**more: object) -> Callable[[Path], None]:
    """Rows of which all but every eighth have an object more, under a key that no setting names."""

    def made(folder: Path) -> None:
        rows = [dict(zip(COLUMNS, event), **(more if number % 8 else {})) for number, event in enumerate(EVENTS)]
        write(folder / "log.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    return made


def decimals(folder: Path) -> None:
    amounts = pa.array([decimal.Decimal(number % 4) + decimal.Decimal("1.25") for number in range(192)])
    pa.parquet.write_table(pa.Table.from_pandas(LOG).append_column("amount", amounts), folder / "log.parquet")
    prices = pa.array([decimal.Decimal(number) / 4 + 1 for number in range(20)], pa.decimal128(9, 2))
    pa.parquet.write_table(pa.table({"item_id": ITEMS, "price": prices}), folder / "items.parquet")


def stray_quote(folder: Path) -> None:
    """One title begins with a quote that never ends, and one nearly at the end of the file does again."""
    titles = ['"Heroes' if number in (40, 150) else f"Song {number}" for number in range(192)]
    rows = [(user, item, title, str(at)) for (user, item, at), title in zip(EVENTS, titles)]
    table = [("user_id", "item_id", "title", "timestamp"), *rows]
    write(folder / "log.tsv", "".join("\t".join(row) + "\n" for row in table))


def two_files(folder: Path) -> None:
    LOG[:100].to_csv(folder / "events-1.csv", index=False)
    LOG[100:].to_csv(folder / "events-2.csv", index=False)


def priced(folder: Path) -> None:
    LOG.to_csv(folder / "log.csv", index=False)
    write(folder / "items.csv", "item_id,price\n" + "".join(f"{item},$1.99\n" for item in ITEMS))


def quotes_in_titles(folder: Path) -> None:
    LOG.to_csv(folder / "log.csv", index=False)
    titles = [("Plain", '\\"Real\\" &amp; Co', 'The \\"Best\\"')[number % 3] for number in range(20)]
    write(folder / "items.csv", '"item_id";"title"\n' + "".join(f'"{i}";"{t}"\n' for i, t in zip(ITEMS, titles)))


def spark_csv(folder: Path) -> None:
    write(folder / "events/part-00000.csv", LOG.to_csv(index=False))
    write(folder / "events/part-00001.csv", "")
    write(folder / "events/_SUCCESS", "")


def spark_parquet(folder: Path) -> None:
    (folder / "events").mkdir()
    LOG.to_parquet(folder / "events/part-0.parquet", index=False)
    write(folder / "events/_SUCCESS", "")


def hive(folder: Path) -> None:
    days = LOG.assign(dt=pd.to_datetime(LOG["timestamp"], unit="s").dt.strftime("%Y-%m-%d")).groupby("dt")
    for day, part in days:
        (folder / f"events/dt={day}").mkdir(parents=True)
        part[["user_id", "item_id"]].to_parquet(folder / f"events/dt={day}/part-0.parquet", index=False)


def sessions() -> pd.DataFrame:
    return LOG.groupby("user_id", sort=False).agg({"item_id": list, "timestamp": "first"}).reset_index()


def sessions_csv(folder: Path) -> None:
    sessions().assign(item_id=lambda log: log["item_id"].str.join(" ")).to_csv(folder / "log.csv", index=False)


def sessions_parquet(folder: Path) -> None:
    sessions().to_parquet(folder / "log.parquet", index=False)


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    files: Callable[[Path], None]
    said: tuple[str, ...]
    """What `validate` says of it, in this order."""
    path: str = "log.csv"
    log: str = ""
    """Further keys of `interactions`."""
    catalogue: str = ""
    refused: bool = False


DOLLARS = "path: items.csv, features: {price: {type: number}}"
TABS = 'delimiter: "\\t"'
TITLES = 'path: items.csv, delimiter: ";", display: "{title}"'
PRICED = "20 items", "20 listed, 0 only in the log; rejected 0"

CASES = [
    Case("an object in JSON that no setting names", json_lines(style={"size": "7 oz"}), ALL, "log.jsonl"),
    Case("an export of a document store", json_lines(_id={"$oid": "0" * 24}), ALL, "log.jsonl"),
    Case(
        "decimals of Parquet",
        decimals,
        (*ALL, *PRICED),
        "log.parquet",
        "columns: {weight: amount}",
        "path: items.parquet, features: {price: {type: number}}",
    ),
    Case("a bare glob", two_files, ("2 files", *ALL), "events-*.csv"),
    Case(
        "a stray quote",
        stray_quote,
        ("log.tsv, row 42", "'\"Heroes\\t", "over 111 lines", "quote: null"),
        "log.tsv",
        TABS,
        refused=True,
    ),
    Case("a stray quote and none around values", stray_quote, ALL, "log.tsv", TABS + ", quote: null"),
    Case(
        "days as numbers",
        times_as("%Y%m%d"),
        ("'timestamp' looks like YYYYMMDD (20200913)", "timestamp_format"),
        refused=True,
    ),
    Case(
        "days as numbers and their format",
        times_as("%Y%m%d"),
        (ALL[0], "2020-09-13 00:00:00 to 2020-10-03"),
        log="timestamp_format: '%Y%m%d'",
    ),
    Case(
        "days of a spreadsheet",
        log_csv(lambda log: log.assign(timestamp=log["timestamp"] / 86_400 + 25_569)),
        ("looks like the days of a spreadsheet (44087.5)", "timestamp_unit: excel"),
        refused=True,
    ),
    Case(
        "days of a spreadsheet and their unit",
        log_csv(lambda log: log.assign(timestamp=log["timestamp"] / 86_400 + 25_569)),
        ALL,
        log="timestamp_unit: excel",
    ),
    Case("UTC behind a time", times_as("%Y-%m-%d %H:%M:%S UTC"), ALL),
    Case(
        "times of C",
        times_as("%a %b %d %H:%M:%S +0000 %Y"),
        ("timestamp_format: '%a %b %d %H:%M:%S %z %Y'",),
        refused=True,
    ),
    Case(
        "times of C and their format",
        times_as("%a %b %d %H:%M:%S +0000 %Y"),
        ALL,
        log="timestamp_format: '%a %b %d %H:%M:%S %z %Y'",
    ),
    Case("the day first", times_as("%d-%m-%Y %H:%M:%S"), ("timestamp_format: '%d-%m-%Y %H:%M:%S'",), refused=True),
    Case("the month first", times_as("%m/%d/%Y %H:%M:%S"), ("timestamp_format: '%m/%d/%Y %H:%M:%S'",), refused=True),
    Case(
        "the month first and the format",
        times_as("%m/%d/%Y %H:%M:%S"),
        ALL,
        log="timestamp_format: '%m/%d/%Y %H:%M:%S'",
    ),
    *(
        Case(f"{word} for a user", two_thirds_are(word), (f"one user, {word!r}, has 128 of 192", "set missing: ["))
        for word in ("NA", "NULL", "\\N", "nan")
    ),
    Case(
        "NA for nobody",
        two_thirds_are("NA"),
        ("128 of 192 rows", "max_rejected_fraction", "128 × user_id is missing"),
        log="missing: ['NA']",
        refused=True,
    ),
    Case(
        "a delimiter at the end of each row",
        lambda folder: write(folder / "log.csv", LOG.to_csv(index=False).replace("\n", ",\n").replace(",\n", "\n", 1)),
        ("192 of 192 rows can't be used", "4 columns instead of 3"),
        refused=True,
    ),
    Case(
        "prices with dollars",
        priced,
        ("20 of 20 rows", "price is not a number as it is written", "$1.99"),
        catalogue=DOLLARS,
        refused=True,
    ),
    Case("prices with dollars, said so", priced, (*ALL, *PRICED), catalogue=DOLLARS + ", units: ['$']"),
    Case("no header", lines(","), ("has no column 'user_id'", "the first row looks like data", "names"), refused=True),
    Case("no header but names", lines(","), ALL, log="names: [user_id, item_id, timestamp]"),
    Case(
        "a delimiter of two characters", lines("::"), ALL, log='delimiter: "::", names: [user_id, item_id, timestamp]'
    ),
    Case("a folder of Spark's with an empty part", spark_csv, ALL, "events"),
    Case("what is in a folder of Spark's", spark_csv, ALL, "events/*"),
    Case("a folder of Parquet", spark_parquet, ALL, "events"),
    Case(
        "backslashes before quotes",
        quotes_in_titles,
        ("13 of 20 rows can't be used", "see escape"),
        catalogue=TITLES,
        refused=True,
    ),
    Case(
        "backslashes before quotes, said so", quotes_in_titles, (*ALL, *PRICED), catalogue=TITLES + ', escape: "\\\\"'
    ),
    Case(
        "a list of items in each row",
        sessions_parquet,
        ("more than one value in a row", "spread: true"),
        "log.parquet",
        refused=True,
    ),
    Case(
        "a list of items in each row, spread",
        sessions_parquet,
        ("events: 192 of 24 users with 20 items",),
        "log.parquet",
        "spread: true",
    ),
    Case(
        "a text of items in each row",
        sessions_csv,
        ("events: 24 of 24 users with 20 items", "set spread: true and separator: ' '"),
    ),
    Case(
        "a text of items in each row, spread",
        sessions_csv,
        ("events: 192 of 24 users with 20 items",),
        log="spread: true, separator: ' '",
    ),
    Case(
        "a column in the names of folders",
        hive,
        ("all 192 rows read", "events: 192 of 24 users with 20 items, 2020-09-13 00:00:00 to 2020-10-03 00:00:00"),
        "events/*/*.parquet",
        "columns: {timestamp: dt}",
    ),
]


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_read_or_refused_by_name(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case.files(tmp_path)
    catalogue = f"  catalogue: {{{case.catalogue}}}\n" if case.catalogue else ""
    more = f", {case.log}" if case.log else ""
    write(tmp_path / "case.yaml", f"name: case\ndata:\n  interactions: {{path: '{case.path}'{more}}}\n{catalogue}")
    monkeypatch.chdir(tmp_path)
    said, refused = [], False
    try:
        said += [finding.text for finding in validate(load_config(tmp_path / "case.yaml"))]
    except InputError as error:
        said.append(str(error))
        refused = True
    text = "\n".join(said)
    assert refused == case.refused, text
    for part in case.said:
        assert part in text, text
