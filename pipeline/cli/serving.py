"""The command that serves a model: `serve`."""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from components.errors import InputError
from pipeline.cli.command import NAME_FORMERLY, command
from pipeline.cli.options import BasePathOption, ConfigSource
from serving.server.process import EMBEDDED
from serving.stores import AnyPath, as_path

if TYPE_CHECKING:
    from pipeline.config.config import ServingConfig
    from serving.promotion.files import Aspired

PANEL = "Serve and ask"


@command(
    "serve",
    "recommender serve --config configs/movielens_100k.yaml --port 8500 -- --enable_batching=true",
    panel=PANEL,
    formerly=NAME_FORMERLY,
)
def serve(
    source: ConfigSource,
    base_path: BasePathOption = None,
    port: Annotated[
        Optional[int], typer.Option("--port", help="gRPC port; 0 picks a free one.", min=0, max=65535)
    ] = None,
    rest_port: Annotated[
        Optional[int], typer.Option("--rest-port", help="REST port; 0 picks a free one.", min=0, max=65535)
    ] = None,
    host: Annotated[
        Optional[str], typer.Option("--host", metavar="ADDRESS", help="Address to listen on; 0.0.0.0 for all.")
    ] = None,
    flags: Annotated[
        Optional[list[str]], typer.Argument(metavar="[-- FLAGS]", help="More flags for the model server, after --.")
    ] = None,
) -> None:
    """Serve a model until Ctrl-C: what was promoted, or before any promotion the newest version as it is pushed.

    Runs tensorflow_model_server where one is on the PATH, else the embedded model server.
    """
    from components.versions import model_dir, newest
    from serving.promotion import files as promotion_files
    from serving.server.ports import free_port
    from serving.server.process import command as server_command
    from serving.server.process import environment, find_model_server

    config = source.load()
    settings, name = config.serving, config.name
    place = as_path(base_path) if base_path else settings.base_path
    host = host or settings.host
    port = settings.port if port is None else port
    rest_port = settings.rest_port if rest_port is None else rest_port
    versions = model_dir(place, name)
    version = newest(versions)
    if version is None:
        raise InputError(f"{versions}: no version of {name} to serve; make one with `recommender run`")
    promoted = _promoted(place, name)
    binary = find_model_server() or EMBEDDED
    if binary != EMBEDDED:
        port, rest_port = port or free_port(), rest_port or free_port()
        if host not in ("0.0.0.0", "::"):
            typer.echo(f"note: tensorflow_model_server listens on all addresses, not only on {host}")
    arguments = server_command(
        place,
        name,
        port=port,
        rest_port=rest_port,
        host=host,
        binary=binary,
        config_file=promotion_files.config_path(place) if promoted else None,
    )
    what = f"version {version.number}"
    if promoted and promoted.labels:
        what = ", ".join(f"{label} version {number}" for label, number in sorted(promoted.labels.items()))
    listening = settings.model_copy(update={"host": host, "port": port, "rest_port": rest_port})
    _announce(f"{name} {what} from {versions}", binary, listening, settings)
    sys.stdout.flush()
    # The server takes this process's place, so that signals and the exit code are its own.
    os.execvpe(arguments[0], [*arguments, *(flags or ())], environment())


def _announce(what: str, binary: str, listening: ServingConfig, configured: ServingConfig) -> None:
    """Says what is served where, and how to ask it."""
    server = "the embedded model server" if binary == EMBEDDED else shlex.quote(binary)
    host = f"[{listening.host}]" if ":" in listening.host else listening.host
    grpc, rest = (port or "(a free port)" for port in (listening.port, listening.rest_port))
    target = listening.target(listening.port) if listening.port else f"{listening.target(0).removesuffix('0')}PORT"
    option = "" if (listening.host, listening.port) == (configured.host, configured.port) else f" --target {target}"
    typer.echo(f"serving {what} by {server}")
    typer.echo(f"gRPC on {host}:{grpc}, REST on {host}:{rest}; Ctrl-C stops")
    typer.echo(f"when it says `ready`, ask with: recommender query --user ID{option}")


def _promoted(base_path: AnyPath, name: str) -> Optional[Aspired]:
    """What models.config says of the model; None before the first promotion.

    Raises:
        InputError: It can't be read.
    """
    from serving.promotion import WrongPromotion, files

    try:
        return files.aspired(files.read_config(base_path), name)
    except WrongPromotion as error:
        raise InputError(str(error)) from None
