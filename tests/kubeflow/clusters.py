"""The config of the small world in a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def in_cluster(folder: Path, **more: Any) -> dict[str, Any]:
    """The section `kubeflow` of the config, with a volume that is the world's folder."""
    return {
        "image": "registry.example/team/recommender:1.2",
        "pipeline_root": "s3://bucket/pipelines",
        "base_path": str(folder / "models"),
        "interactions_path": str(folder / "data/interactions.csv"),
        "users_path": str(folder / "data/users.csv"),
        "catalogue_path": str(folder / "data/items.csv"),
        "volumes": [{"claim": "recommender", "mount_path": str(folder)}],
        **more,
    }
