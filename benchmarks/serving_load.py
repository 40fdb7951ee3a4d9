"""A load generator: so many clients, each of which asks again as soon as it has its answer (closed loop).

    python -m benchmarks.serving_load grpc 127.0.0.1:8500 --clients 8 --seconds 5 --items 30000

Prints a JSON line when it is ready, starts when a line comes on standard input, and prints the latencies.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

MODEL = "bench"
NUM_USERS = 10_000
K = 10
HISTORY = 20
QUERIES = 256
CHECKED = 20
WARM_UP_SECONDS = 1.0

Query = tuple[str, list[str]]


class Asker(NamedTuple):
    """How one kind of server is asked."""

    open: Callable[[], Callable[[Any], Any]]
    """A new client: a function that sends a request and gives its answer, or a promise of it."""
    write: Callable[[Query], Any]
    """A query as a request, ready to be sent."""
    read: Callable[[Any], list[str]]
    """The item ids of an answer."""


def item_id(row: int) -> str:
    """The id of an item by its row."""
    return f"item-{row:07d}"


def user_id(row: int) -> str:
    """The id of a user by its row."""
    return f"user-{row:05d}"


def queries(num_items: int) -> list[Query]:
    """Users and histories: half of the queries are by known users, half by strangers with a history."""
    chance = np.random.default_rng(1)
    known: list[Query] = [(user_id(row), []) for row in chance.integers(0, NUM_USERS, QUERIES // 2)]
    rows = chance.integers(0, num_items, (QUERIES // 2, HISTORY))
    strangers: list[Query] = [("", [item_id(row) for row in line]) for line in rows]
    return [query for pair in zip(known, strangers) for query in pair]


def grpc_asker(target: str, signature: str) -> Asker:
    """Bytes go in and out as they are; asyncio, because gRPC's threads would take more CPU from the server."""
    import grpc

    from serving.protos import serving_pb2

    def write(query: Query) -> bytes:
        request = serving_pb2.PredictRequest()
        request.model_spec.name = MODEL
        request.model_spec.signature_name = signature
        user, history = query

        def put(name: str, shape: tuple[int, ...], values: list[bytes]) -> None:
            tensor = request.inputs[name]
            tensor.dtype = serving_pb2.DT_STRING
            for size in shape:
                tensor.tensor_shape.dim.add(size=size)
            tensor.string_val.extend(values)

        if signature == "recommend":
            put("user_id", (1,), [user.encode()])
            put("history", (1, len(history)), [item.encode() for item in history])
            put("exclude", (1, 0), [])
            request.inputs["k"].dtype = serving_pb2.DT_INT32
            request.inputs["k"].tensor_shape.SetInParent()
            request.inputs["k"].int_val.append(K)
        else:
            example = serving_pb2.Example()
            example.features.feature["user_id"].bytes_list.value.append(user.encode())
            example.features.feature["history"].bytes_list.value.extend(item.encode() for item in history)
            example.features.feature["k"].int64_list.value.append(K)
            put("examples", (1,), [example.SerializeToString()])
        return request.SerializeToString()

    def read(answer: bytes) -> list[str]:
        return [item.decode() for item in serving_pb2.PredictResponse.FromString(answer).outputs["item_ids"].string_val]

    def opened() -> Callable[[bytes], Any]:
        method = grpc.aio.insecure_channel(target).unary_unary("/tensorflow.serving.PredictionService/Predict")
        return lambda request: method(request, timeout=60)

    return Asker(opened, write, read)


def http_asker(target: str, path: str) -> Asker:
    """JSON over HTTP."""
    fastapi = path == "/recommend"

    def write(query: Query) -> bytes:
        user, history = query
        if fastapi:
            return json.dumps({"user_id": user, "history": history, "k": K}).encode()
        inputs = {"user_id": [user], "history": [history], "exclude": [[]], "k": K}
        return json.dumps({"signature_name": "recommend", "inputs": inputs}).encode()

    def read(answer: bytes) -> list[str]:
        document = json.loads(answer)
        if fastapi:
            return [item["item_id"] for item in document["items"]]
        return document["outputs"]["item_ids"][0]

    def opened() -> Callable[[bytes], bytes]:
        connection = http.client.HTTPConnection(target, timeout=60)

        def ask(body: bytes) -> bytes:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{target}{path}: {answer.status} {content[:200]!r}")
            return content

        return ask

    return Asker(opened, write, read)


def direct_asker(path: str) -> Asker:
    """The SavedModel in this process."""
    import tensorflow as tf

    recommend = tf.saved_model.load(path).signatures["recommend"]

    def ask(query: Query) -> dict[str, np.ndarray]:
        user, history = query
        found = recommend(
            user_id=tf.constant([user]),
            history=tf.constant([history], tf.string, shape=[1, len(history)]),
            exclude=tf.zeros([1, 0], tf.string),
            k=tf.constant(K),
        )
        return {name: value.numpy() for name, value in found.items()}

    return Asker(lambda: ask, lambda query: query, lambda answer: [item.decode() for item in answer["item_ids"][0]])


ASKERS = {
    "direct": direct_asker,
    "grpc": lambda target: grpc_asker(target, "recommend"),
    "batched": lambda target: grpc_asker(target, "recommend_examples"),
    "rest": lambda target: http_asker(target, f"/v1/models/{MODEL}:predict"),
    "fastapi": lambda target: http_asker(target, "/recommend"),
}


def main() -> None:
    """Asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=ASKERS)
    parser.add_argument("target", help="host:port, or the model's folder for `direct`")
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--items", type=int, required=True)
    arguments = parser.parse_args()
    asker = ASKERS[arguments.kind](arguments.target)
    requests = [asker.write(query) for query in queries(arguments.items)]
    end = [0.0, 0.0]

    def start() -> None:
        """Waits for the word to begin, and sets the ends of warm-up and measurement."""
        sys.stdin.readline()
        end[:] = np.cumsum([time.perf_counter(), WARM_UP_SECONDS, arguments.seconds])[1:].tolist()

    if arguments.kind in ("grpc", "batched"):
        latencies = asyncio.run(_ask_async(asker, requests, arguments.clients, start, end))
    else:
        ask = asker.open()
        print(json.dumps([asker.read(ask(request)) for request in requests[:CHECKED]]), flush=True)
        start()

        def client(number: int) -> list[float]:
            ask, sent = asker.open(), _from(requests, number)
            found = []
            before = time.perf_counter()
            while before < end[1]:
                ask(next(sent))
                now = time.perf_counter()
                if before >= end[0]:
                    found.append(now - before)
                before = now
            return found

        with ThreadPoolExecutor(arguments.clients) as pool:
            latencies = [latency for found in pool.map(client, range(arguments.clients)) for latency in found]
    print(json.dumps(latencies), flush=True)


async def _ask_async(
    asker: Asker, requests: list[Any], clients: int, start: Callable[[], None], end: list[float]
) -> list[float]:
    ask = asker.open()  # one channel for all: gRPC has many requests on a connection
    print(json.dumps([asker.read(await ask(request)) for request in requests[:CHECKED]]), flush=True)
    start()
    found: list[float] = []

    async def client(number: int) -> None:
        sent = _from(requests, number)
        before = time.perf_counter()
        while before < end[1]:
            await ask(next(sent))
            now = time.perf_counter()
            if before >= end[0]:
                found.append(now - before)
            before = now

    await asyncio.gather(*map(client, range(clients)))
    return found


def _from(requests: list[Any], number: int) -> Iterator[Any]:
    """The requests for ever, every client's from another place."""
    return itertools.islice(itertools.cycle(requests), number * 7, None)


if __name__ == "__main__":
    main()
