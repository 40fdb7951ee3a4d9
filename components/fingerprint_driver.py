"""The driver that lets TFX's cache notice changed input files: their digest becomes an exec property."""

import hashlib
import json
from typing import Any

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from tfx.orchestration.portable import data_types

from components.drivers import ExecPropertiesDriver
from components.errors import InputError
from components.tables import TableFile, find_files

_CHUNK_BYTES = 1 << 22


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


def digest(files: list[TableFile]) -> str:
    """Returns a digest of the files' content, in hexadecimal."""
    total = hashlib.blake2b(digest_size=16)
    for file in files:
        content = hashlib.blake2b(digest_size=16)
        try:
            with FileSystems.open(file.path, compression_type=CompressionTypes.UNCOMPRESSED) as source:
                while chunk := source.read(_CHUNK_BYTES):
                    content.update(chunk)
        except IsADirectoryError:
            raise InputError(f"{file.path} is a folder: name the files in it, such as {file.path}/*.csv") from None
        except OSError as error:
            raise InputError(f"{file.path} can't be read: {error}") from error
        total.update(content.digest())
    return total.hexdigest()


_WORDS = {"input": "input", "users": "users", "eval": "evaluation data"}
