"""A synthetic log of a tool web site: who used which tool when, with what.

    python -m tests.recipes.tools OUT_DIR [--rows 165000] [--seed 0]

Same columns, types and sizes as the log of the notebook behind `configs/tools.yaml`: 165 thousand events of users with
39-digit ids on some twenty tools, few of which each user has ever touched. Hidden in it: a work flow leads from tool to
tool, and what somebody starts with follows from system, plan and time of day.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.recipes.tables import command, write_csv

TOOLS = (
    *("merge", "compress", "split", "jpg", "edit", "word", "delete", "rotate", "sign", "ppt", "excel", "protect"),
    *("unlock", "extract", "number-pages", "watermark", "crop", "png", "html", "repair", "flatten"),
)
"""The most used first."""
HEADER = ("", "ts", "user_id", "os", "browser", "plan", "page")
_OS = {"windows": 0.62, "mac_os": 0.24, "linux": 0.05, "android": 0.06, "ios": 0.03}
_BROWSERS = {"Chrome": 0.62, "Firefox": 0.15, "Safari": 0.13, "Edge": 0.10}
_PLANS = {"monthly": 0.55, "yearly": 0.3, "free": 0.15}
_START = np.datetime64("2020-01-02T00:00:00")
_EVENTS_A_USER = 38
_KNOWN_TOOLS = 3.4
"""Mean number of tools of a user."""


def generate(rows: int = 165_000, seed: int = 0) -> list[tuple[str, ...]]:
    """Returns about `rows` rows of `HEADER`, in the order of time."""
    rng = np.random.default_rng(seed)
    flow = _work_flow(rng)
    starts = rng.permuted(np.tile(_zipf(len(TOOLS)), (len(_OS), len(_PLANS), 2, 1)), axis=3) + _zipf(len(TOOLS))
    events: list[tuple[np.datetime64, tuple[str, ...]]] = []
    for _ in range(max(2, rows // _EVENTS_A_USER)):
        events += _user(rng, flow, starts)
    events.sort(key=lambda event: event[0])
    return [(str(n), str(time).replace("T", " "), *values) for n, (time, values) in enumerate(events)]


def _user(
    rng: np.random.Generator, flow: np.ndarray, starts: np.ndarray
) -> Iterator[tuple[np.datetime64, tuple[str, ...]]]:
    """Yields time and the other columns of a user's events: sessions of a few tools along the work flow."""
    user_id = "".join(map(str, [rng.integers(1, 4), *rng.integers(0, 10, 38)]))
    system, browser, plan = (int(rng.choice(len(p), p=list(p.values()))) for p in (_OS, _BROWSERS, _PLANS))
    late = int(rng.integers(2))
    pool: list[int] = []
    wanted = 1 + rng.geometric(1 / (_KNOWN_TOOLS - 1))
    start = starts[system, plan, late]
    time = _START + np.timedelta64(int(rng.integers(365 * 86_400_000)), "ms")
    left = 1 + int(rng.exponential(_EVENTS_A_USER))
    while left > 0:
        # Days later, in the morning or in the evening.
        day = time.astype("datetime64[D]") + np.timedelta64(int(rng.geometric(0.15)), "D")
        time = day + np.timedelta64(int((7 + 10 * late + 5 * rng.random()) * 3_600_000), "ms")
        tool = _next(rng, pool, start, wanted)
        for _ in range(min(left, int(rng.geometric(0.45)))):
            yield time, (user_id, list(_OS)[system], list(_BROWSERS)[browser], list(_PLANS)[plan], TOOLS[tool])
            time += np.timedelta64(int(rng.integers(5_000, 400_000)), "ms")
            left -= 1
            tool = _next(rng, pool, flow[tool], wanted)


def _next(rng: np.random.Generator, pool: list[int], probability: np.ndarray, wanted: int) -> int:
    """A tool by its probability; among those of the user's pool once that is full, else it joins the pool."""
    weight = probability if len(pool) < wanted else np.where(np.isin(np.arange(len(TOOLS)), pool), probability, 0)
    tool = int(rng.choice(len(TOOLS), p=weight / weight.sum()))
    if tool not in pool:
        pool.append(tool)
    return tool


def _work_flow(rng: np.random.Generator) -> np.ndarray:
    """Probabilities [T, T] of the tool after each: three in four times one of two followers, else a popular one."""
    count = len(TOOLS)
    flow = np.tile(0.25 * _zipf(count), (count, 1))
    for tool in range(count):
        first, second = rng.choice(np.delete(np.arange(count), tool), 2, replace=False)
        flow[tool, first] += 0.5
        flow[tool, second] += 0.25
    return flow


def _zipf(count: int) -> np.ndarray:
    weight = 1 / np.arange(1, count + 1)
    return weight / weight.sum()


def write(folder: Path, rows: int = 165_000, seed: int = 0) -> None:
    """Writes `events.csv` into the folder."""
    write_csv(folder / "events.csv", HEADER, generate(rows, seed))


if __name__ == "__main__":
    command(__doc__, write, rows=165_000)
