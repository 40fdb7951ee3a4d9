"""The pages of the documentation: their blocks, and the commands in them."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
    "serving/deploy/README.md",
    "serving/protos/README.md",
)

_FENCED = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Block:
    """What stands between two fences."""

    page: str
    line: int
    """Where it begins."""
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def name(self) -> str:
        """By which it is known where it moves: its page and first command."""
        return f"{self.page}: {commands(self)[0]}"


def read(page: str) -> str:
    """A page's text."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str | None = None) -> list[Block]:
    """A page's blocks, in order, of one language or of all."""
    text = read(page)
    found = [
        Block(page, text.count("\n", 0, match.start()) + 1, match[2].partition(" ")[0], textwrap.dedent(match[3]))
        for match in _FENCED.finditer(text)
    ]
    return [block for block in found if language in (None, block.language)]


def uncommented(line: str) -> str:
    """A command without the comment behind it."""
    return re.sub(r"\s+# .*$|^# .*$", "", line)


def commands(block: Block) -> list[str]:
    """The commands of a block of shell, lines that go on put together, without comments."""
    joined = re.sub(r"\\\n\s*", "", block.text)
    return [command for line in joined.splitlines() if (command := uncommented(line).strip())]


def inline(page: str) -> list[str]:
    """What stands in backticks in a page's text."""
    return re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", _FENCED.sub("", read(page)))
