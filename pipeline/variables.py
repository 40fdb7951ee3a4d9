"""Variables of the environment that are no keys of the config (those are in `pipeline.config.environment`)."""

from __future__ import annotations

import re
from collections.abc import Mapping

PREFIX = "RECOMMENDER_"
CONFIG = f"{PREFIX}CONFIG"
"""The config file, where `--config` isn't given."""
OVERRIDES = f"{PREFIX}OVERRIDES"
"""The files that override it, with colons between them, where `--overrides` isn't given."""
DATASETS = f"{PREFIX}DATASETS"
"""The folder that data sets are fetched to."""
WORK = f"{PREFIX}WORK"
"""The folder of the folders in which outputs in object stores are worked on."""

_FORMERLY_DATASETS = f"{PREFIX}CACHE"
"""What that was called before, which is now the key `cache`; a folder and a truth value can be told apart."""
_TRUTH = re.compile(r"true|false|yes|no|on|off|0|1", re.IGNORECASE)


def datasets_folder(environ: Mapping[str, str]) -> str:
    """The folder that the environment names for data sets; empty if it names none."""
    return environ.get(DATASETS) or formerly_datasets(environ)


def formerly_datasets(environ: Mapping[str, str]) -> str:
    """The folder that is named by the variable's former name; empty if there is none."""
    value = environ.get(_FORMERLY_DATASETS, "")
    return "" if _TRUTH.fullmatch(value) else value


def outdated(environ: Mapping[str, str]) -> str:
    """What to tell the person whose environment has the former name; empty if it hasn't."""
    return f"{_FORMERLY_DATASETS} is now {DATASETS}" if formerly_datasets(environ) else ""
