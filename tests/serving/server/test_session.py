"""What lies beneath TensorFlow's public API is there, and does what the server takes it for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving.server import session
from serving.server.session import Session, SessionOptions


@pytest.fixture(scope="module")
def loaded(servable: Path) -> Iterator[tuple[Session, meta_graph_pb2.MetaGraphDef]]:
    """The tiny servable."""
    opened, meta_graph = session.load(str(servable), SessionOptions(1, 1))
    yield opened, meta_graph
    opened.close()


def endpoints(loaded: tuple[Session, meta_graph_pb2.MetaGraphDef], signature: str) -> tuple[object, object]:
    """Of the one input and the one output."""
    opened, meta_graph = loaded
    found = meta_graph.signature_def[signature]
    (feed,), (fetch,) = found.inputs.values(), found.outputs.values()
    return opened.endpoint(feed.name), opened.endpoint(fetch.name)


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("here", [False, True])
def test_it_runs(loaded, here):
    feed, fetch = endpoints(loaded, "double")
    (found,) = loaded[0].run({feed: np.array([[1, 2]], np.float32)}, [fetch], None, here=here)
    assert found.dtype == np.float32
    assert found.tolist() == [[2.0, 4.0]]


def test_strings_are_bytes(loaded):
    opened, meta_graph = loaded
    described = meta_graph.signature_def["describe"]
    feed = opened.endpoint(described.inputs["item_id"].name)
    fetches = [opened.endpoint(described.outputs[name].name) for name in ("display", "known")]
    display, known = opened.run({feed: np.array([b"3", b"?"], object)}, fetches, None, here=False)
    assert (display.dtype, display.tolist()) == (np.object_, [b"v1: title of 3", b""])
    assert known.tolist() == [True, False]


def test_a_deadline_cancels(loaded):
    feed, fetch = endpoints(loaded, "slow")
    with pytest.raises(tf.errors.DeadlineExceededError):
        loaded[0].run({feed: np.array(60.0)}, [fetch], 0.05, here=False)


def test_what_the_model_refuses(loaded):
    feed, fetch = endpoints(loaded, "double")
    with pytest.raises(tf.errors.InvalidArgumentError):
        loaded[0].run({feed: np.array(["x"], object)}, [fetch], None, here=False)


def test_there_is_no_such_tensor(loaded):
    with pytest.raises(KeyError):
        loaded[0].endpoint("nothing:0")


def test_the_functions_are_whole(loaded):
    """The graph came in pieces; what the loader was given says all of it."""
    assert len(loaded[1].graph_def.library.function) > 10


def test_no_model(tmp_path):
    with pytest.raises(OSError, match="SavedModel file does not exist"):
        session.load(str(tmp_path), SessionOptions())


def test_threads_are_set(servable, monkeypatch):
    configs = []
    made = tf.compat.v1.Session

    def remembered(**arguments):
        configs.append(arguments["config"])
        return made(**arguments)

    monkeypatch.setattr(tf.compat.v1, "Session", remembered)
    with pytest.raises(OSError, match="SavedModel file does not exist"):
        session.load("/nowhere", SessionOptions(3, 2))
    assert (configs[0].intra_op_parallelism_threads, configs[0].inter_op_parallelism_threads) == (3, 2)
