"""Configs of files of many shapes: read by them, the files hold the events that were written."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
from pathlib import Path
from typing import Any, Optional

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.errors import InputError
from components.interaction_gen.log import inspect
from components.interaction_gen.preview import preview
from components.tables import reading
from pipeline.config import Config, load_config
from pipeline.data.init.init import Wanted, init, make, pattern_of
from pipeline.data.validate import validate
from tests.pipeline.data.init.shapes import SHAPES, Files, write, write_lines
from tests.recipes import books, courses, retail, tools

ROOT = Path(__file__).parents[4]

LOG = "user_id,item_id,timestamp\n" + "".join(f"u{n % 5},i{n % 7},{1_600_000_000 + n}\n" for n in range(60))


def config_of(folder: Path, files: Files, **more: Any) -> Config:
    draft, of_what = make(Wanted(files.log, files.catalogue, files.users, **more))
    content = yaml.safe_load(draft.text(of_what))
    assert content == draft.content, "the text says what the draft does"
    return Config.model_validate(
        {**content, "output": folder / "output", "serving": {"base_path": folder / "models"}},
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
def test_the_config_of_a_shape_reads_its_events(tmp_path: Path, name: str) -> None:
    files = SHAPES[name](tmp_path / "data")
    config = config_of(tmp_path, files)
    log = config.data.interactions
    found = preview(inspect(log.settings(), log.path, log.users.path if log.users else "", ""))
    columns = [found.events[column].to_pylist() for column in ("user_id", "item_id", "timestamp")]
    timed = found.facts["timed"]
    read = [(user, item, time // 1_000_000 if timed else None) for user, item, time in zip(*columns)]
    assert sorted(read, key=str) == sorted(files.events, key=str)
    types = {name: feature.type for name, feature in config.data.catalogue.features.items()}
    assert {name: types.get(name) for name in files.features} == files.features
    assert len(list(validate(config))) > 2


def test_there_are_the_four_shapes_of_movielens_and_more_than_ten_others() -> None:
    assert sum(name.startswith("MovieLens") for name in SHAPES) == 4
    assert len(SHAPES) >= 14


def made(folder: Path, content: str, **more: Any) -> dict[str, Any]:
    log = write(folder, "log.csv", content)
    return make(Wanted([log], **more))[0].content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "a,b\nx,y\nz,w\n",
            r"log\.csv: which column is the user can't be told from 'a' \(text, such as x\); 'b' .*--user",
        ),
        ("user,b,c\nx,y,q\nz,w,r\n", r"which column is the item can't be told from .*: say --item COLUMN, and --time"),
        ("user_id,item_id,timestamp\nu,i\nu,j\n", r"no row can be read: 2 columns instead of 3 \(row 2: 'u,i'\)"),
        ("\n\n", "has no rows"),
        ('"user_id,item_id"\n"1,2"\n"3,4"\n', "its rows have one column, 'user_id,item_id': what stands between"),
        ("user_id,item_id,user_id\nu,i,v\n", "has more than one column 'user_id': give each a name of its own"),
        ("user_id,item_id,timestamp\n", "no row can be read"),
    ],
)
def test_what_can_not_be_told_is_said_with_the_columns_and_the_option(
    tmp_path: Path, content: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        made(tmp_path, content)


def test_a_person_who_can_be_asked_is(tmp_path: Path) -> None:
    log = write(tmp_path, "log.csv", "a,b\n" + "".join(f"u{n % 5}x,i{n % 7}y\n" for n in range(60)))
    asked = []

    def ask(question: str, columns: Any) -> str:
        asked.append((question, list(columns)))
        return columns[0]

    columns = make(Wanted([log]), ask)[0].content["data"]["interactions"]["columns"]
    assert columns == {"user_id": "a", "item_id": "b", "timestamp": None}
    assert asked == [("Which column is the user?", ["a", "b"])]


@pytest.mark.slow
@pytest.mark.smoke
def test_what_is_said_counts(tmp_path: Path) -> None:
    content = "who,user_id,item_id,t,stars\n" + "".join(
        f"w{n % 5},u{n},i{n % 7},{1_600_000_000 + n},{n % 5}\n" for n in range(60)
    )
    roles = {"user": "who", "time": None, "rating": None}
    assert made(tmp_path, content, roles=roles)["data"]["interactions"]["columns"] == {
        "user_id": "who",
        "item_id": "item_id",
        "timestamp": None,
    }
    with pytest.raises(InputError, match="'who' can't be both --user and --item"):
        made(tmp_path, content, roles={"user": "who", "item": "who"})
    with pytest.raises(InputError, match="has no column 'nobody' for --user; it has 'who', 'user_id'"):
        made(tmp_path, content, roles={"user": "nobody"})


def test_what_fits_the_log(tmp_path: Path) -> None:
    """Ties, repeated items, missing ratings and users, few items and queries."""
    rows = [(f"u{n % 5}", f"i{n % 3}", 1_600_000_000 + n // 10 * 10, "" if n % 9 == 0 else n % 5) for n in range(90)]
    content = "user,item,ts,rating\n" + "".join(f"{u},{i},{t},{r}\n" for u, i, t, r in rows)
    config = made(tmp_path, content + "\n".join(f",i1,{1_600_000_000 + n},3" for n in range(9)) + "\n")
    log = config["data"]["interactions"]
    assert log["history"] == {"ties": "log_order"}
    assert log["deduplicate"] == "user_item"
    assert log["drop_unrated"] is True
    assert log["max_rejected_fraction"] == 0.16  # 1.5 * 9 / 99, and some
    assert config["evaluation"]["ks"] == [1, 10]
    assert config["evaluation"]["thresholds"]["ndcg@10"] == {"beat_popularity": True}


def test_many_events_have_a_smaller_share_for_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.data.init.init._MOST_QUERIES", 3)
    assert made(tmp_path, LOG)["data"]["interactions"]["split"] == {"method": "time", "eval_fraction": 0.05}


def day(number: int) -> str:
    return f"2020-{number % 9 + 1:02d}-{number % 28 + 1:02d}"


@pytest.mark.parametrize(
    ("of_item", "of_user", "of_event", "time", "warned"),
    [
        ("release_date", "", "watched", "watched", "release_date is the same in all events of an item"),
        ("", "signup_date", "ordered", "ordered", "signup_date is the same in all events of a user"),
        ("date_added", "", "", None, "of an item, .*: the order of the rows is taken for theirs"),
        ("", "signup_date", "", "signup_date", "of a user, .*: it is taken for the time, for there is no other"),
        ("", "", "date", "date", ""),
    ],
)
def test_a_day_of_items_or_users_is_no_time_of_events(
    tmp_path: Path, of_item: str, of_user: str, of_event: str, time: str | None, warned: str
) -> None:
    table = {"user_id": [n % 11 for n in range(99)], "item_id": [n * 7 % 13 for n in range(99)]}
    named = {
        of_item: [day(item) for item in table["item_id"]],
        of_user: [day(user) for user in table["user_id"]],
        of_event: [day(n // 2) for n in range(99)],
    }
    columns = {**table, **{name: values for name, values in named.items() if name}}
    rows = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values()))]
    draft, _ = make(Wanted([write(tmp_path, "log.csv", "\n".join(rows))]))
    assert draft.content["data"]["interactions"]["columns"]["timestamp"] == time
    assert bool(draft.warnings) == bool(warned)
    assert re.search(warned, " ".join(draft.warnings))


def test_columns_of_users_say_nothing_against_events(tmp_path: Path) -> None:
    rows = [f"u{n % 5},i{n % 7},{1_600_000_000 + n},{n % 5 % 2},{n % 3 % 2}\n" for n in range(60)]
    log = write(tmp_path, "log.csv", "user_id,item_id,timestamp,is_member,clicked\n" + "".join(rows))
    [warning] = make(Wanted([log]))[0].warnings
    assert warning.startswith("clicked is not read")


def test_types_of_events_that_say_the_opposite_are_left_out(tmp_path: Path) -> None:
    rows = [f"u{n % 5},i{n % 7},{('done', 'canceled', 'refunded')[n % 3]}\n" for n in range(60)]
    log = made(tmp_path, "user_id,item_id,status\n" + "".join(rows))["data"]["interactions"]
    assert (log["columns"]["event"], log["event_weights"]) == ("status", {"done": 1})


@pytest.mark.slow
@pytest.mark.smoke
def test_thousands_of_keys_take_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    read_blocks = reading.read_blocks
    monkeypatch.setattr(reading, "read_blocks", lambda *args, **more: reads.append(args) or read_blocks(*args, **more))
    rows = [{"user_id": f"u{n % 5}", "item_id": f"i{n % 7}", **{f"f{k}": k for k in range(300)}} for n in range(40)]
    rows[7]["f7"] = {}
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    draft, _ = make(Wanted([str(tmp_path / "log.jsonl")]))
    assert len(reads) < 60
    assert draft.reasons["data.interactions.path"].count(",") == 299, "also the key that holds an object in one row"
    assert draft.content["data"]["interactions"]["columns"]["user_id"] == "user_id"


def test_much_that_is_missing_is_a_warning(tmp_path: Path) -> None:
    rows = [{("userId" if n > 40 else "user_id"): f"u{n % 5}", "item_id": f"i{n % 7}"} for n in range(60)]
    draft, _ = make(Wanted([write_lines(tmp_path, "log.jsonl", rows)]))
    assert draft.content["data"]["interactions"]["max_rejected_fraction"] == 0.49  # 1.5 * 19 / 60, and some
    assert draft.warnings == ["31.7% of the rows can't be used: user_id is missing: is that so?"]


@pytest.mark.parametrize(
    ("early", "count", "year"),
    [
        ("0", 0, None),
        ("0", 1, 1990),
        ("-5", 1, 1990),
        ("0", 25, 1990),
        ("500000000", 1, 1990),  # 1985
        ("1985-01-01 00:00:00", 3, 1990),
        ("1985-01-01 00:00:00", 4, None),  # one in fifteen: some did begin then
        ("631151999", 1, None),  # 1989, a month before the others
        ("1970-01-01 00:00:00", 20, 1990),
    ],
)
def test_times_that_stand_for_missing_ones_are_left_out(
    tmp_path: Path, early: str, count: int, year: Optional[int]
) -> None:
    later = 633_830_400 if early.startswith("63") else 1_600_000_000
    times = [str(later + 50 * n) for n in range(60 - count)]
    if "-01-" in early:
        times = [f"2020-09-13 20:33:{n:02}" for n in range(60 - count)]
    rows = [f"u{n % 7},i{n % 11},{time}" for n, time in enumerate([*times[:9], *[early] * count, *times[9:]])]
    draft, _ = make(Wanted([write(tmp_path, "log.csv", "user_id,item_id,timestamp\n" + "\n".join(rows))]))
    log = draft.content["data"]["interactions"]
    assert (log["columns"]["timestamp"], log.get("earliest_year")) == ("timestamp", year)
    assert any("they are rejected by earliest_year: 1990" in each for each in draft.warnings) == (year is not None)
    assert not any("begin before 1990" in each for each in draft.warnings) or year is None


def test_times_in_lists_beside_lists_of_items(tmp_path: Path) -> None:
    rows = [
        {"user_id": n, "items": [f"i{n % 7}", f"i{n % 5}"], "timestamps": [1_600_000_000 + n, 1_600_000_100 + n]}
        for n in range(60)
    ]
    log = make(Wanted([write_lines(tmp_path, "log.jsonl", rows)]))[0].content["data"]["interactions"]
    assert (log["columns"]["timestamp"], log["timestamp_unit"], log["spread"]) == ("timestamps", "s", True)


@pytest.mark.slow
@pytest.mark.smoke
def test_how_numbers_are_written_is_said_where_they_are_read(tmp_path: Path) -> None:
    rows = [f"u{n % 5};i{n % 7};{n % 5},5;{n},50" for n in range(60)]
    both = made(tmp_path, "user;item;rating;price\n" + "\n".join(rows))["data"]["interactions"]
    assert both["decimal"] == ","
    one = made(tmp_path, "user;item;size;price\n" + "\n".join(rows))["data"]["interactions"]
    assert not {"decimal", "thousands", "units"} & one.keys()


def test_lists_of_items_are_spread(tmp_path: Path) -> None:
    content = "session;items\n" + "".join(f"s{n};{n % 7} {n % 5} {n % 3}\n" for n in range(60))
    log = made(tmp_path, content)["data"]["interactions"]
    assert (log["spread"], log["separator"]) == (True, " ")


def test_a_table_without_ids_of_the_log_is_told(tmp_path: Path) -> None:
    items = write(tmp_path, "items.csv", "sku,title\nz1,Zed\n")
    with pytest.raises(
        InputError, match=r"items\.csv: no column of the catalogue has the log's ids, such as 'i0', 'i1'"
    ):
        made(tmp_path, LOG, catalogue=[items])


def test_several_files_are_one_pattern(tmp_path: Path) -> None:
    paths = [write(tmp_path, f"log-{day}.csv", LOG) for day in ("01", "02")]
    assert pattern_of(paths) == f"{tmp_path}/log-0*.csv"
    assert pattern_of(paths[:1]) == paths[0]
    write(tmp_path, "log-03.csv", LOG)
    with pytest.raises(InputError, match="no glob names these files and no others"):
        pattern_of(paths)
    folders = [write(tmp_path, f"{folder}/log.csv", LOG) for folder in "ab"]
    assert pattern_of(folders) == f"{tmp_path}/*/log.csv"
    with pytest.raises(InputError, match="no glob names these files and no others"):
        pattern_of([paths[0], folders[0]])


def test_a_part_with_a_header_alone_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "log/part-0.csv", LOG.split("\n", 1)[0] + "\n")
    write(tmp_path, "log/part-1.csv", LOG)
    log = make(Wanted([str(tmp_path / "log")]))[0].content["data"]["interactions"]
    assert log["columns"] == {"user_id": "user_id", "item_id": "item_id", "timestamp": "timestamp"}


@pytest.mark.slow
@pytest.mark.smoke
def test_a_config_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "log.csv", LOG)
    wanted = Wanted(["log.csv"], out=Path("2. try.yaml"))
    made_config = init(wanted)
    assert (made_config.problem, made_config.warnings) == ("", [])
    text = Path("2. try.yaml").read_text()
    assert yaml.safe_load(text)["name"] == "shop_2_try"
    assert "    path: log.csv\n" in text
    assert "# named like a user; such as u0, u1, u2\n" in text
    with pytest.raises(InputError, match="is there already: --force replaces it"):
        init(wanted)
    write(tmp_path, "log.csv", LOG.replace("user_id", "client"))
    init(wanted, force=True)
    assert "user_id: client" in Path("2. try.yaml").read_text()
    with pytest.raises(InputError, match="there is no folder nowhere"):
        init(Wanted(["log.csv"], out=Path("nowhere/x.yaml")))


@pytest.mark.slow
@pytest.mark.smoke
def test_a_config_that_can_not_be_run_is_written_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "log.csv", LOG)
    write(tmp_path, "items.csv", "item_id,title\ni0,Ex\n")
    found = init(Wanted(["log.csv"], ["items.csv"], out=Path("x.yaml")))
    assert "is a catalogue without the items of the log" in found.problem
    assert Path("x.yaml").exists()


PIECES = (
    b"\x00",
    b'"',
    b"'",
    b"\\",
    b",",
    b";",
    b"::",
    b"\t",
    b" ",
    b"\n",
    b"\r",
    b"a",
    b"1",
    b"2020-09-13",
    b"{",
    b"[",
    b"\xff",
    b"\xc3\xa9",
)
BYTES = st.one_of(
    st.binary(max_size=500),
    st.lists(st.sampled_from(PIECES)).map(b"".join),
    st.binary(max_size=100).map(lambda more: LOG.encode() + more),
    st.lists(st.sampled_from(PIECES)).map(lambda more: LOG.encode() + b"".join(more)),
    st.binary(max_size=100).map(lambda more: b'{"user_id": "u", "item_id": 1}\n' * 9 + more),
    st.binary(max_size=100).map(lambda more: b"PAR1" + more + b"PAR1"),
    st.binary(max_size=100).map(lambda more: b"\xff\xfe" + more),
    st.integers(0, 40).map(lambda cut: gzip.compress(LOG.encode())[: -cut or None]),
    st.integers(1, 3000).map(lambda depth: b'{"user_id": ' + b"[" * depth),
)


@pytest.mark.slow
@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(content=BYTES, suffix=st.sampled_from(["csv", "jsonl", "parquet", "dat"]))
def test_random_bytes_end_in_a_config_or_in_one_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    folder = tmp_path_factory.mktemp("random")
    (folder / f"log.{suffix}").write_bytes(content)
    with contextlib.suppress(InputError):
        assert list(validate(config_of(folder, Files([str(folder / f"log.{suffix}")], []))))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "file", "write_files"),
    [
        ("books", "ratings.jsonl", books.write),
        ("books", "ratings.csv", books.write),
        ("courses", "user_course_views.csv", courses.write),
        ("tools", "events.csv", tools.write),
        ("retail", "train.csv", retail.write),
    ],
)
def test_the_files_of_a_recipe_have_the_columns_that_the_recipe_names(
    tmp_path: Path, recipe: str, file: str, write_files: Any
) -> None:
    """But for what only their owner knows: that a column of numbers is a weight."""
    write_files(tmp_path, 3000, 0)
    made_log = config_of(tmp_path, Files([str(tmp_path / file)], [])).data.interactions
    theirs = load_config(ROOT / "configs" / f"{recipe}.yaml").data.interactions
    assert made_log.columns == theirs.columns.model_copy(update={"weight": None})
    assert made_log.event_weights.keys() == theirs.event_weights.keys()
    assert made_log.drop_unrated == theirs.drop_unrated
