"""Ops that a servable may need beyond TensorFlow's own: those of ScaNN."""

from __future__ import annotations

import json
import os
from typing import Any

SCANN = "scann"
"""`index.type` in `assets.extra/recommender.json` of a servable that needs ScaNN's ops."""

NO_SCANN = (
    "this model's index needs the package scann 1.3.2 beside TensorFlow 2.16: serve it from an environment of TFX "
    "1.16, or make it with serving.index.type: exact"
)


def import_scann() -> Any:
    """Registers ScaNN's ops; returns the module that has them.

    Raises:
        ImportError: It isn't installed, or is made for another TensorFlow.
    """
    import tensorflow as tf

    try:
        from scann.scann_ops.py import scann_ops
    except (ImportError, tf.errors.OpError) as error:
        raise ImportError(NO_SCANN, name="scann") from error
    return scann_ops


def import_custom_ops(path: str | os.PathLike[str]) -> None:
    """Registers what the servable in `path` says that it needs; to be called before it is loaded.

    Raises:
        ImportError: See `import_scann`.
    """
    try:
        with open(os.path.join(path, "assets.extra", "recommender.json"), encoding="utf-8") as file:
            described = json.load(file)
    except (OSError, ValueError):
        return  # not one of ours: loading it will tell
    if isinstance(described, dict) and described.get("index", {}).get("type") == SCANN:
        import_scann()
