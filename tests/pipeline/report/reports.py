"""Runs that never were, for the tests of the report."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_metadata.proto import metadata_store_pb2

from components.evaluation_report import Check, Lead, Report
from pipeline.report.findings import Ancestor, Events, Findings, Timeline
from pipeline.report.history import Node, Run
from pipeline.report.samples import CATALOGUE, EVENTS, MODEL, TAKEN, Item, ItemSample, Samples, UserSample

NASTY = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)> $x$ \u202e & 🎬"
"""What nobody should call anything."""

START = datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.timezone.utc)


def artifact(uri: str = "/nowhere", number: int = 1, **texts: str) -> metadata_store_pb2.Artifact:
    """An artifact with string custom properties."""
    made = metadata_store_pb2.Artifact(id=number, uri=uri)
    for name, text in texts.items():
        made.custom_properties[name].string_value = text
    return made


def node(name: str, state: str = "done", failure: str = "", settings: Mapping[str, Any] = {}, **outputs: Any) -> Node:
    """A node that took 2.5 seconds."""
    return Node(name, state, START, 2.5, settings, outputs, failure)


def run(*nodes: Node, failure: str = "") -> Run:
    """A run of nodes."""
    return Run("2026-01-02T03:04:05.678901", {node.name: node for node in nodes}, failure)


def evaluation(hit: float = 0.5, blessed: bool = True) -> Report:
    """What an Evaluator might find of a model, a champion and popularity."""

    def figures(value: float) -> dict[str, float]:
        return {
            "hit_rate@1": value / 2,
            "hit_rate@10": value,
            "coverage@10": value / 4,
            "average_popularity@10": 187.58,
        }

    slices = {"overall": 9, "item_popularity=head": 5, "item_popularity=new": 2, "item_popularity=tail": 2}
    values = {"candidate": hit, "champion": 0.45, "popularity": 0.2}
    return Report(
        metrics={
            model: {name: {"count": count, **(figures(value) if count > 2 else {})} for name, count in slices.items()}
            for model, value in values.items()
        },
        checks=(Check("hit_rate@10", "overall", hit, 0.44, "champion", blessed),),
        blessed=blessed,
        headline="hit_rate@10",
        depths={"candidate": 10},
        exclude="all",
        left_out=3,
        batch_size=1,
        min_slice_size=3,
        intervals={"candidate": {"overall": {"hit_rate@10": (hit - 0.1, hit + 0.1)}}},
        leads=(Lead("champion", hit - 0.45, (0.01, 0.09)), Lead("popularity", hit - 0.2, (-0.01, 0.4))),
    )


def findings(text: str = "shop", hit: float = 0.5, blessed: bool = True) -> Findings:
    """What a whole run might find out, with `text` wherever the data or the config have a say."""
    pushed = artifact(summary=text, version="20260102030405")
    pushed.custom_properties["pushed"].int_value = 1
    return Findings(
        name="shop",
        run=run(
            node("InteractionGen", settings={"input_path": text, "input_fingerprint": "abc"}, examples=artifact()),
            node("CatalogueGen", examples=artifact(summary=text)),
            node("Champion", champion=artifact(version="20260101000000")),
            node("Evaluator", evaluation=artifact()),
            node("Pusher", pushed_model=pushed),
        ),
        log={
            "rows": 200,
            "rejected": [{"source": "a.csv", "reason": text, "rows": 3}],
            "dropped": {"rated 3 or less": 20, "unused rule": 0},
            "events": {"train": 150, "eval": 27},
            "facts": {"training users": 12, "evaluation events of known users": 9},
            "cut": 1_000_000,
            "timed": True,
            "problem": None,
        },
        item_counts=np.array([100, 30, 10, 5, 1, 1, 1, 1, 1]),
        item_ids=tuple(f"i{number}".encode() for number in range(9)),
        events=Events(0.25, Timeline("day", ("2026-01-01", "2026-01-02"), (150, 0), (0, 27)), ((1, 7), (2, 5))),
        training={
            "summary": text,
            "parameters": 6,
            "layers": [{"name": text, "shape": [3, 2], "parameters": 6}],
            "epochs": [
                {"epoch": 1, "loss": 3.0, "hit@10": 0.1, "ndcg@10": 0.05},
                {"epoch": 2, "loss": 2.0, "hit@10": 0.2, "ndcg@10": 0.04},
            ],
        },
        servable=Path("/nowhere"),
        champion=None,
        manifest={"num_items": 10, "num_users": 12, "fingerprint": "f" * 64},
        report=evaluation(hit, blessed),
        guards={
            "last_pushed": "20260101000000",
            "accepted": "",
            "checks": [
                {
                    "figure": f"rows without {text}",
                    "today": "40.0%",
                    "before": "2.0%",
                    "limit": "32.0%",
                    "setting": "guards.max_missing_rise",
                    "passed": False,
                }
            ],
        },
        shipped={"fingerprint": "0123456789abcdef", "num_users": 123},
        validation={
            "likeness": {"queries": 256, "overlap": 0.8, "drift": 1.03, "twice": 0, "no_numbers": 0},
            "blessed": True,
            "failures": [],
            "grpc": {"p50": 4.37, "p99": 10.35},
            "rest": {"p50": 2.26, "p99": 5.68},
            "peak_memory_mb": 594.6,
        },
        settings={
            "training": {"stop_on": "ndcg@10", "epochs": 2},
            "validation": {"num_requests": 100, "max_latency_ms": 1000.0, "max_memory_mb": None},
            "note": text,
        },
        origin={"config": "d6e2f08002ae", "code": text},
        ancestors=(Ancestor("20260101000000", "2026-01-01 00:00 UTC", text, "c0ffee", {"hit_rate@10": 0.45}),),
    )


def failed(message: str = "disk full") -> Findings:
    """A run whose Trainer failed."""
    whole = findings()
    nodes = [found for name, found in whole.run.nodes.items() if name in ("InteractionGen", "CatalogueGen")]
    return dataclasses.replace(
        whole,
        run=run(*nodes, node("Trainer", "failed", message)),
        training=None,
        servable=None,
        manifest={},
        report=None,
        shipped={},
        validation=None,
        origin={},
        ancestors=(),
    )


def samples(text: str = "a title", models: int = 1) -> Samples:
    """Answers of models, in which all is called `text`."""
    item, other = Item(text, text, ((text, text),)), Item("x", "")
    return Samples(
        users=(
            UserSample(
                text, False, (item,), 12, item, ((item, other),) * models, ("history",) * models, ((other, item), ())
            ),
        ),
        items=(ItemSample(item, 3, ((other, item),) * models),),
        queries=512,
        bands={
            **{f"{MODEL}{number}": (0.7, 0.2, 0.1, 0.0) for number in range(models)},
            TAKEN: (0.5, 0.3, 0.1, 0.1),
            EVENTS: (0.6, 0.3, 0.1, 0.0),
            CATALOGUE: (0.1, 0.4, 0.4, 0.1),
        },
        overlap=0.5 if models > 1 else None,
    )
