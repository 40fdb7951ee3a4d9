"""The journal: a JSON line for each night, of which a person reads what happened, and the next night what was tried.

Nothing that is served depends on it. Without it the next night does over what the cache has, and ends the same.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.errors import InputError
from serving.files import read_lines, write_atomically

FILE = "nights.jsonl"
FEEDBACK = "feedback"
"""Beside it: the folder with what the nights' feedback has found."""
_KEPT = 1_000
"""Nights."""


@dataclass(frozen=True)
class Step:
    """A part of a night that had something to do."""

    name: str
    said: str
    """What it did, or what went wrong."""
    code: int = 0
    """Of the exit codes of all commands."""
    cause: str = ""
    """What went wrong, in a word; empty where nothing did."""
    facts: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass
class Night:
    """A night, under way or over."""

    began: str
    """ISO 8601 in UTC."""
    ended: str = ""
    """Likewise; empty as long as it is under way, or if it was killed."""
    kills: int = 0
    """How often it was killed and went on."""
    audit: int = 0
    """How many lines the audit trail had as it began."""
    data: str = ""
    """Digest of the config and of which data files there are; empty before it looked."""
    code: int = 0
    """The exit code: that of the first step that has one."""
    cause: str = ""
    """Of the same step."""
    steps: list[Step] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    """Versions by label, at the end."""
    told: list[str] = field(default_factory=list)
    """The problems that people were told of."""
    untold: list[str] = field(default_factory=list)
    """Those that somebody could not be told of, which the next night tries."""
    unreached: list[str] = field(default_factory=list)
    """Whom, by the names of their services; everybody where none is named."""

    def step(self, name: str) -> Step | None:
        """The newest step of a name; None if there is none."""
        return next((step for step in reversed(self.steps) if step.name == name), None)

    @property
    def idle(self) -> bool:
        """Whether there was nothing to do, and nothing was wrong."""
        return not self.code and {step.name for step in self.steps} <= {"data"}


def now() -> str:
    """The time, as a night has it."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def hours_since(time: str) -> float:
    """How long ago a time was; below 0 for one that is yet to come, as it may be if the clock was put back."""
    passed = datetime.datetime.now(datetime.timezone.utc) - datetime.datetime.fromisoformat(time)
    return passed / datetime.timedelta(hours=1)


def read(path: Path) -> list[Night]:
    """Returns the nights, oldest first; none without a file.

    Raises:
        InputError: A line is none of a night.
    """
    try:
        lines = read_lines(path)
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: no nights ({error}); remove the file: nothing is lost by it") from None
    return [_night(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line]


def read_or_set_aside(path: Path) -> tuple[list[Night], str]:
    """Reads the nights; a damaged file gets another name, and is told of in words."""
    try:
        return read(path), ""
    except InputError as error:
        aside = path.with_name(f"{path.name}.damaged")
        path.replace(aside)
        return [], f"{error}; it is {aside.name} from now on, and a new one is begun"


def write(path: Path, nights: Sequence[Night]) -> None:
    """Replaces the journal at once. Of several nights on end with nothing to do the last one stays, and of all the
    newest."""
    kept = [
        night
        for night, following in zip(nights, [*nights[1:], None])
        if not (night.idle and night.ended and following is not None and following.idle and following.ended)
    ]
    lines = [json.dumps(dataclasses.asdict(night), ensure_ascii=False, default=str) for night in kept[-_KEPT:]]
    write_atomically(path, "".join(f"{line}\n" for line in lines))


def _night(line: str, where: str) -> Night:
    """Reads a line; keys that a later version of this project wrote are left."""
    try:
        content = json.loads(line)
        steps = [Step(**_known(Step, step)) for step in content.pop("steps")]
        night = Night(**_known(Night, content), steps=steps)
        for time in filter(None, (night.began, night.ended)):
            hours_since(time)  # it is one
        return night
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{where}: no night ({error}); remove the line, or the file: nothing is lost by it") from None


def _known(kind: type, content: dict[str, Any]) -> dict[str, Any]:
    names = {one.name for one in dataclasses.fields(kind)}
    return {key: value for key, value in content.items() if key in names}
