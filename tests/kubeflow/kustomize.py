"""What `kustomize build` makes of a folder, for the few of its features that our manifests use.

Anything else in a kustomization is an error here, so that what the tests check is what a cluster gets. Where kustomize
itself is on the PATH, a test compares.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]

_KEYS = {
    *("apiVersion", "kind", "namespace", "resources", "labels", "images"),
    *("configMapGenerator", "patches", "configurations"),
}
_CLUSTER_WIDE = {"Namespace", "ClusterRole", "ClusterRoleBinding"}


def build(folder: Path) -> list[Json]:
    """The resources of a kustomization, without kustomize's order."""
    (content,) = _documents(folder / "kustomization.yaml")
    unknown = set(content) - _KEYS
    assert not unknown, f"{folder}: {unknown}"
    resources: list[Json] = []
    for name in content.get("resources", ()):
        path = folder / name
        resources += build(path) if path.is_dir() else copy.deepcopy(_documents(path))
    for generator in content.get("configMapGenerator", ()):
        data = {Path(name).name: (folder / name).read_text() for name in generator["files"]}
        resources.append(_config_map(generator["name"], data, resources))
    for patch in content.get("patches", ()):
        resources = [changed for resource in resources for changed in _patched(resource, patch)]
    for pair in content.get("labels", ()):
        assert set(pair) == {"pairs"}, "labels of pods and selectors are not set here"
        for resource in resources:
            resource["metadata"].setdefault("labels", {}).update(pair["pairs"])
    for image in content.get("images", ()):
        for container in _found(resources, "image"):
            if container["image"] == image["name"]:
                container["image"] = f"{image['newName']}:{image['newTag']}"
    if "namespace" in content:
        for resource in resources:
            if resource["kind"] not in _CLUSTER_WIDE:
                resource["metadata"]["namespace"] = content["namespace"]
            for subject in resource.get("subjects", ()):
                subject["namespace"] = content["namespace"]
    return resources


@functools.lru_cache
def _documents(path: Path) -> list[Json]:
    return list(yaml.safe_load_all(path.read_text()))


def _config_map(name: str, data: dict[str, str], resources: list[Json]) -> Json:
    """A ConfigMap whose name depends on its content, if not by kustomize's digest; what refers to it gets the name."""
    unique = f"{name}-{hashlib.sha256(json.dumps(data).encode()).hexdigest()[:10]}"
    for holder in _found(resources, "configMap"):
        if holder["configMap"].get("name") == name:
            holder["configMap"]["name"] = unique
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": unique}, "data": data}


def _patched(resource: Json, patch: Json) -> list[Json]:
    assert set(patch) == {"target", "patch"}
    assert set(patch["target"]) == {"kind"}
    if resource["kind"] != patch["target"]["kind"]:
        return [resource]
    operations = yaml.safe_load(patch["patch"])
    if isinstance(operations, dict):
        assert operations.get("$patch") == "delete", "of strategic merges only deletion is used"
        return []
    resource = copy.deepcopy(resource)
    for operation in operations:
        *parents, last = operation["path"].strip("/").split("/")
        place: Any = resource
        for key in parents:
            place = place[int(key) if isinstance(place, list) else key]
        assert operation["op"] == "replace", operation
        assert last in place, f"{operation['path']}: nothing to replace"
        place[last] = operation["value"]
    return [resource]


def _found(thing: Any, key: str) -> list[Json]:
    """All mappings in it that have a key."""
    children = thing.values() if isinstance(thing, dict) else thing if isinstance(thing, list) else ()
    found = [holder for child in children for holder in _found(child, key)]
    return [thing, *found] if isinstance(thing, dict) and key in thing else found
