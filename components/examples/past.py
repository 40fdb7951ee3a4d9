"""Events of before beside those that came since, and what a log was read from.

Where a log is read on, the training events of its Examples are only those that are new. Those of before lie beside them
in the splits of `PAST_OF`, under second names of the files that they were written to.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Optional

import numpy as np
import pyarrow as pa
from tfx.dsl.io import fileio

from components.examples.interactions import KEPT_OF, PAST_OF
from components.examples.linking import link_split
from components.examples.reading import Features, has_split, read_batches, scalars, split_files

_FILE = "log.json"


@dataclass(frozen=True)
class Read:
    """What a log was read from."""

    files: dict[str, str]
    """Digests of its files by their paths."""
    since: Optional[int] = None
    """The time in microseconds before which events don't count any more."""
    nights: int = 0
    """How often the log was read on since it was read as a whole."""
    forgotten: int = 0
    """How many users were on the list of those whose events are not read."""

    def write(self, uri: str) -> None:
        """Lays it beside the splits of Examples."""
        fileio.makedirs(uri)
        with fileio.open(os.path.join(uri, _FILE), "w") as target:
            target.write(json.dumps(asdict(self)))

    @classmethod
    def of(cls, uri: str) -> Optional[Read]:
        """That of Examples; None where it was not noted."""
        path = os.path.join(uri, _FILE)
        if not fileio.exists(path):
            return None
        with fileio.open(path) as source:
            return cls(**json.loads(source.read()))


def link_past(source: str, target: str) -> None:
    """Makes the past of Examples, and what of newer events is kept, the past of others.

    Args:
        source: URI of the Examples.
        target: URI of the others.
    """
    for split, past in PAST_OF.items():
        link_split(source, past, target, past)
        number = len(split_files(target, past)) if has_split(target, past) else 0
        # So that later events stand behind earlier ones.
        link_split(source, KEPT_OF[split], target, past, f"{number:06d}-")


def read_all(interactions: str, split: str, types: Features, batch_size: int = 16_384) -> Iterator[pa.RecordBatch]:
    """Yields the events of a split, before these those of before, if it is one of `PAST_OF`.

    Args:
        interactions: URI of the Examples.
        split: Its name.
        types: As for `read_batches`, `timestamp` among them.
        batch_size: Likewise.
    """
    past = PAST_OF.get(split)
    if past and has_split(interactions, past):
        read = Read.of(interactions)
        for batch in read_batches(interactions, past, types, batch_size):
            if read is None or read.since is None:
                yield batch
            else:
                yield batch.filter(pa.array(scalars(batch, "timestamp") >= np.int64(read.since)))
    yield from read_batches(interactions, split, types, batch_size)
