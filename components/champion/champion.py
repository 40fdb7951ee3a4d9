"""Which version is the champion, and its copy."""

from __future__ import annotations

import shutil

from tfx.utils import path_utils

from components import versions
from components.errors import InputError


def find_champion(candidate_uri: str, base_path: str, model_name: str) -> versions.Version | None:
    """Returns the newest served version that gives other answers than the candidate, or None.

    Leaving out the candidate itself makes a re-run with nothing new find the champion that the first run found.

    Args:
        candidate_uri: the candidate's Model artifact.
        base_path: directory that holds `<model name>/<version>`.
        model_name: the model.
    """
    candidate = versions.fingerprint(path_utils.serving_model_path(candidate_uri))
    return versions.newest(versions.model_dir(base_path, model_name), other_than=candidate)


def copy_champion(champion: versions.Version, model_uri: str) -> None:
    """Copies a version into a Model artifact, so that it can be judged though it may be removed from serving.

    Raises:
        InputError: the version is gone.
    """
    try:
        shutil.copytree(champion.path, path_utils.serving_model_path(model_uri), dirs_exist_ok=True)
    except FileNotFoundError as error:
        raise InputError(f"{champion.path}: this version was removed while it was read; run again") from error
