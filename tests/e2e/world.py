"""A small world with structure: a log, its users and its items as CSV files, a config, and the CLI run on them.

Each user walks along one hidden ring of items, now and then jumping to a popular one, so what comes next follows from
what came before: a model that has learned anything beats popularity clearly. Ids are as nasty as files, vocabularies
and terminals ever meet.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import yaml

from tests import forks

NAME = "small"
"""Of the pipeline and of its model."""

HEAVY = ("run", "batch", "compile", "evaluate", "export", "forget", "gc", "nightly", "reindex", "tune", "vectors")
"""The commands that import TensorFlow, TFX and Beam."""

NODES = (
    "InteractionGen",
    "CatalogueGen",
    "StatisticsGen",
    "ImportSchemaGen",
    "ExampleValidator",
    "Guards",
    "Transform",
    "CatalogueSchemaGen",
    "CatalogueTransform",
    "Trainer",
    "Indexer",
    "Champion",
    "Evaluator",
    "AllEvents",
    "ShippedTransform",
    "ShippedTrainer",
    "ShippedIndexer",
    "ServableValidator",
    "Pusher",
)
"""Those of docs/architecture.md; each of the two tables has a schema and a Transform of its own."""

NASTY = (
    "a,b",
    'say "hi"',
    "two  words",
    "🎬",
    "123456789012345678901234567890123456789",
    " leading",
    "trailing ",
    "[bold]x[/]",
    "null",
    "NaN",
    "007",
    "1.0",
    "ä|ö;ü",
    "tab\there",
    "line\u2028separator",
    "-k",
    "x=y&z%20",
    "../../etc",
)
"""Ids that a careless reader, writer or terminal would break."""

DAY = 86_400
START = 1_700_000_000


@dataclasses.dataclass(frozen=True)
class Event:
    """A row of the log."""

    user: str
    item: str
    time: int
    """Seconds since the epoch."""
    rating: float


@dataclasses.dataclass(frozen=True)
class World:
    """What the files hold."""

    users: tuple[str, ...]
    items: tuple[str, ...]
    """Of the log; `unlisted` are not in the catalogue."""
    events: tuple[Event, ...]
    """In the order of the file, which is not that of time; a few rows are there twice."""
    unlisted: tuple[str, ...]
    never_seen: tuple[str, ...]
    """Items of the catalogue that the log lacks."""

    def distinct(self) -> list[Event]:
        """The events without the rows that repeat an earlier one's user, item and time."""
        first: dict[tuple[str, str, int], Event] = {}
        for event in self.events:
            first.setdefault((event.user, event.item, event.time), event)
        return list(first.values())


def make_world(seed: int = 7, num_users: int = 110, num_items: int = 60, length: int = 27) -> World:
    """Makes the world; the same arguments give the same one."""
    draw = random.Random(seed)
    items = [*NASTY, *(f"item-{number}" for number in range(num_items - len(NASTY)))]
    users = [*(f"u{name}" for name in NASTY), *(f"user {number}" for number in range(num_users - len(NASTY)))]
    ring = items[:]
    draw.shuffle(ring)
    weight = [1 / (1 + place) for place in range(num_items)]
    events = []
    for number, user in enumerate(users):
        # Users join one after the other, so the split by time leaves some whom the training has never seen.
        now = START + number * DAY + draw.randrange(DAY)
        place = draw.randrange(num_items)
        seen: set[int] = set()
        for _ in range(draw.randint(length - 8, length + 8)):
            if draw.random() < 0.15:
                place = draw.choices(range(num_items), weight)[0]
            while place in seen:
                place = (place + 1) % num_items
            seen.add(place)
            events.append(Event(user, ring[place], now, draw.randint(1, 5)))
            place = (place + 1) % num_items
            now += draw.choice((0, 60, 600, DAY, 3 * DAY))
    draw.shuffle(events)
    events += events[:5]
    return World(tuple(users), tuple(items), tuple(events), ("item-0", "🎬"), ("new, unseen", "new 2"))


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a CSV file."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_log(path: Path, events: Iterable[Event]) -> None:
    """Writes the log."""
    write_table(
        path,
        ("user_id", "item_id", "timestamp", "rating"),
        ((event.user, event.item, event.time, f"{event.rating:g}") for event in events),
    )


def write_world(world: World, folder: Path) -> Path:
    """Writes `data/*.csv` and `config.yaml` into the folder; returns the config's path."""
    data = folder / "data"
    data.mkdir(parents=True)
    write_log(data / "interactions.csv", world.events)
    write_table(
        data / "users.csv",
        ("user_id", "country", "age"),
        ((user, ("de", "fr", "")[i % 3], 20 + i % 50 if i % 7 else "") for i, user in enumerate(world.users)),
    )
    listed = [item for item in (*world.items, *world.never_seen) if item not in world.unlisted]
    write_table(
        data / "items.csv",
        ("item_id", "title", "kind", "tags", "price"),
        (
            (
                item,
                f"Title of {item}",
                ("film", "song", "")[i % 3],
                "|".join(("old", "short", "färbig")[: i % 4]),
                i % 11 or "",
            )
            for i, item in enumerate(listed)
        ),
    )
    path = folder / "config.yaml"
    write_config(path)
    return path


def write_config(path: Path, changes: Mapping[str, Any] = {}) -> None:
    """Writes the config, whose paths are relative to the folder that the CLI is run in.

    Args:
        path: The file.
        changes: Values by dotted key, such as {"model.dim": 8}.
    """
    content: dict[str, Any] = {
        "name": NAME,
        "output": "output",
        "data": {
            "interactions": {
                "path": "data/interactions.csv",
                "columns": {"rating": "rating"},
                "timestamp_unit": "s",
                "rating_range": [1, 5],
                "users": {
                    "path": "data/users.csv",
                    "features": {"country": {"type": "category"}, "age": {"type": "number", "min": 1, "max": 120}},
                },
            },
            "catalogue": {
                "path": "data/items.csv",
                "display": "{title} <{kind}>",
                "features": {
                    "title": {"type": "text"},
                    "kind": {"type": "category"},
                    "tags": {"type": "categories"},
                    "price": {"type": "number", "min": 0},
                },
            },
        },
        "model": {"dim": 16},
        "training": {"epochs": 15, "batch_size": 128, "learning_rate": 0.02, "loss": "full"},
        # The others are fitted in the run of tests/e2e/test_movielens.py.
        "evaluation": {"baselines": {"names": ["popularity", "item_knn", "blend"]}},
        "validation": {"num_requests": 20, "max_latency_ms": None},
        "serving": {"base_path": "models", "port": 0, "rest_port": 0},
    }
    for key, value in changes.items():
        *parents, last = key.split(".")
        place = content
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")


@dataclasses.dataclass(frozen=True)
class Line:
    """What the terminal showed of a node."""

    node: str
    state: str
    seconds: float
    summary: str


@dataclasses.dataclass(frozen=True)
class Ended:
    """What a command did."""

    code: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def lines(self) -> list[Line]:
        """The nodes' lines."""
        return [line for text in self.stdout.split("\n") if (line := parse_line(text))]

    def states(self) -> dict[str, str]:
        """State by node."""
        return {line.node: line.state for line in self.lines}

    @property
    def text(self) -> str:
        """All that was written."""
        return self.stdout + self.stderr


def parse_line(text: str) -> Optional[Line]:
    """Returns the node's line in a line of the terminal, if it is one."""
    found = re.fullmatch(r"[✓=✗] (\w+) +(done|cached|failed) +(\d+\.\d) s(?:  ?(.*))?", text.rstrip("\n"))
    return Line(found[1], found[2], float(found[3]), (found[4] or "").strip()) if found else None


def environment() -> dict[str, str]:
    """The environment of a plain terminal: nothing that makes the frameworks quieter or faster than a user has them."""
    unwanted = (
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONWARNINGS",
        "TF_USE_LEGACY_KERAS",
        "TF_CPP_MIN_LOG_LEVEL",
        "FORCE_COLOR",
    )
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    checkout = str(Path(__file__).resolve().parents[2])
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, (checkout, kept.get("PYTHONPATH"))))
    return {**kept, "COLUMNS": "200"}


def command(*arguments: str) -> list[str]:
    """The command line of `recommender`, installed or not."""
    return [sys.executable, "-c", "from pipeline.cli import main; main()", *arguments]


def start(folder: Path, *arguments: str, plain: bool = False) -> subprocess.Popen[str]:
    """Starts `recommender` in a folder, in a process group of its own.

    Args:
        folder: The folder.
        *arguments: What stands after `recommender`.
        plain: Whether also a command that imports TensorFlow is started as a user starts it; else it is forked off a
            process that has imported it.
    """
    options: dict[str, Any] = {
        "cwd": folder,
        "env": environment(),
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "encoding": "utf-8",
        "start_new_session": True,
    }
    if arguments[0] in HEAVY and not plain:
        return forks.Popen(command(*arguments), **options)
    # As at a terminal: a shell's background job, in which these tests may run, ignores Ctrl-C and passes that on.
    return subprocess.Popen(
        command(*arguments), preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **options
    )


def recommender(folder: Path, *arguments: str, timeout: float = 1800, plain: bool = False) -> Ended:
    """Runs `recommender` in a folder to its end; see `start`."""
    started = time.monotonic()
    process = start(folder, *arguments, plain=plain)
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    finally:
        end_group(process)
    return Ended(process.returncode, stdout, stderr, time.monotonic() - started)


def run(folder: Path, *arguments: str, plain: bool = False) -> Ended:
    """Runs the pipeline of a folder; see `start`."""
    return recommender(folder, "run", "--config", "config.yaml", *arguments, plain=plain)


def end_group(process: subprocess.Popen[str]) -> None:
    """Kills a process and all that it has started, as the system does when it is out of memory."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Waits until the condition is true, and returns its value."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen within {seconds:g} s")


def versions(folder: Path) -> list[Path]:
    """The versions that a model server would see, and anything else in their folder that it might take for one."""
    directory = folder / "models" / NAME
    return sorted(path for path in directory.iterdir() if path.name.isdigit()) if directory.is_dir() else []
