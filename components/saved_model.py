"""Writes SavedModels, also while another thread of the process is at work.

As TensorFlow saves a model it walks through many dictionaries without a lock: the attributes of all that the model
holds, and, where it decides which functions to convert, the namespaces of modules of Python itself. In a run's
process there are other threads: gRPC's of the Beam pipelines before, the terminal's, the log's, and those of
iterators that a training has left. One that adds an attribute at the wrong moment ends `tf.saved_model.save` with
"dictionary changed size during iteration". That was seen once; pauses, collections and finalizers forced into the
places where it walks did not bring it about, so it is not known which thread changed what. The model is not to blame,
and a second save makes the same; the log then says where each thread was.
"""

from __future__ import annotations

import faulthandler
import logging
import tempfile
from collections.abc import Mapping
from typing import Any

import tensorflow as tf


def save(model: tf.Module, directory: str, signatures: Mapping[str, Any]) -> None:
    """Writes a SavedModel, a second time where another thread came between.

    Args:
        model: What is saved.
        directory: Where to; what a first try left there is removed.
        signatures: The functions to be served, by name.
    """
    try:
        tf.saved_model.save(model, directory, signatures=signatures)
    except RuntimeError as error:
        if "changed size during iteration" not in str(error):
            raise
        logging.warning(
            "saving %s again, another thread came between; the threads:\n%s", directory, _stacks(), exc_info=True
        )
        if tf.io.gfile.exists(directory):
            tf.io.gfile.rmtree(directory)
        tf.saved_model.save(model, directory, signatures=signatures)


def _stacks() -> str:
    """Where each thread of the process is."""
    with tempfile.TemporaryFile("w+") as file:
        faulthandler.dump_traceback(file)
        file.seek(0)
        return file.read()
