"""Which version is the champion, and its copy."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Union

from tfx.utils import path_utils

from components import object_store, versions
from components.errors import InputError
from serving.promotion.errors import WrongPromotion
from serving.promotion.files import stable_version

Version = Union[versions.Version, object_store.Version]


def find_champion(candidate_uri: str, base_path: str, model_name: str) -> Version | None:
    """Returns the version with the label `stable` or, without one, the newest; None if there is none but the candidate.

    Where that is the candidate itself, the newest other version stands in, so that a re-run with nothing new finds a
    champion as the first run did. An object store knows no labels: there it is the newest other version.

    Args:
        candidate_uri: the candidate's Model artifact.
        base_path: directory or URI that holds `<model name>/<version>`.
        model_name: the model.
    """
    candidate = versions.fingerprint(path_utils.serving_model_path(candidate_uri))
    if object_store.is_uri(base_path):
        return object_store.newest(object_store.model_dir(base_path, model_name), other_than=candidate)
    directory = versions.model_dir(base_path, model_name)
    try:
        stable = stable_version(Path(base_path), model_name)
    except WrongPromotion as error:
        raise InputError(str(error)) from None
    for version in versions.list_versions(directory):
        if version.number == stable and not (candidate and version.fingerprint == candidate):
            return version
    return versions.newest(directory, other_than=candidate)


def copy_champion(champion: Version, model_uri: str) -> None:
    """Copies a version into a Model artifact, so that it can be judged though it may be removed from serving.

    Raises:
        InputError: the version is gone.
    """
    target = path_utils.serving_model_path(model_uri)
    if isinstance(champion, object_store.Version):
        object_store.download(champion, target)
        return
    try:
        shutil.copytree(champion.path, target, dirs_exist_ok=True)
    except FileNotFoundError as error:
        raise InputError(f"{champion.path}: this version was removed while it was read; run again") from error
