"""What the metadata store (MLMD) knows of where a version comes from."""

from __future__ import annotations

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata


def pushed_from(metadata_handle: metadata.Metadata, version: str, key: str) -> str:
    """Returns the URI of an input of the Pusher that published a version; empty if the store knows nothing of it.

    Args:
        metadata_handle: The store, not open.
        version: Where the version lies, as the Pusher noted it.
        key: The input's name.
    """
    event_type = metadata_store_pb2.Event
    with metadata_handle as handle:
        store = handle.store
        pushed = [
            artifact.id
            for artifact in store.get_artifacts_by_type("PushedModel")
            if artifact.custom_properties["pushed_destination"].string_value == version
            and artifact.custom_properties["pushed"].int_value
        ]
        makers = [
            event.execution_id
            for event in (store.get_events_by_artifact_ids(pushed[-1:]) if pushed else ())
            if event.type == event_type.OUTPUT
        ]
        inputs = [
            event.artifact_id
            for event in (store.get_events_by_execution_ids(makers) if makers else ())
            if event.type == event_type.INPUT and event.path.steps[0].key == key
        ]
        return store.get_artifacts_by_id(inputs)[0].uri if inputs else ""
