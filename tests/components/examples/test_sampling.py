"""Which queries are asked where there are too many."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.examples import reading
from components.examples.sampling import read_sampled, share_of_users
from tests.components.conftest import write_examples

USERS = 300


@pytest.fixture
def interactions(tmp_path: Path) -> str:
    """Three queries of each user, in two files."""
    rows = [{"user_id": f"user {row // 3}", "item_id": f"item {row}"} for row in range(3 * USERS)]
    write_examples(tmp_path, "eval", rows, shards=2)
    return str(tmp_path)


def sampled(interactions: str, share: float) -> list[tuple[str, str]]:
    return [
        (user.decode(), item.decode())
        for file in reading.split_files(interactions, "eval")
        for batch in read_sampled(file, {"user_id": bytes, "item_id": bytes}, 50, share)
        for user, item in zip(reading.scalars(batch, "user_id"), reading.scalars(batch, "item_id"))
    ]


def test_users_come_with_all_of_their_queries_or_none(interactions: str) -> None:
    found = sampled(interactions, share_of_users(interactions, "eval", 90))
    users = {user for user, _ in found}
    assert 75 <= len(found) <= 90
    assert sorted(item for _, item in found) == sorted(
        f"item {row}" for row in range(3 * USERS) if f"user {row // 3}" in users
    )


@pytest.mark.slow
@pytest.mark.smoke
def test_a_larger_sample_has_the_smaller_one_in_it(interactions: str) -> None:
    small, large = (set(sampled(interactions, share_of_users(interactions, "eval", size))) for size in (90, 450))
    assert small < large


@pytest.mark.parametrize("size", [3 * USERS, 10**9])
def test_all_if_there_are_no_more(interactions: str, size: int) -> None:
    assert share_of_users(interactions, "eval", size) == 1
    assert len(sampled(interactions, 1)) == 3 * USERS


def test_one_query_is_asked_at_least(interactions: str) -> None:
    assert 1 <= len({user for user, _ in sampled(interactions, share_of_users(interactions, "eval", 1))}) <= 3
