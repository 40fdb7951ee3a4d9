"""Writes the reference of the config's keys from the settings themselves: `python -m pipeline.config.reference`."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from pipeline.config import Config

_HEAD = """# The config file

One YAML file a data set, under `configs/`. Every key has a default but those marked *required*; an unknown key is an
error. `recommender validate --config FILE` checks a file and the head of its data, and `--set key.subkey=value`
overrides a key. Relative paths are relative to the working directory, or, with `data.dataset`, to that data set.

This page is made from the code: `python -m pipeline.config.reference > docs/config.md`.
"""


def reference() -> str:
    """The whole page, in Markdown."""
    return "\n".join([_HEAD, *_section("", Config)]) + "\n"


def _section(prefix: str, model: type[BaseModel]) -> list[str]:
    """A table of a model's own keys, then the sections of the models inside it."""
    rows = []
    inner: list[str] = []
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        text = " ".join((field.description or "").split())
        nested = _models(field.annotation)
        is_mapping = "Mapping" in str(field.annotation) or "dict" in str(field.annotation)
        if nested:
            inner += _section(f"{key}.NAME." if is_mapping else f"{key}.", nested[0])
            text += f" See `{key}.{'NAME.' if is_mapping else ''}…` below."
        rows.append(f"| `{key}` | {_default(field)} | {_cell(text)} |")
    title = f"## {prefix.rstrip('.')}\n\n" if prefix else ""
    doc = " ".join((model.__doc__ or "").split())
    return [f"\n{title}{doc}\n", "| key | default | meaning |", "|---|---|---|", *rows, *inner]


def _default(field: Any) -> str:
    if field.default_factory is not None:
        value = field.default_factory()
    elif field.default is PydanticUndefined:
        return "*required*"
    else:
        value = field.default
    if isinstance(value, BaseModel):
        return ""
    if isinstance(value, dict):
        value = {k: v.model_dump(exclude_defaults=True) if isinstance(v, BaseModel) else v for k, v in value.items()}
    if isinstance(value, tuple):
        value = [list(v) if isinstance(v, tuple) else v for v in value]
    return f"`{_cell(str(value))}`" if value is not None and str(value) else ""


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models anywhere inside an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(reference(), end="")
