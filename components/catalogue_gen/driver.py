"""CatalogueGen's driver: the cache goes by the encoders' versions too."""

from __future__ import annotations

from tfx.orchestration.portable import data_types

from components.catalogue_gen.settings import CatalogueSettings
from components.drivers.fingerprint import FingerprintDriver
from components.tables.encoders import versions


class Driver(FingerprintDriver):
    """Puts the encoders and their versions into `encoders`: the cache knows nothing of installed packages, and after an
    update all items must be encoded anew."""

    def look(self, execution_info: data_types.ExecutionInfo) -> dict[str, str]:
        """Returns `input_fingerprint` and, where texts are encoded, `encoders`.

        Raises:
            InputError: A file is missing or empty, or an encoder is not installed.
        """
        found = super().look(execution_info)
        settings = CatalogueSettings.model_validate_json(execution_info.exec_properties["settings"])
        encoders = versions(settings.encoders().values())
        return {**found, "encoders": encoders} if encoders else found
