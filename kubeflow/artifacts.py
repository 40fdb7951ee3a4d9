"""Artifacts as Kubeflow Pipelines describes them in JSON, and as TFX's: where they are here, and what is known of them.

The types are those of TFX's component. What Kubeflow says of types is of no use: open-source KFP hands on artifacts of
earlier nodes with an empty schema, and numbers without telling integers from floats.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from components.errors import InputError

if TYPE_CHECKING:
    from tfx.types import Artifact

Json = dict[str, Any]

LOCAL_ROOT = "RECOMMENDER_ARTIFACTS_ROOT"
"""Environment variable: the folder under which the launcher's folders are, / by default."""

_FOLDERS = {"gs://": "/gcs/", "s3://": "/s3/", "minio://": "/minio/"}
"""Where KFP's launcher puts what it downloads and looks for what it uploads; on Vertex AI, /gcs is the store itself."""

_LOGS = "executor-logs"
"""An output that KFP's launcher adds and writes itself."""

_KFP_ONLY = ("display_name", "store_session_info")
"""What KFP notes on every artifact."""


def local_path(uri: str) -> str:
    """Returns the path in this container of an object store's URI; what is a path already stays as it is.

    Raises:
        InputError: The launcher knows no such store.
    """
    for scheme, folder in _FOLDERS.items():
        if uri.startswith(scheme):
            uri = folder + uri[len(scheme) :]
    if not uri.startswith("/"):
        raise InputError(
            f"{uri}: Kubeflow's launcher brings nothing from there; set kubeflow.pipeline_root to gs://, s3:// or minio://"
        )
    return os.path.join(os.environ.get(LOCAL_ROOT, "/"), uri.lstrip("/"))


def path_of(artifact: Json) -> str:
    """Returns where an artifact of KFP's is in this container."""
    return local_path(artifact.get("customPath") or artifact["uri"])


def output_paths(executor_input: Json) -> list[str]:
    """Returns where a node's outputs go, the file with their description last."""
    outputs = executor_input["outputs"]
    paths = [path_of(artifact) for name, artifact in single(outputs) if name != _LOGS]
    return [*paths, local_path(outputs["outputFile"])]


def single(side: Json) -> Iterator[tuple[str, Json]]:
    """Yields name and artifact of each of a node's inputs or outputs."""
    for name, listed in side.get("artifacts", {}).items():
        if listed.get("artifacts"):
            yield name, listed["artifacts"][0]


def to_tfx(artifact: Json, artifact_class: type[Artifact]) -> Artifact:
    """Returns an artifact of KFP's as TFX's of a class, its URI a local path."""
    result = artifact_class()
    result.uri = path_of(artifact)
    if artifact.get("name", "").isdecimal():  # the id in the metadata store
        result.id = int(artifact["name"])
    for key, value in artifact.get("metadata", {}).items():
        if isinstance(value, dict) and set(value) in ({"list"}, {"struct"}):  # the metadata store's wrapping
            value = next(iter(value.values()))
        if key in (artifact_class.PROPERTIES or {}):
            kind = {"INT": int, "FLOAT": float}.get(artifact_class.PROPERTIES[key].type.name)
            setattr(result, key, kind(value) if kind else value)
        elif key in _KFP_ONLY:
            continue
        elif isinstance(value, str):
            result.set_string_custom_property(key, value)
        else:
            # As JSON, a number is read as int or float, just as the reader asks; but floats only.
            result.set_json_value_custom_property(key, float(value) if type(value) is int else value)
    result.set_mlmd_artifact(result.mlmd_artifact)  # what is set as JSON is not seen before
    return result


def to_kfp(artifact: Artifact, described: Json, uris: Mapping[str, str]) -> Json:
    """Returns what a node found out about an output, for the launcher.

    Args:
        artifact: TFX's.
        described: KFP's, as it was handed to the node.
        uris: URIs by local path, for properties that are paths of artifacts.
    """
    message = artifact.mlmd_artifact
    metadata: Json = {key: getattr(artifact, key) for key in message.properties}
    for key, value in message.custom_properties.items():
        kind = value.WhichOneof("value")
        metadata[key] = artifact.get_json_value_custom_property(key) if kind == "struct_value" else getattr(value, kind)
    there = {
        key: uris.get(value, value) if isinstance(value, str) else value
        for key, value in metadata.items()
        # The launcher fails on what JSON can't say.
        if value is not None and not (isinstance(value, float) and not math.isfinite(value))
    }
    return {"name": described.get("name", ""), "uri": described["uri"], "metadata": there}
