"""A simulated month: a shop whose users click what they are served, thirty nights of `recommender nightly`, and what
goes wrong in a month.

    python -m benchmarks.month --chart docs/month.svg

The world is made up: users with tastes that drift, each day new ones and new items, which are wanted while they are
new, and as many that leave, so that it stays as large as it is; and a hidden preference by which a user, looking down a
list from the top, clicks or doesn't. All else is real: two embedded model servers are asked by the client, which logs
its answers; what is clicked stands in tomorrow's log; each night is a process of `recommender nightly`, and while it
works the servers are asked on and on. Some days go wrong (`TROUBLES`), and every third night is killed (SIGKILL) at
random moments and called again.

Beside the served model the same users are shown on the same days what the first version, never trained again, and the
most popular items of the log recommend; whether a user would click is the same draw for all three. Exit code 1 unless
no bad version became stable, no request failed, the served model ends above both others, and the disk stays flat.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import csv
import dataclasses
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Optional

import numpy as np
import yaml

from serving.client import AnswerLog, RecommenderClient, RecommenderError
from serving.promotion import Promoter, files, read_audit
from serving.server.ports import free_port
from serving.server.process import EMBEDDED, environment
from serving.server.process import command as server_command

MODEL, FROZEN = "shop", "frozen"
TROUBLES = {
    4: "missing",
    7: "bot",
    10: "column",
    13: "units",
    16: "catalogue",
    19: "replica",
    22: "config",
}
"""Which day goes wrong, and how."""
WORDS = {
    "missing": "90 % of the rows are missing",
    "bot": "a bot makes half of the events",
    "column": "a column is gone",
    "units": "prices come in cents",
    "catalogue": "the catalogue is broken",
    "replica": "a replica is dead",
    "config": "a config that trains badly",
    "kill": "killed",
}
_DAY = 86_400
_START = 1_767_225_600  # 2026-01-01 UTC, in seconds
_K = 10
_KILLS = 3
_BAD_CONFIG = ("training.learning_rate=0.000001", "model.linear.enabled=false")
_PULSE_S = 0.05


@dataclass(frozen=True)
class Size:
    """How large the world is."""

    users: int = 150
    items: int = 480
    new_users: int = 1
    """A day; as many leave, so each stays for as many days as there are times that many users."""
    new_items: int = 8
    """Likewise."""
    window: int = 14
    """Days that the log has, which slides."""
    kinds: int = 8
    epochs: int = 6


class World:
    """Users, items and their hidden preference.

    Args:
        size: How large.
        days: How many there will be after the first log's.
        seed: Of everything.
    """

    def __init__(self, size: Size, days: int, seed: int):
        self._seed = seed
        chance = np.random.default_rng(seed)
        self.size, self.last = size, size.window + days
        users, items = size.users + size.new_users * self.last, size.items + size.new_items * self.last
        self.joined = (np.arange(users) - size.users) // size.new_users + 1  # day of each user
        self.born = (np.arange(items) - size.items) // size.new_items + 1
        self.kind = chance.integers(0, size.kinds, items)
        centres = chance.normal(0, 1, (size.kinds, 6))
        self._vectors = centres[self.kind] + chance.normal(0, 0.5, (items, 6))
        self._quality = chance.normal(0, 0.5, items)
        self.price = np.round(np.exp(chance.normal(2.5, 0.3, items) + 0.3 * (self.kind % 3)), 2)
        self._tastes = chance.normal(0, 1, (users, 6))

    def items(self, day: int) -> np.ndarray:
        """Numbers of the items that there are."""
        return np.flatnonzero((self.born <= day) & (day < self.born + self.size.items // self.size.new_items))

    def preference(self, user: int, day: int) -> np.ndarray:
        """How much a user likes each item on a day, [items]: their taste of the day, quality, and newness."""
        drift = np.random.default_rng((self._seed, 1, user)).normal(0, 0.12, (self.last + 1, 6))
        taste = self._tastes[user] + drift[: day + 1].sum(0)
        taste = 2.2 * taste / np.linalg.norm(taste)
        newness = 2 * np.exp(-np.maximum(day - self.born, 0) / 10)
        return self._vectors @ taste + self._quality + newness

    def visitors(self, day: int) -> list[int]:
        """Who comes on a day."""
        come = np.random.default_rng((self._seed, 2, day)).random(len(self.joined)) < 0.6
        there = (self.joined <= day) & (day < self.joined + self.size.users // self.size.new_users)
        return np.flatnonzero(come & there).tolist()

    def organic(self, user: int, day: int, had: set[int]) -> list[int]:
        """What a user finds without being served."""
        chance = np.random.default_rng((self._seed, 3, day, user))
        there = np.array([item for item in self.items(day) if item not in had])
        liking = self.preference(user, day)[there]
        weights = np.exp(liking - liking.max())
        return chance.choice(there, min(3, len(there)), replace=False, p=weights / weights.sum()).tolist()

    def clicks(self, user: int, day: int, shown: Sequence[int]) -> list[int]:
        """What a user clicks of a list. Whether they would click an item is one draw a day, whoever shows it."""
        chance = np.random.default_rng((self._seed, 4, day, user))
        would = chance.random(len(self.born)) < 1 / (1 + np.exp(4.5 - self.preference(user, day)))
        looked = 1 + int(chance.geometric(0.2))  # places, from the first on
        return [item for item in shown[:looked] if would[item]]


@dataclass(frozen=True)
class Event:
    """A row of the log."""

    user: str
    item: str
    time: int
    """Seconds since the epoch."""


@dataclass
class Day:
    """What came of a day and its night; rates are shares of lists with a click."""

    day: int
    trouble: str = ""
    codes: list[int] = field(default_factory=list)
    """Exit codes of the calls of the night, negative for a signal."""
    cause: str = ""
    said: str = ""
    stable: int = 0
    """The version that serves in the end."""
    pushed: int = 0
    """The version that the night pushed; 0 for none."""
    requests: int = 0
    failed: int = 0
    served: float = 0.0
    frozen: float = 0.0
    popular: float = 0.0
    bytes: int = 0
    """Of artifacts, metadata, logs and versions."""
    seconds: float = 0.0
    """Of the night, by the clock, all calls of it."""
    cpu: float = 0.0
    """And of the processors."""


class Replica:
    """A model server that serves what models.config says, and can be killed and started again on its ports."""

    def __init__(self, base: Path, log: Path):
        self._base, self._log = base, log
        self._ports = free_port(), free_port()
        self._process: Optional[subprocess.Popen[bytes]] = None

    @property
    def target(self) -> str:
        """`host:port` of gRPC."""
        return f"127.0.0.1:{self._ports[0]}"

    def start(self) -> None:
        """Starts it, and waits until it serves."""
        config = files.config_path(self._base)
        arguments = server_command(
            self._base, MODEL, port=self._ports[0], rest_port=self._ports[1], binary=EMBEDDED, config_file=config
        )
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                [*arguments, "--exit_with_stdin"], stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment()
            )
        with RecommenderClient(self.target, model=MODEL, label="stable", timeout=5) as client:
            deadline = time.monotonic() + 120
            while True:
                try:
                    client.recommend()
                    return
                except RecommenderError:
                    if time.monotonic() > deadline or self._process.poll() is not None:
                        raise
                    time.sleep(0.1)

    def kill(self) -> None:
        """Ends it at once, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Pulse:
    """Asks the servers on and on while a night works; a context manager."""

    def __init__(self, client: RecommenderClient, users: Sequence[str], seed: int):
        self.requests = 0
        self.errors: list[str] = []
        self._client, self._draw, self._users = client, random.Random(seed), users
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._stop.wait(_PULSE_S):
            self.requests += 1
            try:
                self._client.recommend(self._draw.choice(self._users))
            except RecommenderError as error:
                self.errors.append(str(error))


class Month:
    """The shop in a folder: its data, its servers and its nights."""

    def __init__(
        self,
        folder: Path,
        world: World,
        troubles: Mapping[int, str],
        kills: set[int],
        seed: int,
        changes: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ):
        self.folder, self.world, self.troubles, self.kills = folder, world, troubles, kills
        self._draw = random.Random(seed)
        self._seed = seed
        self.events: list[Event] = []
        self.had: dict[int, set[int]] = collections.defaultdict(set)
        self.base = folder / "models"
        self.replicas = [Replica(self.base, folder / f"server{number}.log") for number in range(2)]
        self.days: list[Day] = []
        self.errors: list[str] = []
        for name in ("data", "answers"):
            (folder / name).mkdir(parents=True)
        config = self._config()
        for section, keys in changes.items():
            config[section] = {**config.get(section, {}), **keys}
        (folder / "shop.yaml").write_text(yaml.safe_dump(config), "utf-8")

    def _config(self) -> dict[str, Any]:
        return {
            "name": MODEL,
            "output": "output",
            "data": {
                "interactions": {
                    "path": "data/log.csv",
                    "timestamp_unit": "s",
                    "history": {"max_length": 30},
                    "split": {"eval_fraction": 0.1},
                },
                "catalogue": {
                    "path": "data/items.csv",
                    "features": {"kind": {"type": "category"}, "price": {"type": "number", "min": 0}},
                },
            },
            "model": {"dim": 24, "history": "pooling"},
            "training": {"epochs": self.world.size.epochs, "batch_size": 256, "learning_rate": 0.01, "loss": "full"},
            "evaluation": {
                "ks": [1, 10],
                "slices": [["user_type"]],
                "max_queries": 400,
                "bootstrap_replicates": 100,
                "baselines": {"names": ["popularity"]},
                "thresholds": {
                    "hit_rate@10": {"max_drop": 0.05},
                    "ndcg@10": {"beat_popularity": True, "keep_lead": 0.3},
                },
            },
            "validation": {"num_requests": 10, "max_latency_ms": None},
            "serving": {
                "base_path": "models",
                "default_k": _K,
                "only_listed": True,
                "replicas": [replica.target for replica in self.replicas],
            },
            "retention": {"versions": 3, "runs": 2, "logs": 5},
            "nightly": {
                "trial": {"num_queries": 20, "max_p99_ratio": 50.0},
                "answers": ["answers"],
                "max_age_days": None,
            },
        }

    # --- Days -----------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The days before the first night, on which nothing is served."""
        for day in range(self.world.size.window):
            for user in self.world.visitors(day):
                self._organic(user, day)

    def live(self, day: Day) -> None:
        """A day: who comes is served, clicks, and finds some things alone."""
        today = self.world.size.window - 1 + day.day
        popular = self._popular(today)
        hits: collections.Counter[str] = collections.Counter()
        visitors, there = self.world.visitors(today), {*self.world.items(today).tolist()}
        gone = {item for item in range(max(there)) if item not in there}
        when: dict[str, int] = {}
        raw = self.folder / "raw"
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(AnswerLog(raw, history=5))
            targets = [replica.target for replica in self.replicas]
            client = stack.enter_context(RecommenderClient(targets, model=MODEL, label="stable", answer_log=log))
            frozen = stack.enter_context(RecommenderClient(targets, model=FROZEN, label="stable"))
            for number, user in enumerate(visitors):
                name, had = f"u{user}", self.had[user]
                history = [event.item for event in self._of(name)][:30]
                # Nobody takes a thing twice, or one that is no longer there.
                left_out = [f"i{item}" for item in sorted(had | gone)]
                moment = _START + today * _DAY + 100 * number
                when[name] = moment
                lists = {"popular": [item for item in popular if item in there - had][:_K]}
                for kind, asked in (("served", client), ("frozen", frozen)):
                    day.requests += 1
                    try:
                        lists[kind] = [
                            int(item[1:]) for item in asked.recommend(name, history, exclude=left_out).item_ids
                        ]
                    except RecommenderError as error:
                        self._failed(day, str(error))
                for kind, shown in lists.items():
                    clicked = self.world.clicks(user, today, shown)
                    hits[kind] += bool(clicked)
                    for item in clicked if kind == "served" else ():
                        self._add(user, item, moment + 5 + shown.index(item))
                self._organic(user, today)
        self._log_answers(raw, when, day.day)
        for kind in ("served", "frozen", "popular"):
            setattr(day, kind, hits[kind] / max(len(visitors), 1))

    def _failed(self, day: Day, error: str) -> None:
        day.failed += 1
        self.errors.append(f"day {day.day}: {error}")

    def _log_answers(self, raw: Path, when: Mapping[str, int], day: int) -> None:
        """Gives the answers that were logged the times of the world."""
        lines = []
        for path in sorted(raw.glob("*.jsonl")):
            for line in path.read_text("utf-8").splitlines():
                record = json.loads(line)
                lines.append(json.dumps({**record, "time": when[record["user"]] * 1_000_000}))
        shutil.rmtree(raw)
        (self.folder / "answers" / f"{day:02}.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")
        for old in sorted((self.folder / "answers").iterdir())[: -self.world.size.window]:
            old.unlink()

    def _of(self, user: str) -> Iterator[Event]:
        return (event for event in reversed(self.events) if event.user == user)

    def _organic(self, user: int, today: int) -> None:
        start = _START + today * _DAY + _DAY // 2 + 30 * user
        for number, item in enumerate(self.world.organic(user, today, self.had[user])):
            self._add(user, item, start + number)

    def _add(self, user: int, item: int, when: int) -> None:
        self.had[user].add(item)
        self.events.append(Event(f"u{user}", f"i{item}", when))

    def _popular(self, today: int) -> list[int]:
        """The items by their events in last night's window, the most popular first."""
        counts = collections.Counter(event.item for event in self._window(today - 1))
        return [int(item[1:]) for item, _ in counts.most_common()]

    def _window(self, today: int) -> list[Event]:
        first = _START + (today + 1 - self.world.size.window) * _DAY
        return [event for event in self.events if event.time >= first]

    # --- Nights ---------------------------------------------------------------------------------------------------

    def night(self, day: Day) -> None:
        """A night: what came in is exported, and `recommender nightly` is called until a call comes to its end."""
        self._export(day)
        options = [f"--set={change}" for change in _BAD_CONFIG] if day.trouble == "config" else []
        started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        with self._pulse(day):
            for _ in range(_KILLS if day.day in self.kills else 0):
                process = self._call(options)
                try:
                    process.communicate(timeout=self._draw.uniform(0.5, 15))
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.communicate()
                day.codes.append(process.returncode)
                if process.returncode >= 0:
                    break  # it came to its end before it could be killed
            else:
                process = self._call(options)
                process.communicate()
                day.codes.append(process.returncode)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        day.seconds = time.monotonic() - started
        day.cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        last = json.loads((self.folder / "output" / MODEL / "nights.jsonl").read_text("utf-8").splitlines()[-1])
        if last["code"] != day.codes[-1]:
            raise RuntimeError(f"the night was none: see {self.folder / 'nights.log'}")
        day.cause = last["cause"]
        day.said = "; ".join(f"{step['name']}: {step['said']}" for step in last["steps"] if step["code"])
        run = next((step for step in last["steps"] if step["name"] == "run"), {"facts": {}})
        pushed = run["facts"].get("pushed") or {}
        day.pushed = pushed.get("version", 0) if pushed.get("new") else 0
        day.stable = files.stable_version(self.base, MODEL) or 0
        day.bytes = sum(_bytes(path) for path in (self.folder / "output", self.base / MODEL))

    @contextlib.contextmanager
    def _pulse(self, day: Day) -> Iterator[None]:
        if not files.config_path(self.base).exists():
            yield
            return
        targets = [replica.target for replica in self.replicas]
        users = sorted({event.user for event in self.events[-1_000:]})
        with RecommenderClient(targets, model=MODEL, label="stable") as client:
            with Pulse(client, users, self._seed + day.day) as pulse:
                yield
            day.requests += pulse.requests
            for error in pulse.errors:
                self._failed(day, error)

    def _call(self, options: Sequence[str]) -> subprocess.Popen[bytes]:
        from tests import forks  # what needn't import TensorFlow each time

        program = [sys.executable, "-c", "from pipeline.cli import main; main()"]
        with open(self.folder / "nights.log", "ab") as log:
            return forks.Popen(
                [*program, "nightly", "--config", "shop.yaml", *options],
                cwd=self.folder,
                env={**environment(), "COLUMNS": "200"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _export(self, day: Day) -> None:
        """Writes the log and the catalogue of the day, with what is wrong with them."""
        today = self.world.size.window - 1 + day.day
        events = self._window(today)
        draw = np.random.default_rng((self._seed, 5, day.day))
        if day.trouble == "missing":
            events = [event for event, kept in zip(events, draw.random(len(events)) < 0.1) if kept]
        if day.trouble == "bot":
            items = self.world.items(today)
            end = events[-1].time
            events += [Event("bot", f"i{draw.choice(items)}", end - number) for number in range(len(events))]
        head = ["user_id", "item_id", "timestamp"]
        rows: list[list[Any]] = [[event.user, event.item, event.time] for event in events]
        if day.trouble == "column":
            head, rows = [head[0], head[2]], [[row[0], row[2]] for row in rows]
        _write(self.folder / "data" / "log.csv", head, rows)
        cents = 100 if day.trouble == "units" else 1
        items = self.world.items(today)
        table = [[f"i{item}", f"k{self.world.kind[item]}", f"{self.world.price[item] * cents:.2f}"] for item in items]
        if day.trouble == "catalogue":
            table = table[: len(table) // 4]
        _write(self.folder / "data" / "items.csv", ["item_id", "kind", "price"], table)

    # --- The month ------------------------------------------------------------------------------------------------

    def run(self, nights: int) -> None:
        """All of it; prints a line a day."""
        self.begin()
        for number in range(nights + 1):
            day = Day(number, self.troubles.get(number, ""))
            self.days.append(day)
            if number:
                if day.trouble == "replica":
                    self.replicas[1].kill()
                self.live(day)
            self.night(day)
            if number == 0:
                self._freeze(day.stable)
                for replica in self.replicas:
                    replica.start()
            if day.trouble == "replica":
                self.replicas[1].start()
            print(_line(day, number in self.kills), flush=True)

    def _freeze(self, version: int) -> None:
        """Keeps the first version as a model of its own, which is served beside the shop's."""
        shutil.copytree(self.base / MODEL / str(version), self.base / FROZEN / "1")
        Promoter(self.base, FROZEN, ()).promote(1, "stable")

    def close(self) -> None:
        """Ends what runs."""
        for replica in self.replicas:
            replica.kill()

    # --- What must hold -------------------------------------------------------------------------------------------

    def faults(self) -> list[str]:
        """What does not hold that must; see the module's head."""
        found = []
        bad = {day.pushed for day in self.days if day.trouble not in ("", "replica") and day.pushed}
        served = {
            entry.to_version
            for entry in read_audit(self.base, MODEL, genuine=True)
            if entry.label == "stable" and entry.result == files.DONE
        }
        if bad & served:
            found.append(f"bad versions became stable: {sorted(bad & served)}")
        for day in self.days:
            wanted = {"replica": [1], "column": [2], "catalogue": [2]}.get(day.trouble, [3] if day.trouble else [0, 3])
            if day.codes[-1] not in wanted:
                found.append(f"day {day.day} ({day.trouble or 'well'}): exit code {day.codes[-1]}: {day.said}")
        if failed := sum(day.failed for day in self.days):
            found.append(f"{failed} requests failed: {'; '.join(self.errors[:3])}")
        third = max(1, len(self.days) // 3)
        last, middle = self.days[-third:], self.days[-2 * third : -third]
        for name in ("frozen", "popular"):
            served_rate, other = (np.mean([getattr(day, kind) for day in last]) for kind in ("served", name))
            if served_rate <= other:
                found.append(f"in the end the served model is hit by {served_rate:.3f}, {name} by {other:.3f}")
        if middle and max(day.bytes for day in last) > 1.25 * max(day.bytes for day in middle):
            found.append("the disk fills")
        return found


def chart(days: Sequence[Day]) -> str:
    """The month as SVG: hit rates, exit codes and trouble, disk."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style = {"svg.hashsalt": "month", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False}
    with mpl.rc_context({**style, "axes.spines.right": False}):
        figure = Figure(figsize=(9, 6.5), layout="constrained")
        canvas = FigureCanvasSVG(figure)
        rates, disk = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        lived = [day for day in days if day.day]
        numbers = [day.day for day in lived]
        for name, label, colour in (
            ("served", "what is served", "#1b6ca8"),
            ("popular", "most popular, nightly", "#c46a1b"),
            ("frozen", "first version, never again trained", "#7a7a7a"),
        ):
            values = np.array([getattr(day, name) for day in lived])
            rates.plot(numbers, values, ".", color=colour, alpha=0.35)
            rates.plot(numbers, _smooth(values), color=colour, linewidth=2, label=label)
        top = 1.7 * max(day.served for day in lived)  # room for words
        rates.set_ylim(0, top)
        for day in lived:
            if day.trouble:
                rates.axvline(day.day, color="#b02a30", linewidth=0.8, linestyle=":")
                text = f"{WORDS[day.trouble]} → {day.codes[-1]}"
                rates.text(day.day, top, text, rotation=90, ha="right", va="top", fontsize=7.5, color="#b02a30")
            if any(code < 0 for code in day.codes):
                rates.plot([day.day], [0], "kx", markersize=5, clip_on=False)
        rates.set_ylabel("lists with a click")
        figure.legend(loc="outside upper center", ncols=3, frameon=False)
        disk.plot([day.day for day in days], [day.bytes / 1e6 for day in days], color="#1b6ca8")
        disk.set_ylim(bottom=0)
        disk.set_ylabel("MB on disk")
        disk.set_xlabel("night (×: killed and called again)")
        file = io.StringIO()
        canvas.print_svg(file, metadata={"Date": None})
    return re.sub(r"[ \t]+$", "", file.getvalue(), flags=re.MULTILINE)


def _smooth(values: np.ndarray, days: int = 5) -> np.ndarray:
    """The mean of the last days."""
    return np.array([values[max(0, place - days + 1) : place + 1].mean() for place in range(len(values))])


def _line(day: Day, killed: bool) -> str:
    rates = f"served {day.served:.3f}  frozen {day.frozen:.3f}  popular {day.popular:.3f}"
    codes = ",".join(map(str, day.codes))
    what = " ".join(filter(None, [day.trouble, "(killed)" if killed else "", day.cause, day.said[:120]]))
    return (
        f"{day.day:>3}  {rates}  code {codes:<12} stable {day.stable}  failed {day.failed}/{day.requests}"
        f"  {day.bytes / 1e6:6.1f} MB  {day.seconds:5.1f} s ({day.cpu:4.1f} s CPU)  {what}"
    )


def _bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def _write(path: Path, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])


def simulate(
    folder: Path,
    nights: int = 30,
    size: Size = Size(),
    troubles: Mapping[int, str] = TROUBLES,
    kill_every: int = 3,
    seed: int = 1,
    changes: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> Month:
    """Lives a month in an empty folder; returns what came of it.

    Args:
        folder: The folder.
        nights: How many, after the first one, with which nothing is served yet.
        size: Of the world.
        troubles: What goes wrong on which day, of `WORDS`.
        kill_every: Each so-manieth night is killed; none with 0.
        seed: Of everything.
        changes: Keys of the config by section.
    """
    from tests import forks

    forks.fork_servers()
    kills = set(range(kill_every, nights + 1, kill_every)) if kill_every else set()
    month = Month(folder, World(size, nights + 1, seed), troubles, kills, seed, changes)
    try:
        month.run(nights)
    finally:
        month.close()
    return month


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--chart", type=Path, help="where to draw what came of it, an SVG file")
    parser.add_argument("--json", type=Path, help="where to write what came of each day")
    parser.add_argument("--folder", type=Path, help="an empty folder for all of it, which is left; by default none is")
    arguments = parser.parse_args()
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        month = simulate(folder.absolute(), arguments.nights, seed=arguments.seed)
        if arguments.json:
            arguments.json.write_text(json.dumps([dataclasses.asdict(day) for day in month.days], indent=1), "utf-8")
        if arguments.chart:
            arguments.chart.write_text(chart(month.days), "utf-8")
        faults = month.faults()
    for fault in faults:
        print(f"NOT KEPT: {fault}")
    print(
        f"{arguments.nights} nights in {time.monotonic() - started:.0f} s: {'wrong' if faults else 'all as it must be'}"
    )
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
