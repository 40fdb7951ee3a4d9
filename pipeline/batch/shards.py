"""The work, in shards of what is asked, through Beam: each shard's file appears by rename, so none is made twice."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
from apache_beam.utils import shared

from pipeline.batch.answers import Answers, Wish
from pipeline.batch.outputs import Output, part_name, unwritable, write_part
from pipeline.batch.queries import ITEM_SCHEMA, read_queries


@dataclass(frozen=True)
class Job:
    """What the workers must know. All paths are of a file system that they share."""

    model: str
    """The SavedModel's directory."""
    version: str
    """What the answers say of it."""
    wish: Wish
    queries: str
    """The file of queries."""
    output: Output
    parts: str
    """The folder of the shards' files."""
    shard_size: int
    """Users, or items, of a shard."""
    shards: int
    """How many there are."""

    def part(self, number: int) -> Path:
        """The file of a shard."""
        return Path(self.parts, part_name(number, self.shards, self.output.format))

    def missing(self) -> list[int]:
        """The shards without a file."""
        there = {path.name for path in Path(self.parts).iterdir()}
        return [number for number in range(self.shards) if self.part(number).name not in there]


def answer_shards(job: Job, pipeline_args: list[str]) -> None:
    """Answers the shards that have no file yet.

    Args:
        job: The work.
        pipeline_args: Beam's options.

    Raises:
        InputError: A file can't be written, or the model refuses the wish.
    """
    try:
        with beam.Pipeline(argv=pipeline_args) as pipeline:
            _ = pipeline | "Shards" >> beam.Create(job.missing()) | "Answer" >> beam.ParDo(_Answer(job))
    finally:
        # Beam keeps the last shared object, here the model, until another is asked for; so one is.
        shared.Shared().acquire(_Nothing)


class _Nothing:
    """Something that takes no memory; Beam shares what has weak references only."""


class _Worker:
    """What the threads of a process share."""

    def __init__(self, job: Job) -> None:
        from pipeline.batch.asking import Audiences, Recommender  # TensorFlow: on workers only

        self.queries = read_queries(Path(job.queries))
        asker = Audiences if self.queries.schema == ITEM_SCHEMA else Recommender
        self.recommender: Audiences | Recommender = asker(Path(job.model))
        # A wish that the model refuses is refused here, in words that don't name it once for each user.
        self.recommender.answer(self.queries.slice(0, 1), job.wish)


class _Answer(beam.DoFn):
    """Writes the files of shards, given by their numbers; the next shard is asked for while one is written."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._shared = shared.Shared()
        self._writing: Future[None] | None = None

    def setup(self) -> None:
        self._worker = self._shared.acquire(lambda: _Worker(self._job))
        self._writer = ThreadPoolExecutor(1)

    def process(self, number: int) -> None:
        job = self._job
        queries = self._worker.queries.slice(number * job.shard_size, job.shard_size)
        answers = self._worker.recommender.answer(queries, job.wish)
        self._wait()
        self._writing = self._writer.submit(self._write, number, answers)

    def finish_bundle(self) -> None:
        self._wait()

    def teardown(self) -> None:
        self._writer.shutdown()

    def _write(self, number: int, answers: Answers) -> None:
        job = self._job
        try:
            write_part(job.part(number), job.output, answers, self._worker.recommender.found, job.version)
        except OSError as error:
            raise unwritable(job.output.path, error) from None

    def _wait(self) -> None:
        """Waits for the file that is being written, if there is one."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()
