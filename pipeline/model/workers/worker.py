"""One worker of a training: `python -m pipeline.model.workers.worker JOB_FILE`, which `cluster` beside it starts.

`TF_CONFIG` says which worker it is. It says what it does as lines of JSON on its standard output, and ends when its
standard input does.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import socket
import sys
import threading
from pathlib import Path
from typing import TextIO

from components.errors import InputError
from pipeline.model.job import Job
from pipeline.model.workers.cluster import INPUT, LOST, OTHER, PORT, TF_CONFIG, from_environment

_PLACE = re.compile(r'Graph execution error:|Detected at node|\s*File "|\s*$')
"""Lines in front of what went wrong in an operation of a `tf.function`."""


class _PortTakenError(Exception):
    """This worker's port is in use."""


class _Progress(logging.Handler):
    """Sends progress to the process that watches."""

    def __init__(self, channel: TextIO) -> None:
        super().__init__(logging.INFO)
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        """Sends one message."""
        _say(self._channel, progress=record.getMessage())


def main() -> None:
    """Trains what the job file says, together with the other workers."""
    [file] = sys.argv[1:]
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is for the log
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s worker %(process)d %(levelname)s %(name)s: %(message)s")
    logging.getLogger("recommender.progress").addHandler(_Progress(channel))
    code = 0
    try:
        _train(Path(file))
    except BaseException as error:
        logging.getLogger(__name__).exception("the worker failed")
        _say(channel, error=_message(error), kind=_kind(error))
        code = 1
    sys.stderr.flush()
    # Not through TensorFlow's own end, which waits for workers that may be gone.
    os._exit(code)


def _train(file: Path) -> None:
    job = Job.model_validate(json.loads(file.read_text(encoding="utf-8")))
    cluster = from_environment(os.environ)
    if cluster is None:
        raise InputError(f"{TF_CONFIG}: names no other worker")
    check_port(cluster.workers[cluster.index])
    import tensorflow as tf

    # Before anything else is done with TensorFlow.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    from pipeline.model import trainer
    from pipeline.model.workers import distributed

    trainer.train_and_export(job, strategy)
    distributed.leave(strategy)


def check_port(address: str) -> None:
    """Finds out whether the port of this worker's `host:port` is free.

    Raises:
        _PortTakenError: It is not. TensorFlow would share it with who has it, and wait for messages that go there.
    """
    port = int(address.rsplit(":", 1)[1])
    with socket.socket() as probe:
        # As the server of a worker does it: connections of the last run that are not yet forgotten are no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
            probe.listen()
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            raise _PortTakenError(
                f"port {port} of worker {address} can't be had: {error.strerror}; end the process that has it, or name "
                f"another port in {TF_CONFIG} of all workers"
            ) from None


def _message(error: BaseException) -> str:
    text = str(error)
    if isinstance(error, (InputError, _PortTakenError)):
        return text
    # What else TensorFlow's messages have, the operation and its place before and more lines after, is for the log.
    lines = [line for line in re.sub(r"^\{\{.*?\}\} *", "", text.strip()).splitlines() if not _PLACE.match(line)]
    first = lines[0] if lines else "no message"
    return f"{type(error).__name__}: {first[:500].rstrip('.')}"


def _kind(error: BaseException) -> str:
    if isinstance(error, InputError):
        return INPUT
    if isinstance(error, _PortTakenError):
        return PORT
    tf = sys.modules.get("tensorflow")
    if tf is None:  # so it is none of its errors, and it takes seconds to import
        return OTHER
    gone = (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
    )
    return LOST if isinstance(error, gone) else OTHER


def _say(channel: TextIO, **message: str) -> None:
    channel.write(json.dumps(message) + "\n")
    channel.flush()


def _end_with_parent() -> None:
    """Ends this process when the one that started it has ended, in whatever way, or has closed the pipe."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    main()
