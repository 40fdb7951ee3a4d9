"""Real queries to one version on one replica, before anybody depends on it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Optional, Union

from serving import contract
from serving.client import RecommendationList, RecommenderClient, RecommenderError, SimilarItems, UserList
from serving.promotion.errors import PromotionFailed
from serving.stores import AnyPath

_K = 10
_USERS = 8
_STRANGER = "\u2063no such user\u2063"


def probe(client: RecommenderClient, version: int, users: Sequence[str], without_history: bool = True) -> list[str]:
    """Asks a version for known and unknown users, histories, exclusions and similar items.

    Args:
        client: of that version.
        version: which must answer.
        users: some that the version knows; may be empty.
        without_history: whether it leaves all that a user had out of an answer.

    Returns:
        One line for each broken promise; none if all are kept.
    """
    faults: list[str] = []

    def check(whom: str, answer: Union[RecommendationList, SimilarItems], *expected: object) -> None:
        found = list_faults(answer, _K, *expected)  # type: ignore[arg-type]
        if answer.version != version:
            found.append(f"answered by version {answer.version}")
        faults.extend(f"{whom}: {fault}" for fault in found)

    try:
        popular = client.recommend(k=_K)
        check("nobody in particular", popular, (), "popular")
        if not popular.items:
            return [*faults, "nobody in particular: no items"]
        first = popular.item_ids[:3]
        check("an unknown user", client.recommend(_STRANGER, k=_K), (), "popular")
        check("a history", client.recommend(_STRANGER, first, k=_K), first if without_history else (), "history")
        check("exclusions", client.recommend(exclude=first, k=_K), first, "popular")
        if len(client.recommend(k=1)) != 1:
            faults.append("k=1: not one item")
        for user in users:
            check(f"user {user!r}", client.recommend(user, exclude=first, k=_K), first, "user")
        for item in first:
            check(f"similar to {item!r}", client.similar_items(item, k=_K), [item])
    except RecommenderError as error:
        faults.append(str(error))
    return faults


def list_faults(
    answer: Union[RecommendationList, SimilarItems, UserList],
    k: int,
    forbidden: Sequence[str] = (),
    source: Optional[str] = None,
) -> list[str]:
    """Says what is wrong with one list: too long, something twice or forbidden, scores not falling, wrong source."""
    ids, what = (answer.user_ids, "user") if isinstance(answer, UserList) else (answer.item_ids, "item")
    scores = [found.score for found in answer]
    faults = []
    if len(ids) > k:
        faults.append(f"{len(ids)} {what}s where k was {k}")
    if len(set(ids)) < len(ids):
        faults.append(f"{what} {next(i for i in ids if ids.count(i) > 1)!r} twice")
    wrong = set(ids) & set(forbidden)
    if wrong:
        faults.append(f"{what} {min(wrong)!r}, which was seen or excluded")
    if any(not math.isfinite(score) for score in scores):
        faults.append("a score that is not a number")
    elif any(after > before for before, after in zip(scores, scores[1:])):
        faults.append("scores that are not sorted")
    if source is not None and isinstance(answer, RecommendationList) and answer.source != source:
        faults.append(f"source {answer.source!r}, not {source!r}")
    return faults


def leaves_out_all(version: AnyPath) -> bool:
    """Whether a version on disk leaves all that a user had out of an answer, as those do that say nothing of it."""
    try:
        path = version / contract.MANIFEST
        return contract.parse_manifest(path.read_bytes(), str(path)).get(contract.EXCLUDE, contract.ALL) == contract.ALL
    except (OSError, ValueError):
        return True


def known_users(version: AnyPath, count: int = _USERS) -> list[str]:
    """The first users that a version on disk has a stored history of; none where it doesn't say.

    Raises:
        PromotionFailed: they can't be read.
    """
    path = version / contract.USERS
    try:
        with path.open(encoding="utf-8") as file:
            return [line.rstrip("\n") for line in itertools.islice(file, count)]
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise PromotionFailed(f"{path}: can't be read: {error}") from None
