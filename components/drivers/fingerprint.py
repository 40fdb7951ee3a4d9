"""The driver that lets TFX's cache notice changed input files: their digest becomes an exec property."""

import json
import os
from typing import Any

from tfx.orchestration.portable import data_types
from tfx.utils import io_utils

from components.data_profile import FILES
from components.drivers.exec_properties import ExecPropertiesDriver
from components.tables.reading import TableFile, digest, digests, find_files
from serving.stores import as_path


class FingerprintDriver(ExecPropertiesDriver):
    """Puts the digest of what `input_path`, `users_path`, the settings' `split.eval_path` and the `path` and `ids` of
    their features match, and of the list in `suppression` if it is there, into `input_fingerprint`.

    A file that was only touched, or copied to the same place again, leaves the digest as it is.
    """

    def look(self, execution_info: data_types.ExecutionInfo) -> dict[str, str]:
        """Returns `input_fingerprint`.

        Raises:
            InputError: A file is missing or empty.
        """
        return {"input_fingerprint": fingerprint(dict(execution_info.exec_properties))}


def fingerprint(exec_properties: dict[str, Any]) -> str:
    """Returns the digest of the input files that a component's exec properties name, as "name:digest" words.

    Raises:
        InputError: A file is missing or empty, or can't be read.
    """
    return " ".join(f"{what}:{digest(files)}" for what, files in inputs(exec_properties).items())


def note(exec_properties: dict[str, Any], folder: str, of: str) -> None:
    """Writes into a folder which files were read, as a list for each input of path, bytes and digest.

    The digests are those that the driver has made. Where none has run, on Kubeflow Pipelines, there are none, for to
    make them takes a pass over all files.

    Args:
        exec_properties: The component's.
        folder: Where to.
        of: What `input_path` is called in the list.

    Raises:
        InputError: A file is gone, or can't be read.
    """
    listed = {}
    for what, files in inputs(exec_properties).items():
        made = digests(files) if exec_properties.get("input_fingerprint") else [""] * len(files)
        listed[of if what == "input" else what] = [
            {"path": file.path, "bytes": file.size, "digest": each} for file, each in zip(files, made)
        ]
    io_utils.write_string_file(os.path.join(folder, FILES), json.dumps(listed, indent=2, ensure_ascii=False))


def inputs(exec_properties: dict[str, Any]) -> dict[str, list[TableFile]]:
    """Returns the files that a component's exec properties name, by what they are.

    Raises:
        InputError: A file is missing or empty.
    """
    settings = json.loads(exec_properties["settings"])
    users = settings.get("users") or {}
    patterns = {
        "input": (exec_properties.get("input_path"), settings.get("format", "auto")),
        "users": (exec_properties.get("users_path"), users.get("format", "auto")),
        "eval": ((settings.get("split") or {}).get("eval_path"), settings.get("format", "auto")),
    }
    forgotten = exec_properties.get("suppression") or ""
    if forgotten and as_path(forgotten).exists():
        patterns["suppression"] = (forgotten, "csv")
    for name, feature in settings.get("features", {}).items():
        # Their formats are nothing to the digest, but one must be told.
        patterns.update({f"{name}.{key}": (feature.get(key), "csv") for key in ("path", "ids")})
    return {
        what: find_files(path, file_format, _WORDS.get(what, f"features.{what}"))
        for what, (path, file_format) in patterns.items()
        if path
    }


_WORDS = {"input": "input", "users": "users", "eval": "evaluation data"}
