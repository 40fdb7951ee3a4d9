"""`recommender reindex` on the small world: a changed catalogue under the model that is there."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2

from components.versions import release
from tests.e2e.conftest import Small, executions, fingerprint, store
from tests.e2e.world import Ended, versions, write_config

pytestmark = pytest.mark.slow

CALL = ("reindex", "--config", "config.yaml")
NEW = "brand new, 2026"
NODES = {
    *("CatalogueGen", "StatisticsGen", "Guards", "Indexer", "Champion", "Evaluator"),
    *("AllEvents", "ShippedIndexer", "ServableValidator", "Pusher"),
}


def change_catalogue(folder: Path, gone: str) -> dict[str, str]:
    """Takes an item off the catalogue and lists another with its features; returns the row."""
    path = folder / "data" / "items.csv"
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    [old] = [row for row in rows if row["item_id"] == gone]
    new = {**old, "item_id": NEW, "title": "Title of what is new"}
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(old), lineterminator="\n")
        writer.writeheader()
        writer.writerows([*(row for row in rows if row["item_id"] != gone), new])
    return new


def answers(version: Path, user: str) -> list[str]:
    """All items that a version has for a user, best first."""
    import tensorflow as tf

    recommend = tf.saved_model.load(str(version)).signatures["recommend"]
    none = tf.fill([1, 0], "")
    found = recommend(user_id=tf.constant([user]), history=none, exclude=none, k=tf.constant(100))["item_ids"].numpy()
    return [item.decode() for item in found[0] if item]


def inputs_of(root: Path, execution_id: int) -> dict[str, int]:
    """Ids of the artifacts that an execution took, by key."""
    events = store(root).get_events_by_execution_ids([execution_id])
    return {e.path.steps[0].key: e.artifact_id for e in events if e.type == metadata_store_pb2.Event.INPUT}


def test_new_items_come_and_vanished_go_without_training(small: Small, cli: Callable[..., Ended]) -> None:
    gone = "item-30"
    change_catalogue(small.folder, gone)
    before = executions(small.root)
    towers = small.artifact("Trainer", "model").id
    ended = cli(small.folder, *CALL)
    assert ended.code in (0, 3), ended.text
    assert set(ended.states()) == NODES, ended.text
    assert (ended.states()["StatisticsGen"], ended.states()["Indexer"]) == ("cached", "done")
    after = executions(small.root)
    trained = [e for e in after["Trainer"] if e not in before["Trainer"]]
    assert [e.last_known_state for e in trained] == [metadata_store_pb2.Execution.CACHED]
    assert after["CatalogueTransform"] == before["CatalogueTransform"]
    # The lineage: the index is of the old towers and the new catalogue.
    taken = inputs_of(small.root, after["Indexer"][-1].id)
    assert taken["towers"] == towers
    assert taken["catalogue"] == small.artifact("CatalogueGen", "examples").id

    servable = Path(small.artifact("Indexer", "model").uri) / "Format-Serving"
    found = answers(servable, small.world.users[3])
    assert NEW in found
    assert gone not in found
    # Items that no catalogue ever listed stay, as a run has them.
    items = set((servable / "assets" / "items.txt").read_text(encoding="utf-8").split("\n"))
    assert set(small.world.unlisted) <= items
    assert gone not in items

    # What vanished stays away when the catalogue is indexed once more.
    again = cli(small.folder, *CALL)
    assert again.states()["Indexer"] == "cached", again.text


def test_only_what_is_listed(small: Small, cli: Callable[..., Ended]) -> None:
    ended = cli(small.folder, *CALL, "--set", "serving.only_listed=true")
    assert ended.code in (0, 3), ended.text
    servable = Path(small.artifact("Indexer", "model").uri) / "Format-Serving"
    items = set((servable / "assets" / "items.txt").read_text(encoding="utf-8").split("\n"))
    assert items == {*small.world.items, *small.world.never_seen} - set(small.world.unlisted)
    described = json.loads((servable / "assets.extra" / "recommender.json").read_text(encoding="utf-8"))
    assert described["num_items"] == len(items)


def test_a_blessed_index_is_pushed(small: Small, cli: Callable[..., Ended]) -> None:
    old = versions(small.folder)
    with open(small.folder / "data" / "items.csv", "a", encoding="utf-8") as file:
        file.write(f'"{NEW}",Title of it,film,old,3\n')
    ended = cli(small.folder, *CALL)
    assert ended.code == 0, ended.text
    [version] = [path for path in versions(small.folder) if path not in old]
    assert "is published" in ended.stdout
    assert NEW in answers(version, small.world.users[3])
    assert release(version)["judged"] == fingerprint(small.judged)
    # The model that was trained on all events is indexed anew, as the judged one is.
    taken = inputs_of(small.root, executions(small.root)["ShippedIndexer"][-1].id)
    assert taken["towers"] == small.artifact("ShippedTrainer", "model").id
    assert release(version)["lineage"]["parent"] == old[-1].name


def test_a_catalogue_that_has_lost_items_is_not_indexed(small: Small, cli: Callable[..., Ended]) -> None:
    path = small.folder / "data" / "items.csv"
    path.write_text("\n".join([*path.read_text(encoding="utf-8").split("\n")[:56], ""]), encoding="utf-8")
    ended = cli(small.folder, *CALL, "--json", "--set", "guards.min_size=0.95")
    assert ended.code == 3, ended.text
    facts = json.loads(ended.stdout)
    assert "listed items: 55, 60 before; the limit is at least 95% of that (guards.min_size)" in facts["breaches"]
    states = {node["node"]: node["state"] for node in facts["nodes"]}
    assert (states["Guards"], "Indexer" in states) == ("failed", False)


def test_before_the_first_training(folder: Path, cli: Callable[..., Ended]) -> None:
    ended = cli(folder, *CALL)
    assert ended.code == 2
    assert "there was no run yet; make one with `recommender run`" in " ".join(ended.text.split())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"data.catalogue.path": "", "data.catalogue.display": None, "data.catalogue.features": {}},
            "nothing to index",
        ),
        ({"data.catalogue.features": {"kind": {"type": "category"}}}, "train it again by `recommender run`"),
    ],
)
def test_what_the_model_can_not_take(
    small: Small, cli: Callable[..., Ended], changes: dict[str, object], message: str
) -> None:
    write_config(small.folder / "config.yaml", changes)
    ended = cli(small.folder, *CALL)
    assert ended.code == 2
    assert message in " ".join(ended.text.split())
