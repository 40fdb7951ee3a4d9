"""How options that hold several things are read."""

from __future__ import annotations

from datetime import datetime

import pytest

from components.errors import InputError
from pipeline.cli.parsing import parse_boosts, parse_context, parse_filters, parse_ids, parse_tasks


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        ([], []),
        (["50,181,1"], ["50", "181", "1"]),
        (["50, 181", "1"], ["50", "181", "1"]),
        (['"a,b",c'], ["a,b", "c"]),
        (['"say ""hi"""', '5" disk'], ['say "hi"', '5" disk']),
        (["two words,,🎬,"], ["two words", "🎬"]),
        ([""], []),
    ],
)
def test_parse_ids(values, ids):
    assert parse_ids(values, "--history") == ids


@pytest.mark.parametrize(
    ("values", "context"),
    [
        ([], {}),
        (["device=ios", "age=30", "ratio=0.5"], {"device": "ios", "age": 30, "ratio": 0.5}),
        (["tags=[a, b]", 'zip="90210"', "q=a=b"], {"tags": ["a", "b"], "zip": "90210", "q": "a=b"}),
        (["timestamp=2026-01-31T20:15:00"], {"timestamp": datetime(2026, 1, 31, 20, 15)}),
        (["age="], {"age": None}),
    ],
)
def test_parse_context(values, context):
    assert parse_context(values) == context


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["device"], "'device': expected name=value"),
        (["=ios"], "'=ios': expected name=value"),
        (["a=1", "a=2"], r"a is given twice; write several values as a=\[a,b\]"),
        (["a=[1"], "not valid YAML"),
        (["timestamp=2026-02-31"], "not valid YAML: day is out of range"),
    ],
)
def test_parse_context_refuses(values, message):
    with pytest.raises(InputError, match=message):
        parse_context(values)


def test_parse_ids_with_an_open_quote():
    with pytest.raises(InputError, match=r"--history: .*double quotes"):
        parse_ids(['"a,b'], "--history")


def test_parse_filters():
    values = ["brand=x", "price<=20", "brand=y=z", "price>=5", "brand="]
    assert parse_filters(values) == {"brand=": ["x", "y=z", ""], "price<=": ["20"], "price>=": ["5"]}
    for value in ("brand", "=x", "price<20", "a b=x"):
        with pytest.raises(InputError, match=r"^--filter '.*': expected name=value, such as brand=x, or price<=20"):
            parse_filters([value])


def test_parse_boosts():
    assert parse_boosts(["brand=x:0.5", "a=b:c:-1", "brand=x:0.25"]) == {"brand=x": 0.75, "a=b:c": -1.0}
    for value in ("brand=x", "brand=x:much", ":1"):
        with pytest.raises(InputError, match=r"^--boost '.*': expected condition:number, such as brand=x:0.5$"):
            parse_boosts([value])


def test_parse_tasks():
    assert parse_tasks(["purchase=1", "view=.2"]) == {"purchase": 1.0, "view": 0.2}
    for value in ("purchase", "purchase=much", "=1"):
        with pytest.raises(InputError, match=r"^--task '.*': expected name=number, such as purchase=1$"):
            parse_tasks([value])
    with pytest.raises(InputError, match="view is given twice"):
        parse_tasks(["view=1", "view=2"])
