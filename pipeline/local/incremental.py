"""Whether a run can go on from the last shipped model, and read only what is new."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Optional

from ml_metadata.proto import metadata_store_pb2

from components import suppression, versions
from components.examples.past import Read
from components.tables.reading import digests, find_files
from components.trainer.report import WEIGHTS
from pipeline.config import Config
from pipeline.config.incremental import Before

if TYPE_CHECKING:
    from ml_metadata.metadata_store import metadata_store


def find_before(
    config: Config, interactions: str, origin: dict[str, str], store: metadata_store.MetadataStore
) -> tuple[Optional[Before], str]:
    """Finds what a run of the config goes on from.

    Args:
        config: With `incremental`.
        interactions: The log's files, a path or a glob.
        origin: Digests of the config and of the code, as versions note them.
        store: The metadata.

    Returns:
        What the last shipped model was made of, or None for a run in full, and in words why.
    """
    settings = config.incremental
    assert settings is not None
    version = versions.newest(versions.model_dir(config.serving.base_path, config.name))
    if version is None:
        return None, "in full: nothing was shipped yet"
    lineage = versions.release(version.path).get("lineage", {})
    for key, words in (("learned_by", "config"), ("code", "code")):
        if lineage.get(key) != origin[key]:
            return None, f"in full: version {version.number} was made by another {words}"
    made = _Lineage(store, lineage["artifacts"]["model"])
    before = made.of_version(version)
    read = Read.of(before.examples) if before else None
    if before is None or read is None or not os.path.exists(os.path.join(before.run, WEIGHTS)):
        return None, f"in full: what version {version.number} was made of is gone"
    list_now = suppression.read(str(config.suppression()))
    if read.forgotten != (len(list_now.hashes) if list_now else 0):
        return None, f"in full: users were forgotten since version {version.number}"
    files = {file.path: file for file in find_files(interactions, config.data.interactions.format, "interactions")}
    gone = sorted(set(read.files) - set(files))
    if gone and config.data.interactions.window_days is None:
        return None, f"in full: {gone[0]} is no more"
    changed = sorted(path for path, known in read.files.items() if path in files and digests([files[path]]) != [known])
    if changed:
        return None, f"in full: {changed[0]} has changed"
    new = set(files) - set(read.files)
    if not new:
        # What made it would make it again, so what has not changed otherwise comes from the cache.
        return made.gone_on_from(), f"no file is new since version {version.number}"
    if read.nights + 1 >= settings.full_every:
        return None, f"in full: {read.nights} runs have read what was new alone"
    return before, f"{len(new)} of {len(files)} files are new, on from version {version.number}"


class _Lineage:
    """What the store knows of a shipped model.

    Args:
        store: The metadata.
        model: The id of the model's artifact.
    """

    def __init__(self, store: Any, model: int) -> None:
        self._store = store
        self._model = next(iter(store.get_artifacts_by_id([model])), None)

    def of_version(self, version: versions.Version) -> Optional[Before]:
        """What a version was made of; None where the store doesn't know."""
        if self._model is None or self._model.custom_properties["fingerprint"].string_value != version.fingerprint:
            return None
        indexed, trained, training = self._made()
        return Before(
            version=str(version.number),
            examples=indexed["interactions"].uri,
            transform_graph=trained["transform_graph"].uri,
            transformed_examples=trained["examples"].uri,
            catalogue_graph=trained["catalogue_graph"].uri,
            run=self._artifacts(training, outputs=True)["model_run"].uri,
        )

    def gone_on_from(self) -> Optional[Before]:
        """What the run that made the model went on from; None if it began anew."""
        indexed, trained, _ = self._made()
        if "before" not in trained:
            return None
        interactions = self._inputs(self._inputs(indexed["interactions"])["examples"])
        transform = self._inputs(self._inputs(trained["examples"])["transformed_before"])
        return Before(
            version="",
            examples=interactions["before"].uri,
            transform_graph=transform["graph_before"].uri,
            transformed_examples=transform["transformed_before"].uri,
            catalogue_graph=self._inputs(trained["catalogue_graph"])["graph_before"].uri,
            run=trained["before"].uri,
        )

    def _made(self) -> tuple[dict[str, Any], dict[str, Any], int]:
        """The inputs of the Indexer and of the Trainer, and the latter's execution."""
        indexed = self._inputs(self._model)
        training = self._maker(indexed["towers"])
        return indexed, self._artifacts(training), training

    def _inputs(self, artifact: Any) -> dict[str, Any]:
        """Of the execution that made an artifact."""
        return self._artifacts(self._maker(artifact))

    def _maker(self, artifact: Any) -> int:
        """The execution that made an artifact; later ones took it from the cache, or imported it."""
        events = self._store.get_events_by_artifact_ids([artifact.id])
        return min(event.execution_id for event in events if event.type == metadata_store_pb2.Event.OUTPUT)

    def _artifacts(self, execution: int, outputs: bool = False) -> dict[str, Any]:
        kind = metadata_store_pb2.Event.OUTPUT if outputs else metadata_store_pb2.Event.INPUT
        events = self._store.get_events_by_execution_ids([execution])
        keys = {event.artifact_id: event.path.steps[0].key for event in events if event.type == kind}
        return {keys[artifact.id]: artifact for artifact in self._store.get_artifacts_by_id(list(keys))}
