"""The driver that lets TFX's cache notice changed input files: their digest becomes an exec property."""

import hashlib
import json
from typing import Any

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from tfx.dsl.components.base import base_driver
from tfx.orchestration import data_types_utils, metadata
from tfx.orchestration.portable import base_driver as portable_base_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2

from components.errors import InputError
from components.tables import TableFile, find_files

_CHUNK_BYTES = 1 << 22


class FingerprintDriver(base_driver.BaseDriver, portable_base_driver.BaseDriver):
    """Puts the digest of what `input_path`, `users_path` and the settings' `split.eval_path` match into
    `input_fingerprint`.

    A file that was only touched, or copied to the same place again, leaves the digest as it is.
    """

    def __init__(self, mlmd_connection: metadata.Metadata):
        base_driver.BaseDriver.__init__(self, mlmd_connection)
        portable_base_driver.BaseDriver.__init__(self, mlmd_connection)

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Returns the exec property `input_fingerprint`.

        Raises:
            InputError: A file is missing or empty.
        """
        output = driver_output_pb2.DriverOutput()
        data_types_utils.set_metadata_value(
            output.exec_properties["input_fingerprint"], fingerprint(execution_info.exec_properties)
        )
        return output


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
