"""A model whose versions are decided on: where they lie on disk, and the replicas that serve it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

from components.errors import InputError
from pipeline.terminal import say_progress

if TYPE_CHECKING:
    from pipeline.config import Config
    from serving.client import Tls
    from serving.promotion import Promoter
    from serving.stores import AnyPath


@dataclass(frozen=True)
class Place:
    """A model whose versions are decided on."""

    base_path: AnyPath
    name: str
    targets: tuple[str, ...]
    tls: Optional[Tls]
    default_k: int
    """Of the config."""

    @property
    def versions(self) -> AnyPath:
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

    def promoter(self, offline: bool = False, **options: Any) -> Promoter:
        """What changes versions here.

        Args:
            offline: Whether only models.config is written.
            **options: See `serving.promotion.Promoter`.

        Raises:
            InputError: With `offline`, a server runs.
        """
        from components.versions import release
        from serving.promotion import Promoter

        if offline:
            running = sorted(target for target, states in self.states().items() if states is not None)
            if running:
                raise InputError(f"a model server runs at {', '.join(running)}: leave out --offline, or stop it first")

        def metrics(version: int) -> Mapping[str, float]:
            return release(self.versions / str(version)).get("metrics", {})

        targets = () if offline else self.targets
        return Promoter(self.base_path, self.name, targets, tls=self.tls, metrics=metrics, say=say_progress, **options)


def find_place(
    config: Config, base_path: Optional[AnyPath] = None, targets: Optional[Sequence[str]] = None, asked: bool = True
) -> Place:
    """Finds the place that a config names.

    Args:
        config: The config.
        base_path: Where versions lie, instead of as the config says.
        targets: The servers, likewise.
        asked: Whether servers will be asked, so that there must be some.

    Raises:
        InputError: It is named wrongly.
    """
    from components.versions import model_dir
    from serving.client import InvalidRequest, Tls
    from serving.client.calls import parse_target
    from serving.promotion import WrongPromotion, every_replica

    serving = config.serving
    targets = targets or serving.replicas or ([serving.target(serving.port)] if serving.port else [])
    if not targets and asked:
        raise InputError("serving.port is 0, any free one: name the servers by serving.replicas or --target")
    try:
        chosen = every_replica(targets)
        chosen = tuple("{}:{}".format(*parse_target(target, "grpc")) for target in chosen)
        tls = Tls(**serving.tls.model_dump()) if serving.tls else None
    except (InvalidRequest, WrongPromotion) as error:
        raise InputError(str(error)) from None
    if len(set(chosen)) < len(chosen):
        raise InputError(f"a replica is named twice: {', '.join(chosen)}")
    directory = model_dir(base_path or serving.base_path, config.name)
    return Place(directory.parent.absolute(), directory.name, chosen, tls, serving.default_k)
