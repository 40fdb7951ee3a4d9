"""Times in any form."""

import pyarrow as pa
import pytest

from components.errors import InputError
from components.tables.formats import TableSettings
from components.tables.times import as_times, guess_forms, guess_time_unit, offsets, rough


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1998-03-07", 889_228_800_000_000),
        ("1998-03-07T02:21:09Z", 889_237_269_000_000),
        ("1998-03-07 03:21:09.5+01:00", 889_237_269_500_000),
        ("1998-03-07T02:21:09.123456789", 889_237_269_123_456),
        ("1998-02-30", None),
        ("07.03.1998", None),
        ("889237269", None),
        ("0998-03-07", None),
    ],
)
def test_iso_times(text, expected):
    # Beside good values, with and without an offset, the bad one alone is bad.
    times, missing, bad = as_times(pa.array([text, "1970-01-01", "1970-01-01T00:00:01Z", ""]), "iso", "when")
    assert bad.tolist() == [expected is None, False, False, False]
    assert missing.tolist() == [False, False, False, True]
    assert times[1:3].tolist() == [0, 1_000_000]
    assert expected is None or times[0] == expected


@pytest.mark.parametrize(("unit", "value"), [("s", 889237269), ("ms", 889237269000), ("ns", 889237269000000001)])
def test_numeric_times(unit, value):
    for array in (pa.array([value]), pa.array([str(value)])):
        assert as_times(array, unit, "when")[0].tolist() == [889_237_269_000_000]
        assert guess_time_unit(array, "when") == unit


def test_times_in_the_wrong_unit_are_bad_not_in_the_year_30000():
    _, _, bad = as_times(pa.array(["889237269000", "9" * 30, "x", "889237269.25"]), "s", "when")
    assert bad.tolist() == [True, True, True, False]


def test_arrow_times_know_their_unit():
    for kind in (pa.timestamp("ns"), pa.timestamp("s", "Europe/Berlin")):
        times = pa.array([889_237_269 * (10**9 if kind.unit == "ns" else 1)]).cast(kind)
        assert as_times(times, "s", "when")[0].tolist() == [889_237_269_000_000]


BERLIN = "Europe/Berlin"


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2020-09-13 20:33:39 UTC", None, 1_600_029_219_000_000),  # BigQuery
        ("2020-09-13 20:33:39.25 UTC", BERLIN, 1_600_029_219_250_000),
        ("2020-09-13 20:33:39 GMT", None, 1_600_029_219_000_000),
        ("2020-09-13 22:33:39 +0200", None, 1_600_029_219_000_000),  # Ruby, git
        ("2020-09-13 22:33:39", BERLIN, 1_600_029_219_000_000),  # summer
        ("2020-12-13 22:33:39", BERLIN, 1_607_895_219_000_000),  # winter: one hour from UTC
        ("2020-10-25 02:30:00", BERLIN, 1_603_585_800_000_000),  # twice on that day: the first, 00:30 UTC
        ("2020-03-29 02:30:00", BERLIN, 1_585_443_600_000_000),  # never: 03:00, which is 01:00 UTC
        ("2020-09-14", BERLIN, 1_600_034_400_000_000),  # 22:00 UTC of the day before
        ("2020-09-13T22:33:39.25+02:00[Europe/Berlin]", None, 1_600_029_219_250_000),  # Java
        ("2020-09-13T20:33:39Z[UTC]", BERLIN, 1_600_029_219_000_000),
        ("2020-09-13 20:33:39.25 +0000 UTC", None, 1_600_029_219_250_000),  # Go
        ("2020-09-13 16:33:39 -0400 EDT", None, 1_600_029_219_000_000),
        ("2020-09-13 20:33:39 EST", None, None),
        ("2020-09-13 UTC", None, None),
    ],
)
def test_more_of_iso_and_local_times(text, zone, expected):
    times, _, bad = as_times(pa.array([text, "1970-01-01T00:00:00Z"]), "iso", "when", zone=zone)
    assert bad.tolist() == [expected is None, False]
    assert times[1] == 0
    assert expected is None or times[0] == expected


@pytest.mark.parametrize(
    ("text", "form", "zone", "expected"),
    [
        ("13-09-2020 20:33", "%d-%m-%Y %H:%M", None, 1_600_029_180_000_000),
        ("13-09-2020 22:33", "%d-%m-%Y %H:%M", BERLIN, 1_600_029_180_000_000),
        ("Sun Sep 13 20:33:39 +0000 2020", "%a %b %d %H:%M:%S %z %Y", BERLIN, 1_600_029_219_000_000),
        ("09/13/2020 08:33 PM", "%m/%d/%Y %I:%M %p", None, 1_600_029_180_000_000),
        ("20200914", "%Y%m%d", None, 1_600_041_600_000_000),
        ("2020-09-13 22:33:39 CEST", "%Y-%m-%d %H:%M:%S %Z", None, 1_600_029_219_000_000),
        ("2020-12-13 21:33:39 CET", "%Y-%m-%d %H:%M:%S %Z", None, 1_607_891_619_000_000),
        ("Sun Sep 13 16:33:39 EDT 2020", "%a %b %d %H:%M:%S %Z %Y", BERLIN, 1_600_029_219_000_000),
        ("2020-09-14 04:33:39 CST", "%Y-%m-%d %H:%M:%S %Z", "Asia/Shanghai", 1_600_029_219_000_000),
        ("2020-09-13 20:33:39 CST", "%Y-%m-%d %H:%M:%S %Z", None, None),  # in Chicago, Shanghai or Havana
        ("Sun Sep 13 2020 22:33:39 GMT+0200 (CEST)", "%a %b %d %Y %H:%M:%S GMT%z", None, 1_600_029_219_000_000),
        ("2020-09-13 22:33 +0200 (CEST)", "%Y-%m-%d %H:%M %z (CEST)", None, 1_600_029_180_000_000),
        ("31.02.2020", "%d.%m.%Y", None, None),  # not 2 March
        ("13.09.2020 and more", "%d.%m.%Y", None, None),
        ("13.09.20", "%d.%m.%Y", None, None),
        ("01.01.1850", "%d.%m.%Y", None, None),
        ("0001-01-01 00:00:00 +0500", "%Y-%m-%d %H:%M:%S %z", None, None),  # in UTC there is no such day
    ],
)
def test_times_of_a_given_form(text, form, zone, expected):
    times, missing, bad = as_times(pa.array([text, None, f" {text} "]), "form", "when", form, zone)
    assert missing.tolist() == [False, True, False]
    assert bad.tolist() == [expected is None, False, expected is None]
    assert expected is None or times[[0, 2]].tolist() == [expected] * 2


def test_nothing_but_missing_times():
    times, missing, bad = as_times(pa.array([None, ""]), "form", "when", "%d.%m.%Y", BERLIN)
    assert (times.tolist(), missing.tolist(), bad.tolist()) == ([0, 0], [True, True], [False, False])


def test_days_as_parquet_and_spreadsheets_hold_them():
    assert as_times(pa.array([18_519]), "days", "when")[0].tolist() == [1_600_041_600_000_000]
    assert as_times(pa.array(["44088", "44088.5"]), "excel", "when")[0].tolist() == [
        1_600_041_600_000_000,
        1_600_084_800_000_000,
    ]
    naive = pa.array([1_600_041_600], pa.timestamp("s"))
    assert as_times(naive, "s", "when", zone=BERLIN)[0].tolist() == [1_600_034_400_000_000]
    zoned = pa.array([1_600_041_600], pa.timestamp("s", "UTC"))
    assert as_times(zoned, "s", "when", zone=BERLIN)[0].tolist() == [1_600_041_600_000_000]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["20200913", "20200914"], r"'when' looks like YYYYMMDD \(20200913\): set timestamp_format: '%Y%m%d'"),
        ([20200913.0, None], "looks like YYYYMMDD"),
        (["2020091320"], r"looks like YYYYMMDDHH .*'%Y%m%d%H'"),
        (["202009132033"], "looks like YYYYMMDDHHMM "),  # read as milliseconds: 1976
        ([20200913203339], r"looks like YYYYMMDDHHMMSS .*'%Y%m%d%H%M%S'"),
        (
            [13_244_503_686_000_000],
            r"looks like microseconds since 1601, as browsers count \(13244503686000000\): write",
        ),
        (["44087.85670", "44088"], r"looks like the days of a spreadsheet \(44087.9\): set timestamp_unit: excel"),
        (["13-09-2020 20:33"], r"holds '13-09-2020 20:33', neither .* set timestamp_format: '%d-%m-%Y %H:%M' \(and"),
        (["09/08/2020"], r"'%m/%d/%Y' or '%d/%m/%Y'"),
        (["200913", "200930"], r"looks like YYMMDD \(200913\): set timestamp_format: '%y%m%d'"),
        (["20200913203339123"], r"looks like YYYYMMDDHHMMSS and milliseconds .*'%Y%m%d%H%M%S%f'"),
        (["202009", "202112"], r"looks like YYYYMM \(202009\), months, which tell no day: .* timestamp: null"),
        (["13 sept. 2020"], "; names of months can be read in English alone"),
        (["yesterday"], r"'yesterday', neither a number nor a time in ISO 8601: set timestamp_format: such as"),
    ],
)
def test_what_no_unit_reads_rightly_is_refused_with_the_setting_that_does(values, message):
    with pytest.raises(InputError, match=message):
        guess_time_unit(pa.array(values), "when")


def test_counts_may_grow_into_days_of_a_spreadsheet():
    assert guess_time_unit(pa.array([40_000, 60_000]), "when", known=True) == "s"


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        (["1600029219", "1600041600"], "s"),
        ([20200913, 20209999], "s"),  # not all are days
        ([1, 2, 3], "s"),  # steps
        ([40_000, 1], "s"),
        (["2020-09-13", "soon"], "iso"),
    ],
)
def test_what_only_looks_a_little_like_days(values, unit):
    assert guess_time_unit(pa.array(values), "when") == unit


def test_numbers_are_times_as_they_are_written():
    how = TableSettings(decimal=",", thousands=".")
    texts = pa.array(["1.600.029.219", "1600029219,5", "x"])
    assert guess_time_unit(texts, "at", how=how) == "s"
    micros, _, bad = as_times(texts, "s", "at", how=how)
    assert micros[:2].tolist() == [1_600_029_219_000_000, 1_600_029_219_500_000]
    assert bad.tolist() == [False, False, True]
    with pytest.raises(InputError, match="looks like the days of a spreadsheet"):
        guess_time_unit(pa.array(["44000,25"]), "at", how=how)


@pytest.mark.parametrize("text", ["20:33", "8:33:39 PM", "20:33:39.5"])
def test_times_of_day_in_text_lack_a_day(text):
    with pytest.raises(InputError, match=r"holds '.*', a time without a day: write both into one column"):
        guess_time_unit(pa.array([text]), "at")


@pytest.mark.parametrize(
    ("array", "count"),
    [
        (pa.array(["1.600118e+09", " 1.60E+09", "1.600118086e+09", "1600118086", "1e3", None]), 3),
        (pa.array(["13 September 2020", "1600118086.5"]), 0),
        (pa.array([1_600_118_086.0, 1_000.0, None], pa.float32()), 1),
        (pa.array([1_600_118_086.0, float("nan")]), 0),
        (pa.array([[1_600_118_086]]), 0),
    ],
)
def test_counts_that_lost_digits(array, count):
    assert rough(array) == count


@pytest.mark.parametrize(
    ("texts", "counts"),
    [
        (["2020-09-13 20:33:39", "2020-09-13T20:33"], (0, 2)),
        (
            ["2020-09-13 20:33:39Z", "2020-09-13 20:33:39 UTC", "2020-09-13T20:33:39.5+0200", "2020-09-13T20:33-05"],
            (4, 0),
        ),
        (["2020-09-13T20:33:39 GMT ", "2020-09-13", "1600118086", None], (1, 0)),  # a day has none
        ([], (0, 0)),
    ],
)
def test_offsets_are_counted(texts, counts):
    assert offsets(pa.array(texts, pa.string())) == counts
    assert offsets(pa.array(texts, pa.string()).dictionary_encode()) == counts


def test_times_of_day_are_no_times():
    with pytest.raises(InputError, match=r"'when' is of type time32\[s\], a time without a day"):
        guess_time_unit(pa.array([1], pa.time32("s")), "when")
    with pytest.raises(InputError, match=r"'when' is of type duration\[s\], a time without a day: write both"):
        as_times(pa.array([1], pa.duration("s")), "s", "when")


@pytest.mark.parametrize(
    ("texts", "forms"),
    [
        (["2020/09/13 20:33:39"], ["%Y/%m/%d %H:%M:%S"]),
        (["Sun Sep 13 20:33:39 +0000 2020"], ["%a %b %d %H:%M:%S %z %Y"]),
        (["Sun Sep 13 20:33:39 2020"], ["%a %b %d %H:%M:%S %Y"]),
        (["01/02/2020", "01/13/2020"], ["%m/%d/%Y"]),
        (["13/Sep/2020:20:33:39 +0000"], ["%d/%b/%Y:%H:%M:%S %z"]),
        (["09 13, 2020"], ["%m %d, %Y"]),
        (["2020-09-13 22:33:39 CEST", "2020-12-13 21:33:39 CET"], ["%Y-%m-%d %H:%M:%S %Z"]),
        (["Sun Sep 13 20:33:39 CST 2020"], ["%a %b %d %H:%M:%S %Z %Y"]),
        (["Sun Sep 13 2020 20:33:39 GMT+0200 (Central European Summer Time)"], ["%a %b %d %Y %H:%M:%S GMT%z"]),
        (["Sun, 13 Sep 2020 20:33:39 +0200 (CEST)"], ["%a, %d %b %Y %H:%M:%S %z"]),
        (["13SEP2020:20:33:39"], ["%d%b%Y:%H:%M:%S"]),  # SAS
        (["2020-09-13-20.33.39.000000"], ["%Y-%m-%d-%H.%M.%S.%f"]),  # DB2
        (["13-SEP-20 08.33.39.000000 PM"], ["%d-%b-%y %I.%M.%S.%f %p"]),  # Oracle
        (["20200913_203339"], ["%Y%m%d_%H%M%S"]),
        (["13/09/2020 20h33"], ["%d/%m/%Y %Hh%M"]),
        (["2020年09月13日 20时33分"], ["%Y年%m月%d日 %H时%M分"]),
        (["192.168.20.10"], []),
        (["soon"], []),
    ],
)
def test_forms_are_guessed(texts, forms):
    assert guess_forms(texts) == forms
