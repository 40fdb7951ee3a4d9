"""Which version is the champion, and its copy."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from tfx.dsl.io import fileio
from tfx.utils import io_utils, path_utils

from components import versions
from components.errors import InputError
from components.versions import Version
from serving import contract
from serving.promotion.errors import WrongPromotion
from serving.promotion.files import stable_version
from serving.stores import ObjectPath, as_path, download

QUERIES = "eval"
"""The split of Examples that models are judged by."""


def find_champion(candidate_uri: str, base_path: str, model_name: str, goes_on: bool = False) -> Version | None:
    """Returns the version with the label `stable` or, without one, the newest; None if there is none but the candidate.

    Where that is the candidate itself, or what was shipped for it, the newest other version stands in, so that a re-run
    with nothing new finds a champion as the first run did.

    Args:
        candidate_uri: the candidate's Model artifact.
        base_path: directory or URI that holds `<model name>/<version>`.
        model_name: the model.
        goes_on: whether the run reads what is new alone, whose queries no version has seen. A run in full asks what
            models that went on have learned, so there the version that they went on from stands in, the last that a
            run in full made; None if it is gone.
    """
    candidate = versions.fingerprint(path_utils.serving_model_path(candidate_uri))
    directory = versions.model_dir(base_path, model_name)
    try:
        stable = stable_version(as_path(base_path), model_name)
    except WrongPromotion as error:
        raise InputError(str(error)) from None
    for version in versions.list_versions(directory):
        if version.number == stable and not (candidate and candidate in versions.fingerprints(version)):
            return version if goes_on else _made_in_full(version)
    newest = versions.newest(directory, other_than=candidate)
    return newest if goes_on else _made_in_full(newest)


def _made_in_full(version: Version | None) -> Version | None:
    while version is not None:
        before = versions.release(version.path).get("lineage", {}).get("before")
        if not before:
            break
        there = (other for other in versions.list_versions(version.path.parent) if str(other.number) == before)
        version = next((other for other in there if other.number < version.number), None)
    return version


def copy_champion(champion: Version, model_uri: str) -> None:
    """Copies a version into a Model artifact, so that it can be judged though it may be removed from serving.

    Raises:
        InputError: the version is gone.
    """
    target = path_utils.serving_model_path(model_uri)
    try:
        if isinstance(champion.path, ObjectPath):
            download(champion.path, Path(target))
        else:
            shutil.copytree(champion.path, target, dirs_exist_ok=True)
        there = os.path.isfile(os.path.join(target, contract.SAVED_MODEL))
    except FileNotFoundError:
        there = False
    if not there:
        raise InputError(f"{champion.path}: this version was removed while it was read; run again")


def copy_judged(judged: str, version: Version, model_uri: str) -> bool:
    """Copies the model that a version was judged by into a Model artifact, and what the version says of itself.

    Args:
        judged: URI of that model's artifact; empty if it is gone, or not to be found.
        version: the version, which was trained on more than was judged.
        model_uri: URI of the artifact.

    Returns:
        Whether the model is there; what the version says of itself is there in any case.
    """
    target = path_utils.serving_model_path(model_uri)
    source = path_utils.serving_model_path(judged) if judged else ""
    there = bool(source) and fileio.exists(os.path.join(source, contract.SAVED_MODEL))
    if there:
        shutil.copytree(source, target, dirs_exist_ok=True)
    io_utils.write_string_file(os.path.join(target, versions.RELEASE), json.dumps(versions.release(version.path)))
    return there
