"""Makes TFX's cache answer by where artifacts are kept, not by where this machine works on them.

TFX's keys are digests of the inputs' metadata and of the exec properties, folders among both, and the launcher has no
place to say otherwise. With an output in an object store each machine has another folder, and the same keys all the
same, once `cache_utils.get_cache_context` is told the store's names.

`tests/pipeline/local/test_cache_keys.py` tells of a release of TFX that asks otherwise.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration.portable import cache_utils


@contextlib.contextmanager
def named_as(folder: str, place: str) -> Iterator[None]:
    """Gives a folder of this machine another name in keys of the cache while the block runs.

    Args:
        folder: The folder.
        place: What it is called.
    """
    original = cache_utils.get_cache_context

    def named(text: str) -> str:
        # In JSON, which settings are, a folder may be spelt otherwise.
        return text.replace(json.dumps(folder)[1:-1], place).replace(folder, place)

    def get(
        *,
        input_artifacts: Mapping[str, Sequence[Any]] | None = None,
        parameters: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> Any:
        inputs = {key: [_renamed(each, named) for each in found] for key, found in (input_artifacts or {}).items()}
        given = {key: named(value) if isinstance(value, str) else value for key, value in (parameters or {}).items()}
        return original(input_artifacts=inputs, parameters=given, **others)

    cache_utils.get_cache_context = get
    try:
        yield
    finally:
        cache_utils.get_cache_context = original


def _renamed(artifact: Any, named: Any) -> Any:
    """What the key takes of an artifact, its metadata, with other names of folders."""
    copy = metadata_store_pb2.Artifact()
    copy.CopyFrom(artifact.mlmd_artifact)
    copy.uri = named(copy.uri)
    for properties in (copy.properties, copy.custom_properties):
        for value in properties.values():
            if value.string_value:
                value.string_value = named(value.string_value)
    return SimpleNamespace(mlmd_artifact=copy)
