"""Keys of the config from the environment: `RECOMMENDER_MODEL__DIM=64` is `model.dim: 64`.

The name is the key in capitals with two underscores for a dot, the value is YAML, as after `--set`.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Collection, Mapping
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from components.errors import InputError
from pipeline.variables import CONFIG, DATASETS, OVERRIDES, PREFIX, WORK, formerly_datasets

_OTHERS = {CONFIG, OVERRIDES, DATASETS, WORK, f"{PREFIX}ARTIFACTS_ROOT", f"{PREFIX}REVISION"}
"""Names with the prefix that are no keys: those that `pipeline.variables` has, and what the images of kubeflow/ set."""
_OF_KUBERNETES = re.compile(
    r"(?!.*__).*_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
"""What Kubernetes tells each pod about a Service such as `recommender-rest`."""
_UNIONS = (Union, getattr(types, "UnionType", Union))  # Python 3.9 has only the first


def changes(model: type[BaseModel], environ: Mapping[str, str]) -> dict[str, str]:
    """The keys of the config that the environment sets, dotted, with their values in YAML; whole parts come first."""
    found = {key: environ[variable(key)] for key in keys(model) if variable(key) in environ}
    if formerly_datasets(environ):
        del found["cache"]
    return dict(sorted(found.items(), key=lambda item: item[0].count(".")))


def check(model: type[BaseModel], environ: Mapping[str, str], allowed: Collection[str]) -> None:
    """Makes sure that each variable with the prefix is read by somebody.

    Args:
        model: The config's model.
        environ: The environment.
        allowed: Names that the config gives to variables of its own.

    Raises:
        InputError: One names no key; the message names it and what was probably meant.
    """
    names = {variable(key): key for key in keys(model)}
    for name in environ:
        known = name in names or name in _OTHERS or name in allowed or _OF_KUBERNETES.fullmatch(name)
        if name.startswith(PREFIX) and not known:
            raise InputError(f"{name}: names no key of the config{_hint(name, names)}")


def keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """All keys of a model, those of its parts too, dotted; what is below names of the user's own is not among them."""
    found = []
    for name, field in model.model_fields.items():
        found.append(f"{prefix}{name}")
        part = part_of(field.annotation)
        if part is not None:
            found += keys(part, f"{prefix}{name}.")
    return found


def part_of(annotation: Any) -> Union[type[BaseModel], None]:
    """The model that a key holds by itself, not in a list or by names; None for any other kind of value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in _UNIONS:
        return next(filter(None, map(part_of, get_args(annotation))), None)
    return None


def variable(key: str) -> str:
    """The variable of a key: `model.dim` to `RECOMMENDER_MODEL__DIM`."""
    return PREFIX + key.replace(".", "__").upper()


def _hint(name: str, names: Mapping[str, str]) -> str:
    """What may have been meant by a name that is none of `names`, variables and their keys."""
    above = [parent for parent in names if name.startswith(f"{parent}__")]
    whole = max(above, key=len, default="")
    if whole and not any(other.startswith(f"{whole}__") for other in names):
        return f"; {names[whole]} is set as a whole, in YAML, by {whole}"
    rests = [other[len(PREFIX) :] for other in (*names, *_OTHERS)]
    close = difflib.get_close_matches(name[len(PREFIX) :], rests, n=1)
    return f"; did you mean {PREFIX}{close[0]}?" if close else f" (nor is it {', '.join(sorted(_OTHERS))})"
