"""Writes what people and editors look up of the config's keys, from the settings themselves.

`python -m pipeline.config.reference` makes `docs/config.md` and `configs/schema.json` anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from pipeline.config import Config
from pipeline.config.environment import variable
from pipeline.variables import CONFIG, DATASETS, OVERRIDES, WORK

_ROOT = Path(__file__).parents[2]
PAGE, SCHEMA = _ROOT / "docs" / "config.md", _ROOT / "configs" / "schema.json"

_HEAD = f"""# The config file

One YAML file a data set, under `configs/`. Every key has a default but those marked *required*; an unknown key is an
error. `recommender validate --config FILE` checks a file and a sample of its data. Relative paths are relative to the
working directory, or, with `data.dataset`, to that data set.

What is said of a key in several places, the last of these counts:

1. the file: `--config FILE`, or the variable `{CONFIG}`; by default `configs/movielens_100k.yaml`;
2. files with some of the keys, in their order: `--overrides FILE`, several times, or `{OVERRIDES}` with
   colons between them;
3. the environment: `{variable("model.dim")}=64` is `model.dim: 64`, with two underscores for a dot. What is below
   names of your own, such as those of features, can't be named so: the key above is set as a whole, in YAML;
4. `--set model.dim=64`, several times, the value in YAML; and `--name`, for the key `name`.

A variable with the prefix `RECOMMENDER_` that names no key is an error, so that a mistake in one is seen. `{DATASETS}`
is not a key: it names the folder that data sets are fetched to. Nor is `{WORK}`, the folder in which an `output` in
an object store is worked on.

An editor that knows JSON Schema completes keys and shows mistakes while you type, with this line at the top of your
file (`configs/schema.json` from where the file is):

```yaml
# yaml-language-server: $schema=schema.json
```

This page and the schema are made from the code: `python -m pipeline.config.reference`.
"""


class _Generator(GenerateJsonSchema):
    """Pydantic's, which leaves out defaults that a function makes."""

    def default_schema(self, schema: Any) -> Any:
        """Puts a default in the place of what makes it."""
        if "default_factory" in schema:
            schema = {**schema, "default": schema["default_factory"]()}
        return super().default_schema(schema)


def reference() -> str:
    """The reference, in Markdown: of every key what it may be, its default, and what it means."""
    schema = Config.model_json_schema(schema_generator=_Generator)
    return "\n".join([_HEAD, *_section("", schema, schema["$defs"])]) + "\n"


def schema() -> str:
    """The JSON schema of a config file, for editors."""
    whole = Config.model_json_schema(schema_generator=_Generator)
    content = {"$schema": "https://json-schema.org/draft/2020-12/schema", **_tidied(whole)}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _tidied(node: Any) -> Any:
    """A schema without what editors have no use for: names as titles, line breaks, defaults of whole sections."""
    if isinstance(node, list):
        return [_tidied(part) for part in node]
    if not isinstance(node, dict):
        return node
    drop = {"title"} if isinstance(node.get("title"), str) else set()
    if "$ref" in node:
        drop.add("default")
    tidied = {key: _tidied(value) for key, value in node.items() if key not in drop}
    if isinstance(node.get("description"), str):
        tidied["description"] = _line(node["description"])
    return tidied


def _section(prefix: str, model: Mapping[str, Any], parts: Mapping[str, Any]) -> list[str]:
    """A table of a model's own keys, then the sections of the models inside it."""
    rows = []
    inner: list[str] = []
    for name, node in model["properties"].items():
        key, text = f"{prefix}{name}", node.get("description", "")
        if found := _part(node):
            below, part = f"{key}{found[0]}.", parts[found[1]]
            inner += _section(below, part, parts)
            text = f"{text or part['description']} See `{below}…` below."
        default = "*required*" if name in model.get("required", ()) else _default(node, parts)
        rows.append(f"| `{key}` | {_cell(kind(node))} | {default} | {_cell(_line(text))} |")
    title = f"## {prefix.rstrip('.')}\n\n" if prefix else ""
    head = ["| key | what it may be | default | meaning |", "|---|---|---|---|"]
    return [f"\n{title}{_line(model.get('description', ''))}\n", *head, *rows, *inner]


def _part(node: Any) -> tuple[str, str] | None:
    """Where a key holds another model: what stands between the key and its keys (`.NAME` where names do), and what the
    model is called."""
    if not isinstance(node, Mapping):
        return None
    if "$ref" in node:
        return "", node["$ref"].rpartition("/")[2]
    inside = [("", part) for part in node.get("anyOf", ())]
    inside += [(".NAME", node.get("additionalProperties")), ("", node.get("items"))]
    for below, part in inside:
        if found := _part(part):
            return below + found[0], found[1]
    return None


def kind(node: Mapping[str, Any]) -> str:
    """What values a node of the schema stands for, in words, such as `whole number from 1 to 4096`."""
    if "$ref" in node:
        return "keys"
    if "anyOf" in node:
        return _either([kind(part) for part in node["anyOf"]])
    if "enum" in node or "const" in node:
        return _either([f"`{value}`" if value != "" else "empty" for value in node.get("enum", [node.get("const")])])
    kinds: dict[Any, Callable[[Mapping[str, Any]], str]] = {
        "array": _list,
        "boolean": lambda _: "`true` or `false`",
        "integer": lambda node: f"whole number{_range(node)}",
        "null": lambda _: "`null`",
        "number": lambda node: f"number{_range(node)}",
        "object": _names,
        "string": _text,
        None: lambda _: "anything",
    }
    return kinds[node.get("type")](node)


def _either(words: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _text(node: Mapping[str, Any]) -> str:
    words = "path" if node.get("format") == "path" else "text"
    limits = _size(node, "minLength", "maxLength", "characters")
    return words + _limits([*limits, *([f"matching `{node['pattern']}`"] if "pattern" in node else [])])


def _list(node: Mapping[str, Any]) -> str:
    if "prefixItems" in node:
        return f"list of {len(node['prefixItems'])}: {', '.join(kind(part) for part in node['prefixItems'])}"
    return f"list of {_several(node['items'])}" + _limits(_size(node, "minItems", "maxItems", ""))


def _several(node: Mapping[str, Any]) -> str:
    """`kind` in the plural."""
    words = kind(node)
    for one, many in (
        ("text", "texts"),
        ("whole number", "whole numbers"),
        ("keys", "groups of keys"),
        ("list", "lists"),
    ):
        if words.startswith(one):
            return many + words[len(one) :]
    return words


def _names(node: Mapping[str, Any]) -> str:
    values: Mapping[str, Any] = node.get("additionalProperties") or next(
        iter(node.get("patternProperties", {}).values()), {}
    )
    article = {"k": "", "a": ""}.get(kind(values)[0], "a ")
    return f"names, each with {article}{kind(values)}" + _limits(_size(node, "minProperties", "maxProperties", ""))


def _range(node: Mapping[str, Any]) -> str:
    """The numbers that a node allows: ` from 0 to 1`, ` > 0`."""
    if "minimum" in node and "maximum" in node:
        return f" from {_number(node['minimum'])} to {_number(node['maximum'])}"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {_number(node[key])}" for key, sign in signs.items() if key in node]
    return f" {' and '.join(bounds)}" if bounds else ""


def _size(node: Mapping[str, Any], least: str, most: str, unit: str) -> list[str]:
    """How few and how many a node allows, in words."""
    found = []
    if least in node:
        found.append("not empty" if unit and node[least] == 1 else f"at least {node[least]} {unit}".rstrip())
    if most in node:
        found.append(f"at most {node[most]} {unit}".rstrip())
    return found


def _limits(words: list[str]) -> str:
    return f" ({', '.join(words)})" if words else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def _default(node: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    value = node.get("default")
    below, part = _part(node) or ("", "")
    if value is None or value == "" or (part and isinstance(value, dict) and not below):
        return ""
    if below == ".NAME":  # of each only what is not its own default
        own = {name: inner.get("default") for name, inner in parts[part]["properties"].items()}
        value = {name: {k: v for k, v in keys.items() if v != own[k]} for name, keys in value.items()}
    return f"`{_cell(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))}`"


def _line(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
    SCHEMA.write_text(schema(), encoding="utf-8")
