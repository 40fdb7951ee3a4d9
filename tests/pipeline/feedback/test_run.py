"""The feedback as a whole, on a shop that can be counted by hand, and with pseudonyms in several parts."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from components.data_profile import IN_VERSION
from components.errors import InputError
from components.guards import profile as profiles
from pipeline.feedback import parts
from pipeline.feedback.candidate import RULED
from pipeline.feedback.run import FACTS, PAGE, ROWS, feedback
from serving.client.answer_log import pseudonym
from tests.pipeline.feedback.shop import S, answer, write_answers, write_events, write_shop
from tests.pipeline.feedback.test_candidate import with_items
from tests.pipeline.feedback.test_skew import trained


def told(facts: dict, dimension: str) -> dict[str, tuple[int, ...]]:
    names = ("lists", "impressions", "clicks", "conversions")
    return {
        one["value"]: tuple(one[name] for name in names) for one in facts["figures"] if one["dimension"] == dimension
    }


def rows(folder: Path) -> list[tuple]:
    table = pq.read_table(folder / ROWS)
    columns = [table[name].to_pylist() for name in ("user_id", "item_id", "timestamp", "event", "device", "position")]
    return sorted((u, i, t, e, d, p) for u, i, t, e, d, p in zip(*columns))


EXPECTED_ROWS = [
    ("ann", "a", 2500, "click", "ios", 2.0),
    ("ann", "a", 2600, "buy", "ios", 2.0),
    ("ann", "b", 1500, "click", "ios", 2.0),
    ("ann", "c", 1000, "impression", "ios", 3.0),
    ("bob", "a", 1000, "impression", "web", 1.0),
    ("bob", "c", 1000, "impression", "web", 2.0),
]


@pytest.mark.slow
def test_a_shop_counted_by_hand(tmp_path: Path) -> None:
    config = write_shop(tmp_path)
    outcome = feedback(config, [str(tmp_path / "answers" / "*.jsonl")], tmp_path / "out")
    facts = outcome.facts
    assert outcome.exit_code == 0
    assert json.loads((tmp_path / "out" / FACTS).read_text()) == facts
    assert told(facts, "all") == {"": (3, 7, 2, 1)}
    assert told(facts, "version") == {"1": (2, 5, 1, 0), "2": (1, 2, 1, 1)}
    assert told(facts, "label") == {"stable": (2, 5, 1, 0), "canary": (1, 2, 1, 1)}
    assert told(facts, "source") == {"user": (3, 7, 2, 1)}
    assert told(facts, "device") == {"ios": (2, 5, 2, 1), "web": (1, 2, 0, 0)}
    assert told(facts, "place") == {"1": (3, 3, 0, 0), "2": (3, 3, 2, 1), "3": (1, 1, 0, 0)}
    rates = facts["figures"][0]["rates"]
    assert rates["click_rate"]["value"] == pytest.approx(2 / 7)
    assert rates["list_click_rate"]["value"] == pytest.approx(2 / 3)
    assert rates["conversion_rate"]["value"] == pytest.approx(1 / 7)
    # Two users: without ann none of it is clicked, without bob 2 of 5.
    assert (rates["click_rate"]["low"], rates["click_rate"]["high"]) == (0, pytest.approx(2 / 5))
    assert facts["left_out"] == {
        "damaged lines": 1,
        "lists of other models": 1,
        "lists of nobody in particular": 1,
        "lists that client and server both logged": 1,
        "lists whose window is not over yet": 1,
    }
    assert facts["rows"] == {"negatives": 3, "positives": 3, "weighed_by": "", "why_none": ""}
    assert rows(tmp_path / "out") == EXPECTED_ROWS
    text = re.sub(r"<[^>]+>", " ", (tmp_path / "out" / PAGE).read_text())
    assert "28.57% (0.00% to 40.00%)" in text
    assert "left out: 1 damaged lines" in text
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.slow
def test_pseudonyms_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = write_shop(tmp_path)
    expected = feedback(plain, [str(tmp_path / "answers")], tmp_path / "plain").facts
    for path in (tmp_path / "answers").glob("*.jsonl"):
        lines = [line for line in path.read_text().split("\n") if line]
        logged = [json.loads(line) for line in lines if line.endswith("}")]
        for line in logged:
            line["user"] = line["user"] and pseudonym(line["user"], "secret")
        torn = [line for line in lines if not line.endswith("}")]
        path.write_text("\n".join([*map(json.dumps, logged), *torn]))
    monkeypatch.setattr(parts, "_PART_BYTES", 500)  # several parts
    config = write_shop_config(tmp_path)
    monkeypatch.setenv("ANSWERS_KEY", "secret")
    found = feedback(config, [str(tmp_path / "answers")], tmp_path / "out").facts
    assert told(found, "place") == told(expected, "place")
    assert found["left_out"] == expected["left_out"]
    assert rows(tmp_path / "out") == EXPECTED_ROWS
    monkeypatch.delenv("ANSWERS_KEY")
    with pytest.raises(InputError, match=r"feedback\.key_env: the environment has no variable ANSWERS_KEY"):
        feedback(config, [str(tmp_path / "answers")], tmp_path / "out")


@pytest.mark.slow
def test_a_candidate(tmp_path: Path, servable: Path) -> None:
    config = write_shop(tmp_path)
    with_items(servable, tmp_path)
    shuffled = answer("ann", 1000, ["4", "3", "5"], exploration={"share": 0.5, "first": 2}, order=[1, 0, 2])
    as_they_are = answer("ann", 2000, ["3", "4", "5"], exploration={"share": 0.5, "first": 2})
    write_answers(tmp_path / "explored.jsonl", [shuffled, as_they_are, answer("ann", 1500, ["3"], ruled=True)])
    write_events(
        tmp_path / "log.csv", [("ann", "3", 2100, "click"), ("ann", "4", 1100, "click"), ("zoe", "a", 99_999, "buy")]
    )
    outcome = feedback(config, [str(tmp_path / "explored.jsonl")], tmp_path / "out", candidate="7")
    found = outcome.facts["candidate"]
    # It answers 3, 4, 5: as the second list, where both of the first two have 1 / 0.75, and unlike the first one.
    assert found["ips"]["value"] == pytest.approx((1 / 0.75) / 2)
    assert found["support"] == 1.0
    assert (found["lists"], found["explored_lists"], found["trained_until"]) == (2, 2, None)
    assert found["not_asked"] == {RULED: 1}
    assert found["logged"]["value"] == 1.0
    console = Console(file=io.StringIO(), width=200)
    outcome.show(console)
    text = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert "candidate, IPS 0.6667 (0.6667 to 0.6667)" in text
    assert "the candidate doesn't say until when its events go" in text
    assert "skew" not in outcome.facts
    assert "no version here says what it was trained on" in text
    profile = tmp_path / "models" / "shop" / "7" / IN_VERSION
    profile.parent.mkdir(parents=True, exist_ok=True)
    profile.write_text(profiles.to_json(trained()))
    again = feedback(config, [str(tmp_path / "answers")], tmp_path / "out", candidate="7").facts
    assert again["skew"] == {"version": "7", "features": []}  # the model takes none
    plain = again["candidate"]
    assert (plain["explored_lists"], "ips" in plain) == (0, False)
    with pytest.raises(InputError, match=r"--candidate 8: neither a version in"):
        feedback(config, [str(tmp_path / "answers")], tmp_path / "out", candidate="8")


def write_shop_config(folder: Path):
    from pipeline.config import load_config

    return load_config(folder / "shop.yaml", ["feedback.key_env=ANSWERS_KEY"])


@pytest.mark.slow
def test_what_cant_be_joined(tmp_path: Path) -> None:
    config = write_shop(tmp_path)
    with pytest.raises(InputError, match=r"--log nowhere/\*: there is no such log of answers"):
        feedback(config, ["nowhere/*"], tmp_path / "out")
    write_answers(tmp_path / "late" / "one.jsonl", [answer("ann", 1e9, ["a"])])
    with pytest.raises(InputError, match=r"no event is later than the first answer"):
        feedback(config, [str(tmp_path / "late")], tmp_path / "out")
    write_answers(tmp_path / "young" / "one.jsonl", [answer("ann", 99_000, ["a"])])
    with pytest.raises(InputError, match=r"no list to be joined \(1 lists whose window is not over yet\)"):
        feedback(config, [str(tmp_path / "young")], tmp_path / "out")
    write_answers(tmp_path / "nobody" / "one.jsonl", [answer(None, 1000, ["a"])])
    with pytest.raises(InputError, match=r"no list of shop to a known user \(1 lists of nobody in particular\)"):
        feedback(config, [str(tmp_path / "nobody")], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert S == 1_000_000


@pytest.mark.slow
def test_wrong_input_is_told_before_anything_heavy_is_loaded() -> None:
    code = "import sys, pipeline.feedback.run; print({'tensorflow', 'tfx'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
