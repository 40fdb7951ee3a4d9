"""What a run must know of the vectors that are given for items before it begins: where they are, and how long."""

from __future__ import annotations

import itertools
import os

from components.catalogue_gen.settings import CatalogueSettings
from components.errors import InputError
from components.tables import reading, vectors
from components.tables.features import ItemFeature, column_of
from pipeline.config import Config
from pipeline.data.paths import DataPaths, completed

_LOOKED_AT = 10_000


def with_vectors(config: Config, data: DataPaths) -> Config:
    """The config with absolute paths of the vectors beside the catalogue, and with the length of all.

    Args:
        config: The config.
        data: Where its data are.

    Raises:
        InputError: They can't be read, or their length can't be told.
    """
    catalogue = config.data.catalogue
    if not catalogue.vectors():
        return config
    found = {name: _complete(name, feature, catalogue, data) for name, feature in catalogue.vectors().items()}
    changed = catalogue.model_copy(update={"features": {**catalogue.features, **found}})
    return config.model_copy(update={"data": config.data.model_copy(update={"catalogue": changed})})


def _complete(name: str, feature: ItemFeature, settings: CatalogueSettings, data: DataPaths) -> ItemFeature:
    key = f"data.catalogue.features.{name}"
    if feature.path is None or feature.ids is None:
        return feature.model_copy(update={"dim": feature.dim or _length(key, column_of(name, feature), settings, data)})
    paths = {"path": _absolute(feature.path, data.dataset), "ids": _absolute(feature.ids, data.dataset)}
    try:
        shape = vectors.shape(paths["path"])
    except InputError as error:
        raise InputError(f"{key}: {error}") from None
    if len(shape) != 2 or not shape[1]:
        raise InputError(f"{key}: {paths['path']} is an array of shape {shape}, where rows of numbers are needed")
    return feature.model_copy(update={**paths, "dim": feature.dim or shape[1]})


def _absolute(path: str, folder: str) -> str:
    path = completed(path, folder)
    return path if "://" in path else os.path.abspath(path)


def _length(key: str, column: str, settings: CatalogueSettings, data: DataPaths) -> int:
    """How many numbers most of the first vectors in a column of the catalogue have."""
    if not data.catalogue:
        raise InputError(f"{key}: a column needs a catalogue, but data.catalogue.path is not given")
    for file in reading.find_files(data.catalogue, settings.format, "catalogue"):
        part = next(iter(reading.parts(file)), 0)
        for block in itertools.islice(reading.read_blocks(file, [column], settings, part), 1):
            try:
                lengths = vectors.numbers(block.columns[column][:_LOOKED_AT], column, settings)[1]
            except InputError as error:
                raise InputError(f"{key}: {file.path}: {error}") from None
            if length := vectors.common_length(lengths):
                return length
    raise InputError(f"{key}: {data.catalogue} has no vector in the first rows of column {column!r}; say dim")
