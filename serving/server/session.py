"""A SavedModel in a TensorFlow session: all that the server takes from beneath TensorFlow's public API.

`tf.compat.v1.Session.run` looks through nested fetches and feeds in Python, which costs more than a small model runs;
what it calls then (`_extend_graph`, `_call_tf_sessionrun` on the outputs that `_as_tf_output` gives) is private.
`tf.compat.v1.saved_model.load` imports a graph as a whole, see `_load`; the loader that it consists of isn't exported.
TensorFlow 2.16 and 2.21 have all of them; `tests/serving/server/test_session.py` tells of one that hasn't.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.python.client import pywrap_tf_session
from tensorflow.python.saved_model.loader_impl import SavedModelLoader

_TAGS = ["serve"]


@dataclass(frozen=True)
class SessionOptions:
    """Threads of TensorFlow; 0 lets it choose."""

    intra_op_parallelism: int = 0
    inter_op_parallelism: int = 0


class Session:
    """A loaded graph with its variables and tables; see `load`. Thread-safe but for `close`."""

    def __init__(self, session: tf.compat.v1.Session):
        self._session = session

    def endpoint(self, tensor_name: str) -> Any:
        """What stands for a tensor of the graph, such as `x:0`, in feeds and fetches.

        Raises:
            KeyError: there is none.
        """
        return self._session.graph.get_tensor_by_name(tensor_name)._as_tf_output()  # see the module

    def run(
        self, feeds: Mapping[Any, np.ndarray], fetches: Sequence[Any], timeout: Optional[float], here: bool
    ) -> list[np.ndarray]:
        """Runs what the fetches need.

        Args:
            feeds: arrays by endpoint.
            fetches: endpoints.
            timeout: seconds after which TensorFlow cancels the work; it can't where the work is done `here`.
            here: in this thread, and not in those of TensorFlow.

        Returns:
            An array a fetch, byte strings as objects.

        Raises:
            tf.errors.OpError: the model refuses or fails.
            UnicodeDecodeError: likewise, with a message that quotes bytes which are no UTF-8.
        """
        options = tf.compat.v1.RunOptions()
        if here:
            options.inter_op_thread_pool = -1
        elif timeout is not None:
            options.timeout_in_ms = max(1, int(min(timeout, 1e9) * 1000))
        buffer = pywrap_tf_session.TF_NewBufferFromString(options.SerializeToString())
        try:
            found: list[np.ndarray] = self._session._call_tf_sessionrun(  # see the module
                buffer, feeds, fetches, [], None
            )
            # A single string comes without an array around it.
            return [np.array(value, object) if isinstance(value, (bytes, str)) else value for value in found]
        finally:
            pywrap_tf_session.TF_DeleteBuffer(buffer)

    def close(self) -> None:
        """Frees the memory; nothing may be running."""
        self._session.close()
        del self._session
        gc.collect()  # graphs are full of cycles


def load(path: str, options: SessionOptions) -> tuple[Session, meta_graph_pb2.MetaGraphDef]:
    """Loads a SavedModel.

    Raises:
        OSError: there is none.
        tf.errors.OpError: it is damaged.
    """
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=options.intra_op_parallelism,
        inter_op_parallelism_threads=options.inter_op_parallelism,
        allow_soft_placement=True,
    )
    config.gpu_options.allow_growth = True
    session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
    try:
        meta_graph = _load(session, path)
        session._extend_graph()  # see the module
    except BaseException:
        Session(session).close()
        raise
    return Session(session), meta_graph


def _load(session: tf.compat.v1.Session, path: str) -> meta_graph_pb2.MetaGraphDef:
    """What `tf.compat.v1.saved_model.load` does, in pieces.

    A graph that is imported as a whole holds the GIL, and with it all requests, for a tenth of a second. Functions come
    one by one, and after the nodes that call them: else shapes are inferred through them for each of these.
    """
    loader = SavedModelLoader(path)
    meta_graph: meta_graph_pb2.MetaGraphDef = loader.get_meta_graph_def_from_tags(_TAGS)
    library = meta_graph.graph_def.library
    functions = list(library.function)
    del library.function[:]
    saver, _ = loader.load_graph(session.graph, _TAGS)
    with session.graph.as_default():
        for function in functions:
            piece = tf.compat.v1.GraphDef(versions=meta_graph.graph_def.versions)
            piece.library.function.append(function)
            tf.import_graph_def(piece, name="")
    library.function.extend(functions)
    loader.restore_variables(session, saver)
    loader.run_init_ops(session, _TAGS)
    return meta_graph
