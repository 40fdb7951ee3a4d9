"""Where the commands of promotion work: the versions of a model on disk, and the replicas that serve it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from components.errors import InputError, LockedError
from pipeline.cli.command import CommandError
from pipeline.cli.options import AuditOptions, BasePathOption, ConfigSource, ReplicaOptions, TargetOption
from pipeline.terminal import say_progress

if TYPE_CHECKING:
    from serving.client import Tls
    from serving.promotion import Promoter

PANEL = "Decide what is served"


@dataclass(frozen=True)
class VersionsOptions:
    """Where the versions lie."""

    base_path: BasePathOption = None


@dataclass(frozen=True)
class PlaceOptions(VersionsOptions):
    """Where the versions lie, and who serves them."""

    targets: TargetOption = None


@dataclass(frozen=True)
class Place:
    """A model whose versions are decided on."""

    base_path: Path
    name: str
    targets: tuple[str, ...]
    tls: Optional[Tls]
    default_k: int
    """Of the config."""

    @property
    def versions(self) -> Path:
        """The folder of the model's versions."""
        return self.base_path / self.name

    def states(self) -> dict[str, Optional[dict[int, str]]]:
        """State of each version on each replica; None for a replica that doesn't answer."""
        from serving.promotion import PromotionFailed, Replica

        states: dict[str, Optional[dict[int, str]]] = {}
        for target in self.targets:
            try:
                found = Replica(target, self.tls).states(self.name)
                states[target] = {number: status.state for number, status in found.items()}
            except PromotionFailed:
                states[target] = None
        return states

    def promoter(
        self, audit: AuditOptions, replicas: Optional[ReplicaOptions] = None, offline: bool = False
    ) -> Promoter:
        """What changes versions here.

        Raises:
            InputError: With `offline`, a server runs.
        """
        from components.versions import release
        from serving.promotion import Promoter

        replicas = replicas or ReplicaOptions()
        if offline:
            running = sorted(target for target, states in self.states().items() if states is not None)
            if running:
                raise InputError(f"a model server runs at {', '.join(running)}: leave out --offline, or stop it first")

        def metrics(version: int) -> Mapping[str, float]:
            return release(self.versions / str(version)).get("metrics", {})

        return Promoter(
            self.base_path,
            self.name,
            () if offline else self.targets,
            tls=self.tls,
            who=audit.who,
            why=audit.why,
            wait=audit.lock_timeout,
            timeout=replicas.timeout,
            skip_down=replicas.skip_down,
            metrics=metrics,
            say=say_progress,
        )


def find_place(source: ConfigSource, options: VersionsOptions) -> Place:
    """Finds the place that a config and options name; commands that ask no server do without its address.

    Raises:
        InputError: It is named wrongly.
    """
    from components.versions import model_dir
    from serving.client import InvalidRequest, Tls
    from serving.client.calls import parse_target
    from serving.promotion import WrongPromotion, every_replica

    config = source.load()
    serving = config.serving
    asked = options.targets if isinstance(options, PlaceOptions) else None
    targets = asked or serving.replicas or ([serving.target(serving.port)] if serving.port else [])
    if not targets and isinstance(options, PlaceOptions):
        raise InputError("serving.port is 0, any free one: name the servers by serving.replicas or --target")
    try:
        chosen = every_replica(targets)
        chosen = tuple("{}:{}".format(*parse_target(target, "grpc")) for target in chosen)
        tls = Tls(**serving.tls.model_dump()) if serving.tls else None
    except (InvalidRequest, WrongPromotion) as error:
        raise InputError(str(error)) from None
    if len(set(chosen)) < len(chosen):
        raise InputError(f"a replica is named twice: {', '.join(chosen)}")
    directory = model_dir(options.base_path or serving.base_path, config.name)
    return Place(directory.parent.absolute(), directory.name, chosen, tls, serving.default_k)


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Makes of promotion's errors what the command line does with errors: exit code 4 for a lock, 2 for wrong input,
    else 1."""
    from serving.promotion import PromotionFailed, PromotionLocked, WrongPromotion

    try:
        yield
    except PromotionLocked as error:
        raise LockedError(str(error)) from None
    except WrongPromotion as error:
        raise InputError(str(error)) from None
    except PromotionFailed as error:
        raise CommandError(str(error)) from None
