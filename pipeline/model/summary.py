"""What a model consists of: its trained tables and layers with their shapes and sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Part = dict[str, Any]
"""`name`, `shape` and `parameters` of a weight."""


def summarize(weights: Sequence[Any]) -> list[Part]:
    """Describes Keras weights, in their order."""
    parts = []
    for weight in weights:
        shape = [int(size) for size in weight.shape]
        count = 1
        for size in shape:
            count *= size
        parts.append({"name": weight.name.partition(":")[0], "shape": shape, "parameters": count})
    return parts


def as_text(parts: Sequence[Part]) -> str:
    """A table for the log: a weight a line, and the sum.

    Example:
        >>> print(as_text([{"name": "items", "shape": [3, 2], "parameters": 6}]))
        items  3 x 2  6
        total         6
    """
    rows = [(part["name"], " x ".join(map(str, part["shape"])), f"{part['parameters']:,}") for part in parts]
    rows.append(("total", "", f"{sum(part['parameters'] for part in parts):,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(f"{name:<{widths[0]}}  {shape:<{widths[1]}}  {count:>{widths[2]}}" for name, shape, count in rows)
