"""A log of views and purchases, of different items, and a model that weighs the two as each request wants."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from components.evaluation_report import CANDIDATE, COUNT, load_report
from serving import contract
from tests.e2e import world
from tests.e2e.conftest import outputs
from tests.e2e.world import Ended

pytestmark = pytest.mark.slow

PLACES = 30


def run(folder: Path, **model: Any) -> Ended:
    """Runs a log in which who has viewed v7 views v8 next, or buys b7 before."""
    draw = random.Random(3)
    rows = []
    for user in range(150):
        time, place = world.START + user * 5_000, draw.randrange(PLACES)
        for _ in range(12):
            time += draw.randrange(60, 600)
            rows.append((f"u{user}", f"v{place}", time, "view"))
            if draw.random() < 0.5:
                rows.append((f"u{user}", f"b{place}", time + 30, "buy"))
            place = (place + 1) % PLACES
    with open(folder / "log.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("user_id", "item_id", "timestamp", "type"), *rows])
    content = {
        "name": world.NAME,
        "data": {"interactions": {"path": "log.csv", "columns": {"event": "type"}}},
        "model": {"dim": 16, **model},
        "training": {"epochs": 8, "batch_size": 64, "learning_rate": 0.02},
        "evaluation": {
            "ks": [1, 10],
            "slices": [["event"]],
            "min_slice_size": 5,
            "bootstrap_replicates": 0,
            "thresholds": {},
            "baselines": {"names": ["popularity"]},
        },
        "validation": {"num_requests": 20, "max_latency_ms": None},
        "serving": {"base_path": "models"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return world.run(folder)


def test_each_task_finds_its_own_items(tmp_path: Path) -> None:
    import tensorflow as tf

    from components.examples.reading import padded, read_columns, scalars

    tasks = {"purchase": {"events": ["buy"], "weight": 3}, "browse": {"events": ["view"]}}
    ended = run(tmp_path, tasks=tasks)
    assert ended.code == 0, ended.text
    root = tmp_path / "output" / world.NAME
    version = Path(outputs(root, "Indexer")["model"].uri, "Format-Serving")  # what was judged, not what is shipped
    noted = {task["name"]: task["weight"] for task in contract.read_manifest(version)["tasks"]}
    assert noted == {"purchase": 0.75, "browse": 0.25}
    names = ("item_id", "event", "history", "seen")
    queries = read_columns(outputs(root, "InteractionGen")["examples"].uri, "eval", dict.fromkeys(names, bytes))
    item, event = (scalars(queries, name) for name in names[:2])
    history, seen = (padded(queries, name).tolist() for name in names[2:])
    recommend = tf.saved_model.load(str(version)).signatures[contract.RECOMMEND_FOR_TASKS]

    def hit(**weights: float) -> dict[str, float]:
        """Share of the queries of each type whose item comes first."""
        count = len(item)
        nobody, none = tf.fill([count], ""), tf.fill([count, 0], "")
        no_rules = {"allow": none, "filter": none, "boost": none, "boost_by": tf.zeros([count, 0])}
        answer = recommend(
            **{"user_id": nobody, "history": tf.constant(history), "exclude": tf.constant(seen), "context": nobody},
            **{**no_rules, "diversity": tf.zeros([count]), "k": tf.constant(1)},
            tasks=tf.constant([[*weights]] * count),
            task_weights=tf.constant([[*weights.values()]] * count, tf.float32),
        )
        own = answer["item_ids"].numpy()[:, 0] == item
        return {kind: float(np.mean(own[event == kind.encode()])) for kind in ("buy", "view")}

    purchase, browse = hit(purchase=1.0, browse=0.0), hit(browse=0.5)
    # Who has bought has nothing left to buy, so that a view may come first after all; the linear part, which knows no
    # tasks, speaks for it.
    assert purchase["buy"] > 0.9 > 0.1 > browse["buy"]
    assert browse["view"] > 0.8 > 0.6 > purchase["view"]
    # What is judged is what is served without weights, and its slices are those of the tasks.
    table = load_report(outputs(root, "Evaluator")["evaluation"].uri).metrics[CANDIDATE]
    default = hit(purchase=3.0, browse=1.0)
    for kind in ("buy", "view"):
        assert table[f"event={kind}"][COUNT] == (event == kind.encode()).sum()
        assert table[f"event={kind}"]["hit_rate@1"] == pytest.approx(default[kind], abs=0.02)


def test_an_event_without_a_task_stops_the_run_with_one_message(tmp_path: Path) -> None:
    ended = run(tmp_path, tasks={"purchase": {"events": ["buy"]}})
    assert ended.code == 2
    assert "model.tasks: no task learns the events of type 'view'" in ended.text
    assert "Traceback" not in ended.text
