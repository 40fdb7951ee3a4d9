"""The config as text: keys and values with a comment each that says why."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

_NOT_IN_YAML = re.compile(r"[^\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass
class Draft:
    """A config in the making."""

    content: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    """Why, by the dotted key."""
    warnings: list[str] = field(default_factory=list)
    """What a person had better look at before a run."""

    def put(self, key: str, value: Any, reason: str = "") -> None:
        """Sets a dotted key; a part of a key may hold no dot."""
        *parents, last = key.split(".")
        place = self.content
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
        if reason:
            self.reasons[key] = reason

    def guesses(self) -> Iterator[tuple[str, Any, str]]:
        """Yields key, value and reason of what was guessed."""
        for key, reason in self.reasons.items():
            yield key, self._value(key), reason

    def text(self, head: str) -> str:
        """Returns the YAML file, `head` as a comment on top of it."""
        lines = [f"# {line}".rstrip() for line in head.splitlines()]
        # Values are dumped in characters that YAML takes; comments may show any that a file holds.
        return _NOT_IN_YAML.sub("\ufffd", "\n".join([*lines, *self._lines(self.content, "", 0)]) + "\n")

    def _value(self, key: str) -> Any:
        place: Any = self.content
        for part in key.split("."):
            place = place[part]
        return place

    def _lines(self, content: Mapping[str, Any], above: str, depth: int) -> Iterator[str]:
        for name, value in content.items():
            key = f"{above}{name}"
            reason = f" # {' '.join(self.reasons[key].split())}" if key in self.reasons else ""
            begin = f"{'  ' * depth}{in_yaml(name)}:"
            below = isinstance(value, dict) and any(other.startswith(f"{key}.") for other in self.reasons)
            if value and isinstance(value, dict) and (below or depth < _FLOW_FROM):
                if not depth:
                    yield ""
                yield begin + reason
                yield from self._lines(value, f"{key}.", depth + 1)
            else:
                yield f"{begin} {in_yaml(value)}{reason}"


_FLOW_FROM = 2
"""From this depth on keys stand in one line, unless something is to be said of one."""


def in_yaml(value: Any) -> str:
    """Returns a value in one line of YAML.

    >>> in_yaml({"type": "category", "values": ["a", "no"]})
    "{type: category, values: [a, 'no']}"
    >>> in_yaml("\\t")
    '"\\\\t"'
    """
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
