"""The driver that lets TFX's cache notice changed input files: their digest becomes an exec property."""

import json
from typing import Any

from tfx.orchestration.portable import data_types

from components.drivers.exec_properties import ExecPropertiesDriver
from components.tables.reading import digest, find_files


class FingerprintDriver(ExecPropertiesDriver):
    """Puts the digest of what `input_path`, `users_path` and the settings' `split.eval_path` match into
    `input_fingerprint`.

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
    settings = json.loads(exec_properties["settings"])
    users = settings.get("users") or {}
    inputs = {
        "input": (exec_properties.get("input_path"), settings.get("format", "auto")),
        "users": (exec_properties.get("users_path"), users.get("format", "auto")),
        "eval": ((settings.get("split") or {}).get("eval_path"), settings.get("format", "auto")),
    }
    return " ".join(
        f"{what}:{digest(find_files(path, file_format, _WORDS[what]))}"
        for what, (path, file_format) in inputs.items()
        if path
    )


_WORDS = {"input": "input", "users": "users", "eval": "evaluation data"}
