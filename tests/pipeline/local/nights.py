"""Nights of a pipeline without its nodes: metadata as TFX writes them into a real SQLite file, files, and versions."""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2

from pipeline.config import Config

Execution, Event, Artifact = metadata_store_pb2.Execution, metadata_store_pb2.Event, metadata_store_pb2.Artifact

KILOBYTES = 20
"""Of each artifact and version."""


class Nights:
    """The shop's pipeline, whose nodes are Read, Look, Train and Push: events, statistics of them, a model, a version.

    Args:
        folder: Where all is made.
        output: The output, if that is not on disk.
    """

    def __init__(self, folder: Path, output: str = "") -> None:
        self.folder = folder
        self.config = Config.model_validate(
            {
                "name": "shop",
                "output": output or str(folder / "output"),
                "serving": {"base_path": str(folder / "models")},
                "data": {"interactions": {"path": str(folder / "log.csv")}},
            }
        )
        self.root = self.config.folder()
        self.versions = folder / "models" / "shop"
        (self.root / "logs").mkdir(parents=True, exist_ok=True)
        connection = metadata_store_pb2.ConnectionConfig()
        connection.sqlite.filename_uri = str(self.root / "metadata.sqlite")
        self.store = metadata_store.MetadataStore(connection)

    def night(self, number: int, until: str = "Push", pushes: bool = True) -> dict[str, int]:
        """A run; returns its artifacts by the nodes that made them.

        Args:
            number: The night's, from 1; its version is `version(number)`.
            until: The last node that came to its end.
            pushes: Whether the model is published.
        """
        run = f"2026-01-{number:02}"
        made: dict[str, int] = {}
        for node, kind, takes in (
            ("Read", "Examples", ()),
            ("Look", "ExampleStatistics", ("Read",)),
            ("Train", "Model", ("Read",)),
            ("Push", "PushedModel", ("Train",)),
        ):
            properties = {}
            if kind == "PushedModel" and pushes:
                properties = {"version": str(self.version(number)), "pushed": "1"}
                self.publish(self.version(number))
            artifact = self.artifact(f"{node}/out/{run}", kind, properties)
            made[node] = self.execution(run, node, [made[name] for name in takes], [artifact])
            if node == until:
                break
        (self.root / "logs" / f"{run}.log").write_text("x" * 1000)
        (self.root / "artifacts" / "Read" / ".system" / "executor_execution" / run).mkdir(parents=True)
        return made

    @staticmethod
    def version(number: int) -> int:
        """The number of a night's version."""
        return 20260100000000 + number * 1_000_000

    def publish(self, number: int) -> None:
        """Lays a version into the base path."""
        version = self.versions / str(number)
        (version / "assets.extra").mkdir(parents=True)
        (version / "saved_model.pb").write_bytes(b"x" * 1000 * KILOBYTES)
        now = datetime.datetime.now(datetime.timezone.utc).isoformat()
        (version / "assets.extra" / "release.json").write_text(json.dumps({"time": now}))

    def artifact(self, path: str, kind: str, properties: Mapping[str, str] = {}) -> Artifact:
        """A LIVE artifact of some kilobytes, which the metadata get with the execution that makes it."""
        folder = self.root / "artifacts" / path
        folder.mkdir(parents=True)
        (folder / "data").write_bytes(b"x" * 1000 * KILOBYTES)
        made = Artifact(type_id=self._type("artifact", kind), uri=str(folder), state=Artifact.LIVE)
        for name, value in properties.items():
            if name == "pushed":
                made.custom_properties[name].int_value = int(value)
            else:
                made.custom_properties[name].string_value = value
        return made

    def execution(
        self,
        run: str,
        node: str,
        inputs: Sequence[int],
        outputs: Sequence[int | Artifact],
        state: int = Execution.COMPLETE,
    ) -> int:
        """An execution in its contexts: pipeline, run, node, and a key of the cache; returns its output's id."""
        made = Execution(type_id=self._type("execution", node), last_known_state=state)
        made.custom_properties["settings"].string_value = "x" * 5000
        pairs = []
        for side, artifacts in ((Event.INPUT, inputs), (Event.OUTPUT, outputs)):
            for artifact in artifacts:
                found = self.store.get_artifacts_by_id([artifact])[0] if isinstance(artifact, int) else artifact
                event = Event(type=side)
                event.path.steps.add().key = "out"
                pairs.append((found, event))
        contexts = [
            self._context(kind, name)
            for kind, name in (
                ("pipeline", "shop"),
                ("pipeline_run", run),
                ("node", f"shop.{node}"),
                ("execution_cache", f"{run}/{node}"),
            )
        ]
        return self.store.put_execution(made, pairs, contexts)[1][-1]

    def states(self) -> dict[str, int]:
        """The states of artifacts by the end of their paths, such as `Read/out/2026-01-01`."""
        start = len(str(self.root / "artifacts")) + 1
        return {found.uri[start:]: found.state for found in self.store.get_artifacts()}

    def there(self) -> set[str]:
        """The same of the folders that are there."""
        root = self.root / "artifacts"
        return {str(path.relative_to(root)) for path in root.glob("*/out/*")}

    def bytes(self) -> int:
        """Of all files."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    @functools.cache  # noqa: B019 (a test's own, and to put a type takes a transaction)
    def _type(self, kind: str, name: str) -> int:
        made = getattr(metadata_store_pb2, f"{kind.capitalize()}Type")(name=name)
        return getattr(self.store, f"put_{kind}_type")(made)

    def _context(self, kind: str, name: str) -> metadata_store_pb2.Context:
        found = self.store.get_context_by_type_and_name(kind, name)
        return found or metadata_store_pb2.Context(type_id=self._type("context", kind), name=name)
