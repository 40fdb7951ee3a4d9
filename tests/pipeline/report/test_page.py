"""The page of a run: filled, escaped, honest about what is missing."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from markupsafe import Markup

from components.evaluation_report import Check
from pipeline.report import charts
from pipeline.report.page import clean, drops, metric_rows, report_page, slice_groups, tiles, verdict
from tests.pipeline.report import reports
from tests.pipeline.report.reports import NASTY, artifact, evaluation, node, run

SECTIONS = ["data", "training", "metrics", "slices", "exposure", "users", "similar", "blessing", "latency", "lineage"]


@pytest.fixture(autouse=True)
def _no_drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out what takes most of the time, and has tests of its own."""
    monkeypatch.setattr(charts, "_drawing", lambda *_: Markup("<svg></svg>"))


class Page(HTMLParser):
    """Elements and what they say."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, Any]] = []
        self.sections: dict[str, str] = {}
        self._section = ""
        self.feed(html)
        self.sections = {name: " ".join(words.split()) for name, words in self.sections.items()}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "section":
            self._section = dict(attrs)["id"]
            self.sections[self._section] = ""

    def handle_data(self, data: str) -> None:
        if self._section:
            self.sections[self._section] += f" {data}"


def test_every_section_is_filled() -> None:
    page = Page(report_page(reports.findings(), reports.samples(), ["this model"]))
    assert list(page.sections) == SECTIONS
    for words in page.sections.values():
        assert len(words) > 60
    sections = page.sections
    assert "200" in sections["data"]
    assert "rated 3 or less" in sections["data"]
    assert "Of 25.0% of the users" in sections["data"]
    assert "Dashed: pass 1, the best in validation NDCG@10." in sections["training"]
    assert "0.5000 ±0.1000" in sections["metrics"]
    assert "hit@10 against the champion, version 20260101000000: +0.0500 (+0.0100 to +0.0900)" in sections["metrics"]
    assert "too few" in sections["slices"]
    assert "From 512 of the evaluation's queries." in sections["exposure"]
    assert "✓ taken next" in sections["users"]
    assert "12 items before" in sections["users"]
    assert "3 training events" in sections["similar"]
    assert "the champion, less the drop allowed ✓ passed" in sections["blessing"]
    assert "4.4 ms" in sections["latency"]
    assert "At most 1,000 ms are allowed" in sections["latency"]
    assert "20260101000000 2026-01-01 00:00 UTC 0.4500" in sections["lineage"]
    assert "d6e2f08002ae" in sections["lineage"]


def test_nothing_of_the_data_is_markup() -> None:
    harmless = Page(report_page(reports.findings(), reports.samples(), ["this model"]))
    html = report_page(reports.findings(NASTY), reports.samples(NASTY), ["this model"])
    hostile = Page(html)
    assert not [name for name, _ in hostile.attributes if name.startswith("on")]
    assert hostile.tags == harmless.tags
    shown = clean(NASTY)
    assert "·" in shown  # what would turn the page's text around is made visible
    for section in ("data", "training", "users", "similar", "lineage"):
        assert " ".join(shown.split()) in hostile.sections[section]
    assert "\u202e" not in html


def test_only_the_pages_own_script_may_run_and_nothing_is_loaded() -> None:
    html = report_page(reports.findings(), reports.samples(), ["this model"])
    [script] = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert f"script-src &#39;sha256-{digest}&#39;" in policy
    assert "default-src &#39;none&#39;" in policy
    page = Page(html)
    links = [value for name, value in page.attributes if name in ("src", "href", "xlink:href") and value]
    assert all(link.startswith(("#", "data:")) for link in links)


def test_a_failed_run_says_in_each_section_what_is_missing() -> None:
    page = Page(report_page(reports.failed("the disk is full"), None, []))
    assert list(page.sections) == SECTIONS
    assert "The run ended here: the disk is full" in page.sections["training"]
    for section in ("metrics", "slices", "exposure", "users", "similar", "blessing", "latency"):
        assert "The run ended before this, at Trainer." in page.sections[section]
    assert "200" in page.sections["data"]  # it got so far


def test_a_run_without_nodes_is_a_page_too() -> None:
    empty = dataclasses.replace(
        reports.failed(), run=run(failure="no such file"), log=None, item_counts=None, item_ids=(), events=None
    )
    page = Page(report_page(empty, None, []))
    assert "The run ended before this: no such file" in page.sections["data"]
    assert verdict(empty).text == "Failed"


def test_a_log_without_times_drops_slices_and_thresholds() -> None:
    found = reports.findings()
    log = {**found.log, "timed": False, "dropped": {}, "rejected": [], "cut": 5}  # type: ignore[dict-item]
    report = dataclasses.replace(
        evaluation(),
        metrics={model: {"overall": slices["overall"]} for model, slices in evaluation().metrics.items()},
        checks=(),
    )
    events = dataclasses.replace(found.events, timeline=None)  # type: ignore[type-var]
    page = Page(report_page(dataclasses.replace(found, log=log, report=report, events=events), None, []))
    assert "Every row is used" in page.sections["data"]
    assert "The log has no times" in page.sections["data"]
    assert "No slices are configured" in page.sections["slices"]
    assert "No threshold is configured" in page.sections["blessing"]


def test_how_a_run_ended() -> None:
    whole = reports.findings()
    assert verdict(whole).text == "Published as version 20260102030405"
    nothing_new = artifact(version="20260101000000")
    again = dataclasses.replace(whole, run=run(node("Pusher", pushed_model=nothing_new)))
    assert verdict(again).text == "Nothing new: version 20260101000000 is this model"
    refused = dataclasses.replace(
        reports.findings(blessed=False), validation={"blessed": False, "failures": ["slow"], "grpc": None, "rest": None}
    )
    assert verdict(refused).text == "Not blessed by the Evaluator and the ServableValidator"
    assert verdict(reports.failed()).text == "Failed at Trainer"
    stopped = dataclasses.replace(whole, run=run(node("Trainer", "stopped")))
    assert verdict(stopped).text == "Stopped at Trainer"
    some = dataclasses.replace(whole, run=run(node("Trainer")), report=None, validation=None)
    assert verdict(some).text == "Ran up to Trainer"


def test_why_a_model_was_refused_is_on_the_page() -> None:
    validation = {"blessed": False, "failures": ["p99 latency 9.0 ms, more than the 1 ms allowed", NASTY], "grpc": None}
    validation |= {"rest": None, "peak_memory_mb": None}
    found = dataclasses.replace(reports.findings(hit=0.4, blessed=False), validation=validation)
    page = Page(report_page(found, reports.samples(), ["this model"]))
    assert "0.4000 0.4400 the champion, less the drop allowed ✗ failed" in page.sections["blessing"]
    assert "p99 latency 9.0 ms" in page.sections["blessing"]
    assert "refused before its latency was measured" in page.sections["latency"]


def test_the_table_marks_the_best_of_the_ranking_metrics() -> None:
    rows = {row.name: row for row in metric_rows(evaluation(hit=0.4))}
    assert list(rows) == ["hit@1", "hit@10", "coverage@10", "average popularity@10"]
    assert [cell.best for cell in rows["hit@10"].cells] == [False, True, False]
    assert not any(cell.best for cell in rows["coverage@10"].cells)
    assert [cell.value for cell in rows["hit@10"].cells] == ["0.4000", "0.4500", "0.2000"]
    assert rows["hit@10"].cells[0].spread == "±0.1000"
    assert rows["average popularity@10"].cells[0].value == "187.6"


def test_bands_of_popularity_go_from_the_head_to_what_is_new() -> None:
    [(name, rows)] = slice_groups(evaluation())
    assert name == "item popularity"
    assert [(row.name, row.count) for row in rows] == [("head", "5"), ("tail", "2"), ("new", "2")]
    assert [cell.value for cell in rows[1].cells] == ["too few"] * 3
    assert rows[0].cells[0].best


def test_what_is_striking_about_the_log_is_listed() -> None:
    findings = reports.findings()
    assert findings.log is not None
    assert "Striking" not in Page(report_page(findings, None, ["this model"])).sections["data"]
    log = {**findings.log, "warnings": ["one user, '<b>', has 128 of 192 events"]}
    page = report_page(dataclasses.replace(findings, log=log), None, ["this model"])
    assert "Striking about the log: one user, '<b>', has 128 of 192 events" in Page(page).sections["data"]


def test_drops_come_by_size_with_their_share() -> None:
    found = drops(reports.findings("no user"))
    assert found == [("dropped", "rated 3 or less", 20, 0.1), ("rejected", "no user", 3, 0.015)]


def test_the_first_figures() -> None:
    found = {tile.name: (tile.value, tile.note) for tile in tiles(reports.findings())}
    assert found["hit@10"] == ("0.5000", "±0.1000 at 95%")
    assert found["against the champion"] == ("+0.0500", "+0.0100 to +0.0900")
    assert found["against popularity"] == ("+0.3000", "−0.0100 to +0.4000")
    assert found["latency, gRPC"] == ("4.4 ms", "p99 10.3 ms")
    assert tiles(reports.failed())[0].name == "events"


def test_without_intervals_there_is_no_spread() -> None:
    report = dataclasses.replace(evaluation(), intervals={}, leads=())
    assert metric_rows(report)[1].cells[0].spread == ""
    page = Page(report_page(dataclasses.replace(reports.findings(), report=report), None, []))
    assert "±" not in page.sections["metrics"]


def test_an_item_without_a_title_is_its_id_once() -> None:
    page = Page(report_page(reports.findings(), reports.samples("sku 7"), ["this model"]))
    assert "sku 7 sku 7: sku 7" in page.sections["similar"]  # title, then its features; not the id again
    assert "sku 7 sku 7 · " not in page.sections["similar"]


def test_what_carries_a_recommendation_is_beside_it() -> None:
    page = Page(report_page(reports.findings(), reports.samples("a title"), ["this model"]))
    assert "✓ taken next a title: a title because of x , a title x" in page.sections["users"]
    assert page.sections["users"].count("because of") == 1, "for of the second item nothing is known"
    samples = reports.samples("a title")
    silent = dataclasses.replace(samples, users=(dataclasses.replace(samples.users[0], because=()),))
    assert "because" not in Page(report_page(reports.findings(), silent, ["this model"])).sections["users"]


def test_a_check_that_is_a_plain_threshold() -> None:
    report = dataclasses.replace(evaluation(), checks=(Check("hit_rate@10", "user_type=new", 0.5, 0.3, "min", True),))
    page = Page(report_page(dataclasses.replace(reports.findings(), report=report), None, []))
    assert "user_type=new 0.5000 0.3000 the threshold ✓ passed" in page.sections["blessing"]


def test_a_page_stays_small_whatever_the_data_are() -> None:
    found, slices = reports.findings("x" * 10**6), {f"plan={number}": {"count": number} for number in range(10_000)}
    report = dataclasses.replace(
        evaluation(), metrics={name: {**values, **slices} for name, values in evaluation().metrics.items()}
    )
    html = report_page(dataclasses.replace(found, report=report), reports.samples("y" * 10**6), ["this model"])
    assert len(html) < 500_000
    assert "hit@10 by plan (50 of 10,000)" in html
    assert "<th>9999</th>" in html
    assert "<th>9949</th>" not in html


def test_limits_of_the_data_and_what_was_let_through() -> None:
    whole = reports.findings()
    assert whole.guards is not None

    def data(**changes: Any) -> str:
        guards = {**whole.guards, **changes}
        page = report_page(dataclasses.replace(whole, guards=guards), reports.samples(), ["this model"])
        return Page(page).sections["data"]

    said = "rows without shop 40.0% 2.0% 32.0% guards.max_missing_rise no"
    assert (
        f"1 limits of the data, beside those of version 20260101000000 figure now before limit key kept {said}"
        in data()
    )
    assert "Out of the limits" not in data()
    assert "Out of the limits, and let through: a <sale>" in data(accepted="a <sale>")
    assert "no pushed run to compare with" in data(last_pushed="")
    stopped = dataclasses.replace(
        whole, guards=None, run=run(node("InteractionGen"), node("Guards", "failed", "events: 5, 100 before"))
    )
    page = Page(report_page(stopped, None, []))
    assert "The run ended here: events: 5, 100 before" in page.sections["data"]


def test_what_the_champion_s_own_night_says_is_on_the_page() -> None:
    report = dataclasses.replace(
        evaluation(),
        checks=(
            Check("hit_rate@10", "overall", 0.5, 0.44, "champion", True, own_night=True),
            Check("ndcg@10", "overall", 0.5, 0.4, "lead", True),
        ),
        own_night="7 of the champion's own queries were asked too",
    )
    found = dataclasses.replace(reports.findings(), report=report)
    blessing = Page(report_page(found, reports.samples(), ["this model"])).sections["blessing"]
    assert "hit@10 the champion's own 0.5000 0.4400 the champion, less the drop allowed ✓ passed" in blessing
    assert "NDCG@10 all 0.5000 0.4000 the champion's lead over the baselines" in blessing
    assert "7 of the champion's own queries were asked too." in blessing


def test_what_was_judged_and_what_is_shipped_are_told_apart() -> None:
    page = Page(report_page(reports.findings(), reports.samples(), ["this model"]))
    said = " ".join(page.sections["blessing"].split())
    assert "the fingerprint ffffffffffff" in said
    assert "0123456789ab , was trained on all events" in said.replace("0123456789ab,", "0123456789ab ,")
    assert "knows 123 users with histories, where the judged one knows 12." in said
    assert "Asked by 256 histories it gives 0.80 of the judged model's answers, beyond chance" in said
    assert "1.03 times as far apart" in said
