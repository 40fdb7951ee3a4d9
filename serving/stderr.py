"""The standard error, on which TensorFlow's libraries write while they are loaded."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Keeps what is written to the standard error meanwhile, and shows it only if there is an error.

    TensorFlow's libraries write while they are loaded, before they look at TF_CPP_MIN_LOG_LEVEL.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
