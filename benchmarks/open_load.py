"""A load generator that asks at a rate, whether answers come or not (open loop), as many independent users do.

    python -m benchmarks.open_load grpc 127.0.0.1:8500 --rate 500 --seconds 10 --deadline 0.5 --items 100000

Moments are drawn as a Poisson process. Prints a line when it is ready, starts at the time (of the system's monotonic
clock) that comes on standard input, and prints [due, lag, seconds, outcome] of each request: it was sent `lag` seconds
after it was due, seconds count from the moment at which it was due, and the outcome is gRPC's name of the code, also
over REST.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import re
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.serving_load import ASKERS, MODEL, queries

CHANNELS = 8
"""gRPC channels, as of so many programs."""
_CODES = {200: "OK", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}
_WAIT = 1.0
"""Seconds after its deadline in which an answer is still waited for, before it counts as none."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

Ask = Callable[[bytes], Awaitable[str]]


class Asked(NamedTuple):
    """What became of a request."""

    due: float
    """Seconds from the start."""
    lag: float
    """Seconds after which it was sent: much more than 0 if the load generator can't keep up."""
    seconds: float
    """From when it was due until its end."""
    code: str


def grpc_asker(target: str, deadline: float) -> Ask:
    """Asks over several channels in turn."""
    import grpc

    options = [("grpc.use_local_subchannel_pool", 1)]
    path = "/tensorflow.serving.PredictionService/Predict"
    methods = [grpc.aio.insecure_channel(target, options=options).unary_unary(path) for _ in range(CHANNELS)]
    turn = itertools.cycle(methods)

    async def ask(request: bytes) -> str:
        try:
            await next(turn)(request, timeout=deadline)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"

    return ask


class _Connection(asyncio.Protocol):
    """A connection that is kept; it knows as much of HTTP as the answers of our server need."""

    def __init__(self) -> None:
        self._data = b""
        self._answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        self.transport = transport

    def connection_lost(self, error: Any) -> None:
        """See `asyncio.Protocol`."""
        if not self._answer.done():
            self._answer.set_exception(ConnectionError("closed"))

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if found and length and len(body) >= int(length[1]) and not self._answer.done():
            self._answer.set_result(int(head[9:12]))

    def ask(self, request: bytes) -> asyncio.Future[int]:
        """Sends a request; the status will come."""
        self._data = b""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._answer


def rest_asker(target: str, deadline: float) -> Ask:
    """Asks on connections that are kept, as many as there are requests at the same time."""
    host, port = target.split(":")
    head = f"POST /v1/models/{MODEL}:predict HTTP/1.1\r\nHost: {target}\r\nContent-Type: application/json\r\n"
    idle: list[_Connection] = []

    async def ask(body: bytes) -> str:
        request = b"%bContent-Length: %d\r\n\r\n%b" % (head.encode(), len(body), body)
        loop = asyncio.get_running_loop()
        connection = idle.pop() if idle else None
        try:
            if connection is None:
                _, connection = await loop.create_connection(_Connection, host, int(port))
            status = await asyncio.wait_for(connection.ask(request), deadline + _WAIT)
        except OSError as error:
            return type(error).__name__
        except asyncio.TimeoutError:
            if connection is not None:
                connection.transport.abort()
            return "DEADLINE_EXCEEDED"
        idle.append(connection)
        return _CODES.get(status, f"HTTP {status}")

    return ask


OPEN = {"grpc": grpc_asker, "rest": rest_asker}


def moments(rate: float, seconds: float, seed: int) -> np.ndarray:
    """When requests are due within so many seconds, [N] ascending: a Poisson process of so many a second."""
    chance = np.random.default_rng(seed)
    return np.sort(chance.uniform(0, seconds, chance.poisson(rate * seconds)))


async def load(ask: Ask, requests: list[bytes], due: np.ndarray, start: float) -> list[Asked]:
    """Asks at `start` plus each of the moments [N]; returns what became of each."""
    found: list[Asked] = []
    tasks: set[asyncio.Task[None]] = set()

    async def one(request: bytes, moment: float) -> None:
        lag = time.monotonic() - start - moment
        code = await ask(request)
        found.append(Asked(moment, lag, time.monotonic() - start - moment, code))

    for number, moment in enumerate(due.tolist()):
        wait = start + moment - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        elif not number % 10:
            await asyncio.sleep(0)  # who is late lets answers be read all the same
        task = asyncio.create_task(one(requests[number % len(requests)], moment))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    if tasks:
        await asyncio.wait(tasks)
    return sorted(found)


def main() -> None:
    """Asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=OPEN)
    parser.add_argument("target", help="host:port")
    for name in ("rate", "seconds", "deadline"):
        parser.add_argument(f"--{name}", type=float, required=True)
    parser.add_argument("--items", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(json.dumps(asyncio.run(_main(arguments))), flush=True)


async def _main(arguments: argparse.Namespace) -> list[Any]:
    requests = [ASKERS[arguments.kind](arguments.target).write(query) for query in queries(arguments.items)]
    ask = OPEN[arguments.kind](arguments.target, arguments.deadline)
    with contextlib.suppress(Exception):
        await ask(requests[0])  # connects
    print("ready", flush=True)
    start = float(sys.stdin.readline())
    return await load(ask, requests, moments(arguments.rate, arguments.seconds, arguments.seed), start)


if __name__ == "__main__":
    main()
