"""What the checks say of answers."""

from __future__ import annotations

import math

import pytest

from components.servable_validator import checks
from components.servable_validator.sample import Sample
from serving.client import Recommendation, RecommendationList, ScoredUser, SimilarItems, UserList


def answer(*scored: tuple[str, float], source: str = "user") -> RecommendationList:
    return RecommendationList(tuple(Recommendation(*pair) for pair in scored), source)


@pytest.mark.parametrize(
    ("items", "options", "faults"),
    [
        (answer(("a", 2.0), ("b", 2.0), ("c", 1.0)), {"k": 3, "source": "user"}, []),
        (answer(), {"k": 3, "forbidden": ["a"]}, []),
        (answer(("a", 2.0), ("b", 1.0)), {"k": 1}, ["2 items where k was 1"]),
        (answer(("a", 2.0), ("b", 1.5), ("a", 1.0)), {"k": 3}, ["item 'a' twice"]),
        (answer(("a", 2.0), ("b", 1.0)), {"k": 3, "forbidden": ["b"]}, ["item 'b', which was seen or excluded"]),
        (answer(("a", 1.0), ("b", 2.0)), {"k": 3}, ["scores that are not sorted"]),
        (answer(("a", math.nan)), {"k": 3}, ["a score that is not a number"]),
        (answer(("a", 1.0), ("b", -math.inf)), {"k": 3}, ["a score that is not a number"]),
        (answer(("a", 1.0), source="popular"), {"k": 3, "source": "user"}, ["source 'popular', not 'user'"]),
        (SimilarItems((Recommendation("a", 1.0),), True), {"k": 1, "source": "user"}, []),
        (
            UserList((ScoredUser("u", 1.0), ScoredUser("u", 1.0)), True),
            {"k": 1},
            ["2 users where k was 1", "user 'u' twice"],
        ),
        (
            UserList((ScoredUser("u", 1.0),), True),
            {"k": 1, "forbidden": ["u"]},
            ["user 'u', which was seen or excluded"],
        ),
    ],
)
def test_faults_of_a_list(items, options, faults):
    assert checks.list_faults(items, **options) == faults


class Batching:
    """A client whose model answers b instead of c, as the last of ten, in batches."""

    def recommend_batch(self, queries, k):
        return [self._answer("b", 0.5) for _ in queries]

    def recommend(self, user_id, history, exclude, k):
        return self._answer("c", 0.7)

    def _answer(self, *last):
        return answer(*((f"i{place}", 1.0) for place in range(9)), last)


@pytest.mark.parametrize(
    ("alike", "failures"),
    [
        (1.0, ["in a batch: not the answer that it gets alone"]),
        (0.9, []),
        (0.95, ["of 10 items in a batch's answers only 9 are in those that its queries get alone"]),
    ],
)
def test_batches_of_an_approximate_index_may_differ_within_its_bounds(alike, failures, monkeypatch):
    monkeypatch.setattr(checks, "_queries", lambda sample: [])
    sample = Sample({}, [], ["x", "y"])
    found = list(checks._batches(Batching(), sample, checks.Limits(20, 10, 20, alike)))
    assert len(found) == len(failures)
    assert all(line.endswith(failure) for line, failure in zip(found, failures))


class OfUsers:
    """A client whose model knows u, who has a, and v; unless it is told to do something wrong."""

    def __init__(self, audience=("v",), similar=("v",), known=("a", "u")):
        self._audience, self._similar, self._known = audience, similar, known

    def audience(self, item, k):
        return self._list(self._audience, item)

    def similar_users(self, user, k):
        return self._list(self._similar, user)

    def _list(self, users, asked):
        known = asked in self._known
        return UserList(tuple(ScoredUser(user, -1.0) for user in users if known), known)


WRONG = "\u2063no such user\u2063"


@pytest.mark.parametrize(
    ("grpc", "rest", "failures"),
    [
        (OfUsers(), OfUsers(), []),
        (OfUsers(audience=("u",)), OfUsers(audience=("u",)), ["audience of 'a': user 'u', which was seen or excluded"]),
        (OfUsers(), OfUsers(audience=("w",)), ["audience of 'a': gRPC and REST disagree"]),
        (OfUsers(similar=("u",)), OfUsers(), ["users similar to 'u': user 'u', which was seen or excluded"]),
        (OfUsers(known=("u",)), OfUsers(known=("u",)), ["audience of 'a': said to be unknown"]),
        (OfUsers(known=("a",)), OfUsers(), ["users similar to 'u': said to be unknown"]),
        (
            OfUsers(known=("a", "u", WRONG)),
            OfUsers(),
            ["the audience of an unknown item, or users similar to an unknown one: said to be known"],
        ),
    ],
)
def test_audiences(grpc, rest, failures):
    assert list(checks._audiences(grpc, rest, Sample({"u": ["a"]}, [], ["a"]))) == failures
