"""The commands that write a version's answers, its vectors, or itself, to files: `batch`, `vectors`, `export`,
`shard`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.markup import escape

from components.errors import InputError
from pipeline.cli.command import command
from pipeline.cli.judging import labelled
from pipeline.cli.options import (
    ConfigSource,
    ContextOption,
    CountOption,
    LabelOption,
    LeaveOutOption,
    NumberOption,
    OwnersOption,
    RuleOptions,
    TasksOption,
    VersionOption,
)
from pipeline.cli.parsing import parse_context, parse_tasks
from pipeline.cli.serving import PANEL
from pipeline.terminal import Outcome
from serving.stores import as_path

if TYPE_CHECKING:
    from pipeline.batch.answers import Wish

VectorsOption = Annotated[
    str,
    typer.Option(
        "--out",
        "-o",
        metavar="DIR",
        help="The folder, on disk or in s3:// or gs://; one from before is replaced as a whole.",
    ),
]


@command(
    "batch",
    "recommender batch --users all -k 3 --out top3.csv",
    "recommender batch --items all -k 100 --out audience.parquet",
    panel=PANEL,
    formerly={"--model": "--version"},
)
def batch(
    source: ConfigSource,
    rules: RuleOptions,
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE|DIR",
            help="A .csv, .parquet or .tfrecord file, on disk or in s3:// or gs://; a name without an ending is a"
            " folder of files.",
        ),
    ],
    users: Annotated[
        str,
        typer.Option(
            "--users",
            metavar="all|FILE",
            help="Everybody whom the model knows, a file with an id a line, or JSON lines (.jsonl) of user_id, history,"
            " exclude and context.",
        ),
    ] = "all",
    items: Annotated[
        Optional[str],
        typer.Option(
            "--items",
            metavar="all|FILE",
            help="The best users of each item instead: of all items, or of a file with an id a line; --exclude, --allow"
            " and --filter are of users then.",
        ),
    ] = None,
    owners: OwnersOption = False,
    k: CountOption = None,
    file_format: Annotated[
        Optional[str],
        typer.Option("--format", metavar="FORMAT", help="csv, parquet or tfrecord; by default as --out ends."),
    ] = None,
    layout: Annotated[
        Optional[str],
        typer.Option(
            "--layout",
            metavar="LAYOUT",
            help="wide: user_id, top1, top2 …, as CSV has it by default; long: user_id, rank, item_id, title, score,"
            " source, version.",
        ),
    ] = None,
    context: ContextOption = None,
    task: TasksOption = None,
    leave_out: LeaveOutOption = None,
    version: VersionOption = None,
) -> Outcome:
    """Write the best items of many users, or the best users of many items, to files, without a model server. Goes on
    where it was stopped."""
    from pipeline.batch.outputs import output_of
    from pipeline.batch.run import Request
    from pipeline.batch.run import batch as write_batch

    given = {"--users": users != "all", "--context": context, "--boost": rules.boost, "--task": task}
    given |= {"--diversity": rules.diversity is not None, "--leave-out": leave_out is not None}
    for option in [option for option, value in given.items() if value and items is not None]:
        raise InputError(
            f"{option} is of lists of items, and with --items lists are of users: leave one of the two out"
        )
    if owners and items is None:
        raise InputError("--owners is of audiences: give --items too")
    config = source.load()
    count = config.serving.default_k if k is None else k
    wish = _wish(count, rules, parse_tasks(task or ()), owners, leave_out)
    request = Request(wish, output_of(out, file_format, layout), users, parse_context(context or ()), items)
    return write_batch(config, request, version)


def _wish(k: int, rules: RuleOptions, tasks: Mapping[str, float], owners: bool, leave_out: Optional[str]) -> Wish:
    """What each user, or item, is to be given.

    Raises:
        InputError: A rule is none, or weights of tasks are none, or there is no such thing to leave out.
    """
    from pipeline.batch.answers import Wish
    from serving.client import InvalidRequest
    from serving.client.calls import checked_leave_out, checked_rules, checked_tasks

    try:
        checked, weights = checked_rules(**rules.rules()), checked_tasks(tasks)
        left_out = checked_leave_out(leave_out)
    except InvalidRequest as error:
        raise InputError(str(error)) from None
    return Wish(
        k=k,
        exclude=tuple(rules.excluded()),
        allow=tuple(checked.allow),
        filters=tuple(checked.filters),
        boosts=tuple(checked.boosts),
        diversity=checked.diversity,
        tasks=tuple(weights),
        exclude_owners=not owners,
        leave_out=left_out,
    )


@command(
    "vectors",
    "recommender vectors --out vectors --fold-bias",
    "recommender vectors --label stable --out vectors --format npy",
    panel=PANEL,
)
def vectors(
    source: ConfigSource,
    out: VectorsOption,
    file_format: Annotated[
        str, typer.Option("--format", metavar="parquet|npy", help="What the files are.")
    ] = "parquet",
    fold_bias: Annotated[
        bool,
        typer.Option(
            "--fold-bias",
            help="One more column: an item's vector ends with its bias, a user's with 1, so that a search by inner"
            " product alone ranks as the model does.",
        ),
    ] = False,
    check: Annotated[
        int,
        typer.Option(
            "--check",
            metavar="N",
            min=0,
            help="Hold an exact search over the vectors against the model's own answers for so many users; 0 for none.",
        ),
    ] = 200,
    whole_model: Annotated[
        bool,
        typer.Option(
            "--whole-model",
            help="Be content with nothing less than the model's lists, where it has more than vectors: a linear part, a"
            " second stage, diversity, an approximate index.",
        ),
    ] = False,
    version: Annotated[
        Optional[str],
        typer.Option(
            "--version",
            metavar="VERSION|DIR|URI",
            help="The number of a pushed version, or where one lies, in an object store too; by default the newest.",
        ),
    ] = None,
    label: LabelOption = None,
) -> Outcome:
    """Write both towers' vectors to files, for a vector database. Exit code 3: search in them finds other lists."""
    from pipeline.batch.vectors.files import FORMATS
    from pipeline.batch.vectors.run import Request
    from pipeline.batch.vectors.run import vectors as write_vectors

    if version and label:
        raise InputError("--version and --label exclude each other")
    if file_format not in FORMATS:
        raise InputError(f"--format {file_format}: it is {' or '.join(FORMATS)}")
    config = source.load()
    if label:
        version = str(labelled(config, label))
    request = Request(as_path(out), file_format, fold_bias, check, whole_model)  # type: ignore[arg-type]  # checked above
    return write_vectors(config, request, version)


@command("export", "recommender export --version 20260102030405 --out model.tar.gz", panel=PANEL)
def export(
    source: ConfigSource,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The archive, such as model.tar.gz.")],
    version: VersionOption = None,
) -> Outcome:
    """Write a version as one .tar.gz, to be unpacked into a model server's base path."""
    from pipeline.local.archive import archive

    size = archive(source.load(), out, version)
    return Outcome(
        facts={"out": out.absolute(), "bytes": size},
        show=lambda console: console.print(f"{escape(str(out))}: {size / 2**20:,.1f} MiB", soft_wrap=True),
    )


@command("shard", "recommender shard --shards 4 --out output/shards", panel=PANEL)
def shard(
    source: ConfigSource,
    shards: Annotated[int, typer.Option("--shards", metavar="N", min=2, help="Over how many servers.")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="The servers' base paths are DIR/1-of-N and so on."),
    ],
    version: NumberOption = None,
) -> Outcome:
    """Split a version's items over several servers, each with a servable of its own, without training."""
    from pipeline.local.sharding import shard as split

    return split(source.load(), out, shards, version)
