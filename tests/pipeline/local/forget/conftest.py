"""A shop of seven items with a version that the real Indexer has made, and all that a night leaves of its users."""

from __future__ import annotations

import contextlib
import gzip
import json
import shutil
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components import versions
from components.indexer.executor import Executor
from components.indexer.settings import IndexerSettings
from pipeline.local.forget.search import records
from serving.contract import WARMUP
from tests.components.conftest import write_examples
from tests.components.indexer.conftest import towers
from tests.components.indexer.tiny import ITEMS, LOG
from tests.pipeline.local.nights import Nights

__all__ = ["towers"]

USER = "bob, jr"
"""Who is forgotten."""


class Shop(Nights):
    """Nodes are InteractionGen, StatisticsGen, CatalogueGen, Trainer, Indexer and Pusher."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.made: dict[str, Any] = {}
        self.answers = folder / "answers"

    @property
    def version(self) -> versions.Version:
        """The one that was made first."""
        return versions.list_versions(self.versions)[0]

    def make(self, towers: str) -> None:
        """Makes all that a night leaves, by the Trainer's SavedModel that `towers` is."""
        rows = [{"user_id": user, "item_id": item, "timestamp": time} for user, item, time in LOG]
        events = self._made("InteractionGen", "examples", "Examples")
        write_examples(events, "train", rows)
        write_examples(events, "eval", [{"user_id": USER, "item_id": "a", "history": ["b"]}])
        rejects = self._made("InteractionGen", "rejects", "recommender.RejectedRows")
        (rejects / "report.json").write_text(json.dumps({"warnings": [f"ids have blanks, such as {USER!r}"], "n": 3}))
        (rejects / "rejected.csv").write_text(
            f'source,row,reason,line\nlog.csv,3,no time,"""{USER}"",a"\nlog.csv,4,x,y\n'
        )
        statistics = self._made("StatisticsGen", "statistics", "ExampleStatistics")
        (statistics / "FeatureStats.pb").write_bytes(b"\x0a\x07" + USER.encode())
        catalogue = self._made("CatalogueGen", "examples", "Examples")
        write_examples(catalogue, "catalogue", [{"item_id": item} for item in ITEMS])
        model = self._made("Trainer", "model", "Model")
        shutil.copytree(towers, model / "Format-Serving")
        (model / "Format-Serving" / "assets").mkdir(exist_ok=True)
        (model / "Format-Serving" / "assets" / "user_id").write_text(f"ann\n{USER}\ncleo")
        servable = self._made("Indexer", "model", "Model")
        properties = {
            "settings": IndexerSettings(default_k=3).model_dump_json(),
            "model_name": "shop",
            "filter_types": "{}",
        }
        self._index({"towers": model, "catalogue": catalogue, "interactions": events}, servable, properties)
        about = {"time": "2026-01-02T03:04:05+00:00", "lineage": {"data": f"such as {USER!r}"}, "metrics": {"mrr": 0.5}}
        version = versions.publish(path_utils.serving_model_path(str(servable)), self.versions, about)
        pushed = self._made("Pusher", "pushed_model", "PushedModel")
        artifact = self.made[str(pushed)]
        artifact.custom_properties["pushed"].int_value = 1
        artifact.custom_properties["version"].string_value = str(version.number)
        self._execute("InteractionGen", {}, {"examples": events, "rejects": rejects}, {"summary": f"such as {USER!r}"})
        self._execute("StatisticsGen", {"examples": events}, {"statistics": statistics})
        self._execute("CatalogueGen", {"interactions": events}, {"examples": catalogue})
        self._execute("Trainer", {"examples": events, "catalogue": catalogue}, {"model": model})
        inputs = {"towers": model, "catalogue": catalogue, "interactions": events}
        self._execute("Indexer", inputs, {"model": servable}, properties)
        self._execute("Pusher", {"model": servable, "examples": events}, {"pushed_model": pushed})
        (self.root / "logs" / "20260102-030405.log").write_text(f"asked for user {USER}\n")
        (self.root / "report.html").write_text(f"<h3>{USER}</h3>")
        (self.folder / "log.csv").write_text(f'user_id,item_id,timestamp\n"{USER}",a,1\nann,b,2\n')
        self.answers.mkdir()
        lines = [json.dumps({"user": user, "items": ["a"]}) for user in (USER, "ann")]
        (self.answers / "answers-1.jsonl").write_text("\n".join(lines) + "\n")

    def users(self, version: Path) -> list[str]:
        """The users whom a version knows."""
        return (version / "assets" / "users.txt").read_text().split("\n")

    def _made(self, node: str, key: str, kind: str) -> Path:
        path = self.root / "artifacts" / node / key / "1"
        path.mkdir(parents=True)
        artifact = metadata_store_pb2.Artifact(type_id=self._type("artifact", kind), uri=str(path), state=2)
        self.made[str(path)] = artifact
        return path

    def _execute(
        self, node: str, inputs: dict[str, Path], outputs: dict[str, Path], properties: Mapping[str, str] = {}
    ) -> None:
        made = metadata_store_pb2.Execution(type_id=self._type("execution", node), last_known_state=3)
        for name, value in properties.items():
            made.custom_properties[name].string_value = value
        pairs = []
        for side, ends in ((metadata_store_pb2.Event.INPUT, inputs), (metadata_store_pb2.Event.OUTPUT, outputs)):
            for key, path in ends.items():
                event = metadata_store_pb2.Event(type=side)
                event.path.steps.add().key = key
                pairs.append((self.made[str(path)], event))
        contexts = [
            self._context(*of) for of in (("pipeline", "shop"), ("pipeline_run", "1"), ("node", f"shop.{node}"))
        ]
        ids = self.store.put_execution(made, pairs, contexts)[1]
        for (artifact, _), identity in zip(pairs, ids):
            self.made[artifact.uri] = self.store.get_artifacts_by_id([identity])[0]

    @staticmethod
    def _index(inputs: dict[str, Path], output: Path, properties: dict[str, str]) -> None:
        given = {}
        for name, path in inputs.items():
            artifact = standard_artifacts.Model() if name == "towers" else standard_artifacts.Examples()
            artifact.uri = str(path)
            given[name] = [artifact]
        made = standard_artifacts.Model()
        made.uri = str(output)
        Executor().Do(given, {"model": [made]}, properties)


@pytest.fixture(scope="session")
def first_shop(tmp_path_factory: pytest.TempPathFactory, towers: str) -> Path:
    """Where one lies that is copied, for the Indexer takes seconds."""
    folder = tmp_path_factory.mktemp("shop")
    shop = Shop(folder)
    shop.make(towers)
    return folder


@pytest.fixture
def shop(tmp_path: Path, first_shop: Path) -> Shop:
    shutil.copytree(first_shop, tmp_path, dirs_exist_ok=True)
    with contextlib.closing(sqlite3.connect(tmp_path / "output" / "shop" / "metadata.sqlite")) as metadata, metadata:
        metadata.execute("UPDATE Artifact SET uri = replace(uri, ?, ?)", (str(first_shop), str(tmp_path)))
    return Shop(tmp_path)


@pytest.fixture
def quick_indexer(shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """An Indexer that leaves a servable the users of its events, and takes no time for it."""
    servable = tmp_path_factory.mktemp("servable")
    shutil.copytree(shop.root / "artifacts" / "Indexer" / "model" / "1", servable, dirs_exist_ok=True)

    def index(_: Executor, inputs: dict[str, Any], outputs: dict[str, Any], properties: dict[str, Any]) -> None:
        made = outputs["model"][0]
        shutil.copytree(servable, made.uri, dirs_exist_ok=True)
        Path(path_utils.serving_model_path(made.uri), WARMUP).unlink()  # which asks for the first user
        users = Path(path_utils.serving_model_path(made.uri), "assets", "users.txt")
        events = next(Path(inputs["interactions"][0].uri).glob("Split-train/*"))
        with gzip.open(events) as file:
            read = b"".join(records(file))
        users.write_text("\n".join(user for user in users.read_text().split("\n") if user.encode() in read))
        made.set_string_custom_property("fingerprint", "another")
        made.set_string_custom_property("summary", "as before")

    monkeypatch.setattr(Executor, "Do", index)
