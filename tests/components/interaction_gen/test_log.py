"""What InteractionGen finds out before it reads a row."""

import json

import pytest

from components.errors import InputError
from components.interaction_gen.log import check_unit, inspect, parse_settings, user_columns
from components.interaction_gen.settings import InteractionSettings
from components.tables import reading


def settings_of(**options):
    return InteractionSettings.model_validate(options)


def write_log(folder, *times, name="log.csv"):
    path = folder / name
    path.write_text("user_id,item_id,timestamp\n" + "".join(f"u,i,{time}\n" for time in times))
    return str(path)


def test_settings_are_parsed_or_named():
    assert parse_settings(json.dumps({"min_user_events": 3})).min_user_events == 3
    with pytest.raises(InputError, match=r"settings of InteractionGen: .*\n.*min_events"):
        parse_settings('{"min_events": 3}')


@pytest.mark.parametrize(
    ("times", "options", "unit"),
    [
        (["889237269"], {}, "s"),
        (["889237269000"], {}, "ms"),
        (["889237269"], {"timestamp_unit": "ns"}, "ns"),
        (["1998-03-07"], {}, "iso"),
        ([], {}, "iso"),
        (["whatever"], {"columns": {"timestamp": None}}, "us"),
    ],
)
def test_the_unit_of_times_is_guessed_unless_it_is_given(tmp_path, times, options, unit):
    assert inspect(settings_of(**options), write_log(tmp_path, *times), "", "").unit == unit


@pytest.mark.parametrize(
    ("cutoff", "seconds"),
    [
        ("1970-01-02", 86_400),
        ("1970-01-01T00:00:01.500Z", 1.5),
        ("1970-01-01T01:00:00+01:00", 0),
    ],
)
def test_a_cutoff_is_a_time_in_utc_unless_it_says_otherwise(tmp_path, cutoff, seconds):
    cut = inspect(settings_of(), write_log(tmp_path, 1), "", cutoff).cut
    assert (cut.time, cut.order) == (seconds * 1_000_000, -1)
    assert inspect(settings_of(), write_log(tmp_path, 1), "", "").cut is None


def test_evaluation_files_come_after_the_training_ones(tmp_path):
    log, test = write_log(tmp_path, 1), write_log(tmp_path, 2, name="test.csv")
    found = inspect(settings_of(split={"method": "files", "eval_path": test}), log, "", "")
    assert [file.path for file in found.files] == [log, test]
    assert [file.number for file in found.files] == [0, 1]
    assert found.eval_files == {test}
    with pytest.raises(InputError, match=r"log\.csv is both training and evaluation data"):
        inspect(settings_of(split={"method": "files", "eval_path": log}), log, "", "")


def test_partitions_go_by_the_bytes_that_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("components.interaction_gen.log._PARTITION_BYTES", 10)
    path = write_log(tmp_path, 1, 2)  # 26 bytes and two rows of 6
    assert inspect(settings_of(), path, "", "").partitions == 4
    assert inspect(settings_of(partitions=2), path, "", "").partitions == 2
    known = [(path, False), (path, True)]  # read with it, each as large again
    assert inspect(settings_of(), path, "", "", known=known).partitions == 12


USERS = {"users": {"id": "id", "features": {"age": {"type": "number"}, "born": {"type": "number", "column": "age"}}}}


def test_the_users_table_is_looked_at_too(tmp_path):
    (tmp_path / "users.csv").write_text("id,age\nu,3\n")
    log, users = write_log(tmp_path, 1), str(tmp_path / "users.csv")
    assert user_columns(settings_of(**USERS)) == ["id", "age"], "each once"
    assert [file.path for file in inspect(settings_of(**USERS), log, users, "").user_files] == [users]
    with pytest.raises(InputError, match="users_path is not"):
        inspect(settings_of(**USERS), log, "", "")
    with pytest.raises(InputError, match=r"users_path is .*, but settings\.users doesn't say what to read"):
        inspect(settings_of(), log, users, "")


def test_a_cutoff_needs_a_split_by_time(tmp_path):
    for options in ({"split": {"method": "hash"}}, {"columns": {"timestamp": None}}):
        with pytest.raises(InputError, match=r"needs split\.method time and columns\.timestamp"):
            inspect(settings_of(**options), write_log(tmp_path, 1), "", "2020-01-01")


@pytest.mark.parametrize(
    ("times", "other", "message"),
    [
        (["1600029219"], ["1600029219000"], "looks like milliseconds, but that of .*log.csv like seconds"),
        (["1600029219000"], ["1600029219"], "looks like seconds, but that of .*log.csv like milliseconds"),
        (["1600029219"], ["2020-09-13"], "looks like ISO 8601, but that of .*log.csv like seconds"),
        (["1600029219"], ["20200913"], "looks like YYYYMMDD"),
        (["1600029219"], ["1600029220.5", ""], None),
    ],
)
def test_all_files_have_times_of_one_unit(tmp_path, times, other, message):
    log = inspect(settings_of(), write_log(tmp_path, *times), "", "")
    [file] = reading.find_files(write_log(tmp_path, *other, name="other.csv"), "csv", "log")
    [block] = reading.read_blocks(file, ["timestamp"], log.settings)
    if message is None:
        check_unit(block, file, log)
    else:
        with pytest.raises(InputError, match=f"column 'timestamp' {message}"):
            check_unit(block, file, log)


@pytest.mark.parametrize(
    ("time", "options", "message"),
    [
        ("20200913", {}, "looks like YYYYMMDD .*'%Y%m%d'"),
        ("20200913", {"timestamp_format": "%Y%m%d"}, None),
        ("20200913", {"timestamp_unit": "s"}, None),
        ("44087.85670", {}, "looks like the days of a spreadsheet .*timestamp_unit: excel"),
        ("44087.85670", {"timestamp_unit": "excel"}, None),
        ("13-09-2020 20:33", {}, "set timestamp_format: '%d-%m-%Y %H:%M'"),
    ],
)
def test_dates_that_no_unit_reads_are_refused_unless_a_setting_does(tmp_path, time, options, message):
    log = write_log(tmp_path, time)
    if message is None:
        assert inspect(settings_of(**options), log, "", "").unit in ("form", "s", "excel")
    else:
        with pytest.raises(InputError, match=rf"log\.csv: column 'timestamp' .*{message}"):
            inspect(settings_of(**options), log, "", "")
