"""What the checks say of answers."""

from __future__ import annotations

import math

import pytest

from components.servable_validator import checks
from components.servable_validator.sample import Sample
from serving.client import (
    Contribution,
    Explanation,
    Query,
    Recommendation,
    RecommendationList,
    ScoredUser,
    SimilarItems,
    UserList,
)


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


class Explaining(Batching):
    """A client whose model scores its items with 2 and -inf, and explains them by a history and a bias."""

    def __init__(self, scores, contributions, bias=1.0, seen="h"):
        self.explained, self.contributions, self.bias, self.seen = scores, contributions, bias, seen

    def recommend(self, user_id, history, k):
        return answer(("c", 2.0))

    def score(self, user_id, history, ids):
        return [2.0, -math.inf]

    def explain(self, user_id, history, ids):
        seen = tuple(Contribution(self.seen, value) for value in self.contributions)
        rows = zip(ids, self.explained, (seen, ()))
        return [Explanation(item, score, adds, {"bias": self.bias}, "exact") for item, score, adds in rows]


@pytest.mark.parametrize(
    ("client", "failures"),
    [
        (Explaining([2.0, -math.inf], [1.5, -0.5]), []),
        (Explaining([2.1, -math.inf], [1.1]), ["not the scores of score"]),
        (Explaining([2.0, 0.0], [1.0]), ["not the scores of score"]),
        (Explaining([2.0, -math.inf], [1.5]), ["what it says of 'c' adds up to 2.5"]),
        (Explaining([2.0, -math.inf], [math.nan]), ["what it says of 'c' adds up to nan"]),
        (Explaining([2.0, -math.inf], [1.0], seen="other"), ["by items that are not in the history"]),
    ],
)
def test_explanations_add_up_and_are_by_the_history(client, failures, monkeypatch):
    monkeypatch.setattr(checks, "_queries", lambda sample: [Query(None, ["h"])])
    found = [
        line for line in checks._explanations(client, Sample({}, [], []), checks.Limits(9, 3, 9)) if "['h']" in line
    ]
    assert found == [f"explain for history ['h']: {failure}" for failure in failures]


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
