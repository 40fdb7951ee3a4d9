"""Versions without users who are forgotten: made again by the Indexer alone, of the model that there is.

The metadata say what the Indexer made a version's servable of. It is run once more on that, whose events are without
the users by now, and what comes of it is published, and noted in the metadata as if a run had made it.
"""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2

from components import versions
from components.data_profile import IN_VERSION
from components.pusher.origin import ORIGIN, read_origin
from pipeline.code import PROPERTY, digest
from pipeline.local.lineage import Artifacts, Lineage, arguments_of, ends, made_of

MADE_FROM = "forgotten_from"
"""In a version's lineage: the number of the version that it takes the place of."""

_INDEXER = "components.indexer.executor"
_Event = metadata_store_pb2.Event


def reindexed(
    store: metadata_store.MetadataStore,
    lineage: Lineage,
    version: versions.Version,
    clean: Callable[[Any], Any] = lambda document: document,
) -> int:
    """Publishes a version that is another's in all but the users who are no more among its events.

    Args:
        store: The metadata.
        lineage: What they have of the pipeline.
        version: Which one's place it is to take.
        clean: Takes users out of a document that the version carries.

    Returns:
        The new version's number.

    Raises:
        NotMadeAgain: The metadata don't have it, or what it was made of is gone.
    """
    pusher, taken, indexer, inputs = made_of(store, lineage, version.number)
    made = _index(store, lineage, indexer, inputs, taken["model"])
    about = clean(versions.release(version.path))
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    about |= {"time": now, "fingerprint": made.custom_properties["fingerprint"].string_value}
    about["lineage"] = {**about.get("lineage", {}), MADE_FROM: str(version.number)}
    from tfx.utils import path_utils

    published = versions.publish(
        path_utils.serving_model_path(made.uri), version.path.parent, about, _beside(version, clean)
    )
    pushed = _copied(store, next(iter(ends(store, pusher, _Event.OUTPUT).values())), "")
    pushed.custom_properties["version"].string_value = str(published.number)
    pushed.custom_properties["pushed_destination"].string_value = str(published.path)
    pushed.custom_properties["summary"].string_value = f"version {published.number} without users who are forgotten"
    _note(store, pusher, {**taken, "model": made}, {"pushed_model": pushed})
    return published.number


def _index(
    store: metadata_store.MetadataStore,
    lineage: Lineage,
    execution: int,
    inputs: Artifacts,
    output: metadata_store_pb2.Artifact,
) -> metadata_store_pb2.Artifact:
    """Runs the Indexer as it was run, and notes it; returns what it made."""
    from tfx.types import standard_artifacts

    from components.indexer.executor import Executor

    given, properties = arguments_of(store, lineage, execution, inputs)
    # Beside the others: the folder's name, a time, is that of no execution.
    uri = Path(output.uri).parent / f"forget-{datetime.datetime.now(datetime.timezone.utc):%Y%m%d%H%M%S%f}"
    made = standard_artifacts.Model()
    made.uri = str(uri)
    try:
        uri.mkdir(parents=True)
        Executor().Do(given, {"model": [made]}, {**properties, PROPERTY: digest(_INDEXER)})
    except BaseException:
        shutil.rmtree(uri, ignore_errors=True)
        raise
    artifact = _copied(store, output, str(uri))
    for name in ("fingerprint", "summary"):
        artifact.custom_properties[name].string_value = made.get_string_custom_property(name)
    return _note(store, execution, inputs, {"model": artifact})["model"]


def _beside(version: versions.Version, clean: Callable[[Any], Any]) -> dict[Path, str]:
    """What the version carries that isn't the Indexer's."""
    documents = {}
    if (version.path / IN_VERSION).is_file():
        documents[IN_VERSION] = json.loads((version.path / IN_VERSION).read_text("utf-8"))
    if record := read_origin(version.path):
        documents[ORIGIN] = {**record, "reindexed": True}
    return {path: json.dumps(clean(document), indent=2, ensure_ascii=False) for path, document in documents.items()}


def _copied(
    store: metadata_store.MetadataStore, artifact: metadata_store_pb2.Artifact, uri: str
) -> metadata_store_pb2.Artifact:
    """A new artifact that is said to be as another one."""
    copy = metadata_store_pb2.Artifact(type_id=artifact.type_id, uri=uri, state=metadata_store_pb2.Artifact.LIVE)
    for mine, other in (
        (copy.properties, artifact.properties),
        (copy.custom_properties, artifact.custom_properties),
    ):
        for name, value in other.items():
            mine[name].CopyFrom(value)
    return copy


def _note(
    store: metadata_store.MetadataStore, like: int, inputs: Artifacts, outputs: Artifacts
) -> dict[str, metadata_store_pb2.Artifact]:
    """Notes an execution of the same node in the same run as another one; returns what it made.

    It is in no context of the cache, for the settings that it had are of then.
    """
    [earlier] = store.get_executions_by_id([like])
    execution = metadata_store_pb2.Execution(
        type_id=earlier.type_id, last_known_state=metadata_store_pb2.Execution.COMPLETE
    )
    for name, value in earlier.custom_properties.items():
        execution.custom_properties[name].CopyFrom(value)
    pairs = []
    for side, artifacts in ((_Event.INPUT, inputs), (_Event.OUTPUT, outputs)):
        for key, artifact in artifacts.items():
            event = _Event(type=side)
            event.path.steps.add().key = key
            pairs.append((artifact, event))
    kinds = {kind.id: kind.name for kind in store.get_context_types()}
    contexts = [c for c in store.get_contexts_by_execution(like) if kinds[c.type_id] != "execution_cache"]
    ids = store.put_execution(execution, pairs, contexts)[1]
    return dict(zip(outputs, store.get_artifacts_by_id(ids[len(inputs) :])))
