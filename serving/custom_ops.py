"""Ops that a servable may need beyond TensorFlow's own: those of ScaNN."""

from __future__ import annotations

import os
from typing import Any

from serving import contract

SCANN = "scann"
"""`index.type` in the manifest of a servable that needs ScaNN's ops."""

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
        NewerFormat: A newer version of this project made it.
    """
    try:
        described = contract.read_manifest(path)
    except contract.NewerFormat:
        raise
    except (OSError, ValueError):
        return  # not one of ours: loading it will tell
    if described.get("index", {}).get("type") == SCANN:
        import_scann()
