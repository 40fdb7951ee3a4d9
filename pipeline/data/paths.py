"""Where the data of a config are."""

from __future__ import annotations

import dataclasses
import os

from components import stores
from pipeline.config import Config
from pipeline.data import datasets


@dataclasses.dataclass(frozen=True)
class DataPaths:
    """Where the data of a config are, named data sets fetched."""

    interactions: str
    users: str
    catalogue: str
    evaluation: str
    dataset: str = ""
    """The folder of a named data set, in which paths of the config lie."""

    def absolute(self) -> DataPaths:
        """The same paths for processes that run in other folders, such as Beam's workers; URIs stay as they are."""
        return DataPaths(
            **{
                field.name: os.path.abspath(path) if (path := getattr(self, field.name)) and "://" not in path else path
                for field in dataclasses.fields(self)
            }
        )


def data_paths(config: Config) -> DataPaths:
    """Fetches the named data set, if the config names one, and completes the paths.

    Raises:
        InputError: The data set is unknown or can't be fetched.
    """
    folder = str(datasets.fetch(config.data.dataset)) if config.data.dataset else ""

    def complete(path: str) -> str:
        return completed(path, folder)

    interactions = config.data.interactions
    return DataPaths(
        interactions=complete(interactions.path),
        users=complete(interactions.users.path if interactions.users else ""),
        catalogue=complete(config.data.catalogue.path),
        evaluation=complete(interactions.split.eval_path or ""),
        dataset=folder,
    )


def completed(path: str, folder: str) -> str:
    """Returns a path of the config with the user's folder in place of `~`, and below `folder` if there is one."""
    path = os.path.expanduser(stores.plain(path))
    return os.path.join(folder, path) if folder and path else path
