"""Where the commands of promotion work: the versions of a model on disk, and the replicas that serve it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

from components.errors import InputError, LockedError
from pipeline.cli.command import CommandError
from pipeline.cli.options import AuditOptions, BasePathOption, ConfigSource, ReplicaOptions, TargetOption
from pipeline.local.place import Place
from pipeline.local.place import find_place as place_of
from serving.stores import as_path

if TYPE_CHECKING:
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


def find_place(source: ConfigSource, options: VersionsOptions) -> Place:
    """Finds the place that a config and options name; commands that ask no server do without its address.

    Raises:
        InputError: It is named wrongly.
    """
    base_path = as_path(options.base_path) if options.base_path else None
    asked = options.targets if isinstance(options, PlaceOptions) else None
    return place_of(source.load(), base_path, asked, isinstance(options, PlaceOptions))


def promoter_of(
    place: Place, audit: AuditOptions, replicas: Optional[ReplicaOptions] = None, offline: bool = False
) -> Promoter:
    """What changes versions there as options say.

    Raises:
        InputError: With `offline`, a server runs.
    """
    replicas = replicas or ReplicaOptions()
    return place.promoter(
        offline,
        who=audit.who,
        why=audit.why,
        wait=audit.lock_timeout,
        timeout=replicas.timeout,
        skip_down=replicas.skip_down,
    )


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Makes of promotion's errors what the command line does with errors: exit code 4 for a lock, 2 for wrong input,
    else 1."""
    from serving.promotion import PromotionFailed, PromotionLocked, WrongPromotion
    from serving.stores import StoreError

    try:
        yield
    except PromotionLocked as error:
        raise LockedError(str(error)) from None
    except (WrongPromotion, StoreError) as error:
        raise InputError(str(error)) from None
    except PromotionFailed as error:
        raise CommandError(str(error)) from None
