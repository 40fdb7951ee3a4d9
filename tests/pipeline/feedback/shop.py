"""A small shop's log of answers and its later events, of which everything can be counted by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.config import load_config
from pipeline.config.config import Config
from serving.client.answer_log import record

S = 1_000_000
"""Microseconds."""
DAY = 86_400 * S
EVENTS = [
    ("ann", "b", 1500, "click"),  # list 1, place 2
    ("ann", "a", 2500, "click"),  # list 2, place 2, which came later than list 1
    ("ann", "a", 2600, "buy"),  # likewise
    ("bob", "a", 4601, "click"),  # a second after the window of list 3
    ("bob", "z", 1100, "click"),  # was never shown
    ("ann", "c", 900, "click"),  # before any list
    ("bob", "c", 1200, "hate"),  # speaks against it
    ("zoe", "a", 100_000, "click"),
]
LISTS: list[tuple[str | None, int, int, str | None, list[str], str]] = [
    ("ann", 1000, 1, "stable", ["a", "b", "c"], "ios"),
    ("ann", 2000, 2, "canary", ["b", "a"], "ios"),
    ("bob", 1000, 1, "stable", ["a", "c"], "web"),
    (None, 1000, 1, "stable", ["a"], "web"),
    ("zoe", 99_000, 1, "stable", ["a"], "web"),  # its window isn't over
]


def answer(user: str | None, at: float, items: Sequence[str], **more: Any) -> dict[str, Any]:
    """A line of the log."""
    told: dict[str, Any] = {
        "by": "client",
        "request_id": f"{user}-{at}",
        "row": 0,
        "time_us": round(at * S),
        "model": "shop",
        "version": 1,
        "label": "stable",
        "source": "user",
        "latency_s": 0.001,
        "user": user,
        "history": [],
        "logged": 0,
        "context": {},
        "ruled": False,
        "items": items,
        "scores": [float(-place) for place in range(len(items))],
    }
    return record(**{**told, **more})


def write_answers(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_events(path: Path, events: Iterable[tuple[str, str, float, str]]) -> None:
    rows = [f"{user},{item},{at},{kind},," for user, item, at, kind in events]
    path.write_text("\n".join(["user_id,item_id,timestamp,event,device,position", *rows]) + "\n")


def write_shop(folder: Path, **feedback: Any) -> Config:
    """Writes `log.csv`, `answers/` and `shop.yaml`, and returns the config."""
    write_events(folder / "log.csv", EVENTS)
    lines = [
        answer(user, at, items, version=version, label=label, context={"device": device})
        for user, at, version, label, items, device in LISTS
    ]
    twice = answer("ann", 1000, ["a", "b", "c"], by="server")
    other = answer("ann", 1000, ["a"], model="other")
    write_answers(folder / "answers" / "one.jsonl", [*lines[:3], twice])
    write_answers(folder / "answers" / "two.jsonl", [*lines[3:], other])
    with open(folder / "answers" / "two.jsonl", "a") as file:
        file.write('{"format": 1, "mod')  # a torn line
    content = {
        "name": "shop",
        "data": {
            "interactions": {
                "path": str(folder / "log.csv"),
                "columns": {"event": "event"},
                "event_weights": {"click": 1, "buy": 2, "hate": -1, "impression": -0.1},
                "features": {"device": {"type": "category"}, "position": {"type": "number"}},
            }
        },
        "evaluation": {"bootstrap_replicates": 50},
        "serving": {"base_path": str(folder / "models")},
        "feedback": {"conversions": ["buy"], "window_hours": 1, "slices": ["device"], **feedback},
    }
    (folder / "shop.yaml").write_text(json.dumps(content))
    return load_config(folder / "shop.yaml")
