"""The profile of the data that the last pushed version was made from."""

from __future__ import annotations

from typing import NamedTuple, Optional

from components import versions
from components.data_profile import IN_VERSION
from components.guards.profile import Profile, from_json


class LastPushed(NamedTuple):
    """The newest version, and what its data were like."""

    version: str
    """Its number; empty if there is no version."""
    profile: Optional[Profile]
    """None if there is no version, or one that says nothing of its data."""


def newest(base_path: str, model_name: str) -> str:
    """Returns the number of the version that was pushed last; empty if there is none.

    Args:
        base_path: directory, or URI of an object store, that holds `<model name>/<version>`.
        model_name: the model.
    """
    here = versions.newest(versions.model_dir(base_path, model_name))
    return str(here.number) if here else ""


def read(base_path: str, model_name: str, version: str) -> LastPushed:
    """Reads the profile that a version carries.

    Raises:
        InputError: it is damaged.
    """
    if not version:
        return LastPushed("", None)
    path = versions.model_dir(base_path, model_name) / version / IN_VERSION
    return LastPushed(version, from_json(path.read_text("utf-8"), str(path)) if path.is_file() else None)
