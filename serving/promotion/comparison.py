"""Both labels' answers and latency on the same queries, and a verdict over the canary."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from serving import contract
from serving.client import InvalidRequest, Query, RecommendationList, RecommenderClient, RecommenderError, Tls
from serving.contract import CANARY, STABLE
from serving.files import read_lines
from serving.promotion import files
from serving.promotion.errors import PromotionFailed, WrongPromotion
from serving.promotion.probe import leaves_out_all, list_faults
from serving.promotion.replica import Replica
from serving.stores import AnyPath

_NOISE_MS = 5.0
"""Percentiles that are no further apart than this count as the same."""
_WARM_UP = 5


@dataclass(frozen=True)
class Limits:
    """What the canary must keep to."""

    max_error_rate: float = 0.0
    """How far its share of failed or wrong answers may be above the stable version's."""
    max_p99_ratio: float = 2.0
    """How many times as slow as the stable version's its 99th percentile may be; 5 ms more are always allowed."""
    min_overlap: float = 0.1
    """Least mean share of its k items that the stable version recommends too."""


@dataclass
class Side:
    """One label's part."""

    label: str
    version: int
    requests: int = 0
    errors: int = 0
    """Requests that failed, or whose answer breaks the contract."""
    first_error: str = ""
    without_history: bool = True
    """Whether what a user had is left out of an answer."""
    times: list[float] = field(default_factory=list, repr=False)
    """Milliseconds of each answer."""

    @property
    def error_rate(self) -> float:
        """Share of the requests."""
        return self.errors / max(self.requests, 1)

    def percentile(self, share: float) -> float:
        """A percentile of the latency in milliseconds; infinite without answers."""
        ordered = sorted(self.times)
        return ordered[math.ceil(share * len(ordered)) - 1] if ordered else math.inf


@dataclass(frozen=True)
class Comparison:
    """What came out."""

    stable: Side
    canary: Side
    k: int
    overlap: Optional[float]
    """Mean over the queries of the share of the canary's items that the stable version's list has too (overlap@k);
    None without a query that both answered with items."""
    same_first: Optional[float]
    """Share of these queries whose best item is the same."""
    failures: tuple[str, ...]
    """The limits that are not kept."""

    @property
    def passed(self) -> bool:
        """Whether the canary keeps to all limits."""
        return not self.failures


def compare(
    base_path: AnyPath,
    model: str,
    targets: Sequence[str],
    queries: Sequence[Query] = (),
    num_queries: int = 200,
    k: int = 10,
    limits: Limits = Limits(),
    tls: Optional[Tls] = None,
) -> Comparison:
    """Asks both labels the same, in turn, on each replica in turn.

    Args:
        base_path: holds models.config.
        model: the model's name.
        targets: `host:port` of each replica's gRPC.
        queries: what to ask; by default users that either version knows, and histories of one popular item.
        num_queries: how many to ask; queries are repeated, or drawn from, as it takes.
        k: items a list.
        limits: the verdict's.
        tls: how to connect, if by TLS.

    Raises:
        WrongPromotion: there is no version under trial, or the stable version refuses what is asked, such as `k`.
        PromotionFailed: a replica doesn't answer by label at all.
    """
    found = files.aspired(files.read_config(base_path), model) or files.Aspired()
    version, stable_version = found.labels.get(CANARY), found.labels.get(STABLE)
    if version is None or stable_version is None or version == stable_version:
        raise WrongPromotion(f"{model} has no version under trial to compare: begin with canary start VERSION")
    replicas = [Replica(target, tls) for target in targets]
    _check_labels(replicas, model, {STABLE: stable_version, CANARY: version})
    stable, canary = (
        Side(label, number, without_history=leaves_out_all(base_path / model / str(number)))
        for label, number in ((STABLE, stable_version), (CANARY, version))
    )
    clients = [[replica.client(model, label=side.label) for side in (stable, canary)] for replica in replicas]
    overlaps, firsts = [], []
    try:
        asked = list(queries) or _queries(base_path / model, (stable_version, version), clients[0][0], num_queries)
        _check_accepted(clients[0][0], asked[0], k)
        for pair in clients:
            for client in pair * _WARM_UP:
                _try(client, asked[0], k, without_history=False)
        for index in range(num_queries):
            query, pair = asked[index % len(asked)], clients[index % len(clients)]
            sides = [(stable, pair[0]), (canary, pair[1])]
            # Who is asked first may wait for a processor that sleeps, so they take turns.
            answers = {side.label: _ask(side, client, query, k) for side, client in sides[:: -1 if index % 2 else 1]}
            one, other = answers[STABLE], answers[CANARY]
            if one and other and one.items and other.items:
                overlaps.append(len(set(one.item_ids) & set(other.item_ids)) / len(other))
                firsts.append(one.item_ids[0] == other.item_ids[0])
    finally:
        for pair in clients:
            for client in pair:
                client.close()
    overlap = sum(overlaps) / len(overlaps) if overlaps else None
    same_first = sum(firsts) / len(firsts) if firsts else None
    return Comparison(stable, canary, k, overlap, same_first, tuple(_failures(stable, canary, overlap, limits)))


def _check_labels(replicas: Sequence[Replica], model: str, labels: Mapping[str, int]) -> None:
    for replica in replicas:
        for label, expected in labels.items():
            if replica.labelled(model, label) != expected:
                raise PromotionFailed(f"{replica.target}: label {label!r} isn't at version {expected}: promote again")


def read_queries(path: Path) -> list[Query]:
    """Reads queries from a file of JSON lines such as `{"user_id": "42", "history": ["50"], "exclude": []}`.

    Raises:
        WrongPromotion: the file or a line can't be read.
    """
    queries = []
    try:
        for number, line in enumerate(read_lines(path), 1):
            if line.strip():
                try:
                    queries.append(Query(**json.loads(line)))
                except (ValueError, TypeError) as error:
                    raise WrongPromotion(f"{path}, line {number}: no query: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise WrongPromotion(f"{path}: can't be read: {error}") from None
    if not queries:
        raise WrongPromotion(f"{path}: no queries in it")
    return queries


def _queries(versions: AnyPath, numbers: Sequence[int], client: RecommenderClient, count: int) -> list[Query]:
    """Users that either version has a stored history of, drawn evenly, and histories of one popular item each."""
    users: set[str] = set()
    for number in numbers:
        path = versions / str(number) / contract.USERS
        try:
            users.update(read_lines(path))
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise WrongPromotion(f"{path}: can't be read: {error}") from None
    drawn = random.Random(0).sample(sorted(users), min(count, len(users)))
    try:
        popular = client.recommend().item_ids
    except RecommenderError as error:
        raise PromotionFailed(f"the {STABLE} version doesn't answer: {error}") from None
    queries = [*(Query(user) for user in drawn), *(Query(history=[item]) for item in popular), Query()]
    random.Random(0).shuffle(queries)
    return queries


def _check_accepted(client: RecommenderClient, query: Query, k: int) -> None:
    """Makes sure that a query is none that every version refuses, which would be held against the canary."""
    try:
        client.recommend_batch([query], k)
    except InvalidRequest as error:
        raise WrongPromotion(error.line) from None
    except RecommenderError:
        pass  # counts where all answers are counted


def _ask(side: Side, client: RecommenderClient, query: Query, k: int) -> Optional[RecommendationList]:
    started = time.perf_counter()
    answer, error = _try(client, query, k, side.without_history)
    side.requests += 1
    if answer is None or error:
        side.errors += 1
        side.first_error = side.first_error or error
        return None
    side.times.append(1000 * (time.perf_counter() - started))
    return answer


def _try(
    client: RecommenderClient, query: Query, k: int, without_history: bool
) -> tuple[Optional[RecommendationList], str]:
    """The answer, and what is wrong with it; the query's history may be in it unless it is `without_history`."""
    try:
        [answer] = client.recommend_batch([query], k)
    except RecommenderError as error:
        return None, str(error)
    return answer, "; ".join(
        list_faults(
            answer,
            k,
            [*(query.history if without_history and query.leave_out != contract.NOTHING else ()), *query.exclude],
        )
    )


def _failures(stable: Side, canary: Side, overlap: Optional[float], limits: Limits) -> list[str]:
    failures = []
    if canary.error_rate > stable.error_rate + limits.max_error_rate:
        failures.append(
            f"{canary.errors} of {canary.requests} answers failed or were wrong ({canary.first_error}), stable:"
            f" {stable.errors}"
        )
    slow, fast = canary.percentile(0.99), stable.percentile(0.99)
    if slow > max(limits.max_p99_ratio * fast, fast + _NOISE_MS):
        failures.append(f"p99 {slow:.1f} ms, more than {limits.max_p99_ratio:g} times stable's {fast:.1f} ms")
    if overlap is None or overlap < limits.min_overlap:
        found = "there is none to measure" if overlap is None else f"{overlap:.3f}"
        failures.append(f"overlap with stable's items: {found}, at least {limits.min_overlap:g} is wanted")
    return failures
