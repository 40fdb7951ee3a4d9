"""The client against the embedded server, over gRPC and REST."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from serving import contract
from serving.client import (
    Contribution,
    DeadlineExceeded,
    Explanation,
    InvalidRequest,
    ItemVector,
    ModelNotFound,
    Query,
    QueryVector,
    Recommendation,
    RecommenderClient,
    RecommenderError,
    ServerError,
    ServerUnavailable,
    Tensor,
    TensorSpec,
)
from serving.server.ports import free_port
from tests.serving.fixtures import MODEL
from tests.serving.tiny_servable import ITEMS


def test_known_user_is_served_from_stored_history(client, transport):
    answer = client.recommend("ann", k=3)
    # Stored history 1, 2: item 1 (place 0) is the newest, so items 3, 4, 5 at distances 2, 3, 4.
    assert answer.items == (Recommendation("3", 998.0), Recommendation("4", 997.0), Recommendation("5", 996.0))
    assert answer.source == "user"
    assert answer.version == (7 if transport == "grpc" else None)


def test_unknown_user_with_history(client):
    answer = client.recommend("stranger", history=["x", "w"], k=3)
    # x is at place 15: 14 and 16 at distance 1, then 13 and 17; equal scores keep the catalogue's order.
    assert answer.item_ids == ["ä", "y", "🎬"]
    assert answer.source == "history"


def test_nobody_gets_popular_items(client):
    answer = client.recommend(k=4)
    assert answer.item_ids == ["1", "2", "3", "4"]
    assert [item.score for item in answer] == [1020.0, 1019.0, 1018.0, 1017.0]
    assert answer.source == "popular"


@pytest.mark.parametrize("item", ["a,b", 'say "hi"', "two words", "🎬", "ä"])
def test_ids_of_any_letters_pass_both_ways(client, item):
    assert item in client.recommend(k=20).item_ids
    assert item not in client.recommend(exclude=[item], k=20).item_ids
    assert client.describe([item])[0].display == f"v1: title of {item}"


def test_padding_is_stripped(client):
    assert len(client.recommend(k=25)) == 20  # k beyond the catalogue
    assert client.recommend(exclude=ITEMS, k=5).items == ()
    assert client.recommend(exclude=ITEMS[:-1], k=5).item_ids == ["w"]


def test_batch_of_uneven_queries(client):
    queries = [Query("ann"), Query(history=["x", "w"]), Query("bob, jr", exclude=["1", "2", "3"]), Query()]
    answers = client.recommend_batch(queries, k=3)
    assert [answer.source for answer in answers] == ["user", "history", "user", "popular"]
    alone = [client.recommend(q.user_id, q.history, q.exclude, k=3) for q in queries]
    assert answers == alone
    assert client.recommend_batch([], k=3) == []


def test_context_reaches_the_model(client):
    context = {"age": 30.5, "timestamp": datetime(1970, 1, 1, 0, 0, 7), "tags": ["x", "y"], "unheard_of": 1}
    answer = client.recommend("ann", k=3, context=context)
    # Item 1 is the newest: 3 has 998, x at place 15 has 985, y at 16 has 984; all get 30.5 + 7, x and y 100 more.
    assert [(item.item_id, item.score) for item in answer] == [("x", 1122.5), ("y", 1121.5), ("3", 1035.5)]
    assert answer.source == "user"
    assert client.recommend(k=1, context={"device": "🎬"}).item_ids == ["🎬"]
    assert client.recommend(exclude=["🎬"], k=1, context={"device": "🎬"}).item_ids == ["1"]


def test_each_query_of_a_batch_has_its_own_context(client):
    queries = [Query("ann"), Query("ann", context={"device": "w"}), Query("ann", context={})]
    answers = client.recommend_batch(queries, k=1)
    assert [answer.item_ids for answer in answers] == [["3"], ["w"], ["3"]]


@pytest.fixture
def without_context(monkeypatch):
    """The model has no signature for a context."""
    monkeypatch.setitem(contract.SIGNATURES, "absent", contract.SIGNATURES[contract.RECOMMEND_IN_CONTEXT])
    monkeypatch.setattr(contract, "RECOMMEND_IN_CONTEXT", "absent")


@pytest.mark.usefixtures("without_context")
@pytest.mark.parametrize("context", [None, {}, {"device": None, "tags": []}])
def test_without_context_recommend_is_asked(client, context):
    assert client.recommend("ann", k=1, context=context).item_ids == ["3"]


@pytest.mark.usefixtures("without_context")
def test_model_without_context_says_so(client):
    with pytest.raises(InvalidRequest, match=r"'tiny' at .* has no signature 'absent', so it takes no context: ask"):
        client.recommend("ann", context={"age": 30})


def test_model_refuses_a_context_of_another_type(client):
    with pytest.raises(InvalidRequest, match=r"refused the request: .*device"):
        client.recommend("ann", context={"device": 5})


def test_similar_items(client):
    answer = client.similar_items("2", exclude=["1"], k=2)
    assert answer.item_ids == ["3", "4"]
    assert answer.known
    assert not client.similar_items("nothing", k=2).known


def test_score_keeps_the_order_of_candidates(client):
    assert client.score("ann", [], ["5", "nothing", "3"]) == [996.0, -math.inf, 998.0]
    assert client.score(None, ["4"], ["4"]) == [1000.0]
    assert client.score("ann", [], []) == []


def test_explain(client):
    newest_is_1, unknown = client.explain("ann", [], ["5", "nothing"])
    # ann has 1, the newest, and 2; 5 is four places from 1.
    assert newest_is_1 == Explanation(
        "5",
        996.0,
        (Contribution("1", -4.0), Contribution("2", 0.0)),
        {"bias": 1000.0, "popularity": 0.0, "feature:age": 0.0},
        "attribution",
    )
    assert unknown.score == -math.inf
    assert {item.value for item in unknown.history} == {*unknown.parts.values()} == {0.0}
    (popular,) = client.explain(None, ["nothing"], ["5"])
    assert (popular.history, popular.parts["popularity"], popular.method) == ((), 16.0, "exact")
    assert client.explain("ann", [], []) == []


def test_explain_in_context(client):
    (found,) = client.explain("stranger", ["x"], ["x"], {"age": 30.5})
    assert found.score == 1030.5
    assert found.parts == {"bias": 1000.0, "popularity": 0.0, "feature:age": 30.5}
    assert client.explain("stranger", ["x"], ["x"], {"age": None})[0].score == 1000


def test_what_explain_refuses(client):
    for candidates in ("5", [5], [""]):
        with pytest.raises(InvalidRequest, match="candidates"):
            client.explain("ann", [], candidates)
    with pytest.raises(InvalidRequest, match=r"refused the request: .*age"):
        client.explain("ann", [], ["5"], {"age": "old"})


@pytest.mark.parametrize(
    ("name", "context", "lacks"),
    [
        ("EXPLAIN", {}, "explains nothing: it was indexed before there were explanations"),
        ("EXPLAIN_IN_CONTEXT", {"age": 1}, "takes no context in explanations: ask without one"),
    ],
)
def test_a_model_that_does_not_explain_says_so(client, monkeypatch, name, context, lacks):
    monkeypatch.setitem(contract.SIGNATURES, "absent", contract.SIGNATURES[contract.EXPLAIN])
    monkeypatch.setattr(contract, name, "absent")
    with pytest.raises(InvalidRequest, match=f"'tiny' at .* has no signature 'absent', so it {lacks}"):
        client.explain("ann", [], ["5"], context)


def test_describe(client):
    found = client.describe(["1", "nothing"])
    assert [(item.item_id, item.display, item.known) for item in found] == [
        ("1", "v1: title of 1", True),
        ("nothing", "", False),
    ]
    assert client.describe([]) == []


def test_vectors_of_items(client):
    # Item 3 has place 2 in version 1.
    assert client.embed_items(["3", "nothing", "🎬"]) == [
        ItemVector("3", (2.0, -0.5), 1001.0, True),
        ItemVector("nothing", (0.0, 0.0), 0.0, False),
        ItemVector("🎬", (13.0, -3.25), 1006.5, True),
    ]
    assert client.embed_items([]) == []


def test_the_vector_of_a_query_and_what_to_leave_out(client, transport):
    version = 7 if transport == "grpc" else None
    assert client.embed_query("ann") == QueryVector((2.0, 0.0), True, ("1", "2"), version)
    # The request's history comes first; what is in both is named once, and what nobody knows isn't.
    asked = client.embed_query("ann", ["2", "nothing", "x"], {"age": 30.5})
    assert asked == QueryVector((4.0, 30.5), True, ("2", "x", "1"), version)
    assert client.embed_query() == QueryVector((0.0, 0.0), False, (), version)
    with pytest.raises(InvalidRequest, match="history='2': it is a list of ids"):
        client.embed_query("ann", "2")


@pytest.mark.parametrize("signature", ["EMBED_ITEMS", "EMBED_QUERIES"])
def test_a_model_without_vectors_says_so(client, monkeypatch, signature):
    monkeypatch.setitem(contract.SIGNATURES, "absent", contract.SIGNATURES[getattr(contract, signature)])
    monkeypatch.setattr(contract, signature, "absent")
    with pytest.raises(
        InvalidRequest, match=r"has no signature 'absent', so it gives no vectors: .*`recommender reinde"
    ):
        client.embed_items(["1"]) if signature == "EMBED_ITEMS" else client.embed_query("ann")


def test_status_and_metadata(client):
    (status,) = client.status()
    assert (status.version, status.state, status.error_code, status.available) == (7, "AVAILABLE", 0, True)
    metadata = client.metadata()
    assert (metadata.name, metadata.version) == (MODEL, 7)
    recommend = metadata.signatures["recommend"]
    assert recommend.inputs["history"] == TensorSpec("string", (None, None))
    assert recommend.inputs["k"] == TensorSpec("int32", ())
    assert recommend.outputs["scores"].dtype == "float32"


def test_predict_of_any_signature(client):
    assert client.predict("double", {"x": Tensor("float32", (1, 2), [1.5, -2.0])}, ["y"])["y"].values == [3.0, -4.0]
    found = client.predict(
        "echo",
        {
            "floats": Tensor("float32", (3,), [0.1, math.inf, -math.inf]),
            "ints": Tensor("int64", (1,), [-(2**63)]),
            "flags": Tensor("bool", (2,), [True, False]),
            "texts": Tensor("string", (1,), ["ä,\"'\n"]),
        },
        ["floats", "ints", "flags", "texts"],
    )
    assert found["floats"].values == pytest.approx([0.1, math.inf, -math.inf])
    assert list(found["ints"].values) == [-(2**63)]
    assert list(found["flags"].values) == [True, False]
    assert list(found["texts"].values) == ["ä,\"'\n"]


def test_bytes_pass_over_both_transports(client):
    found = client.predict("serving_default", {"examples": Tensor("string", (1,), [b""])}, ["item_ids", "scores"])
    assert found["item_ids"].rows() == [["1", "2", "3"]]


def test_version_and_label(target, transport):
    with RecommenderClient(target, model=MODEL, transport=transport, version=7) as client:
        assert client.recommend(k=1).version == 7
    with RecommenderClient(target, model=MODEL, transport=transport, version=8) as client:
        with pytest.raises(ModelNotFound, match=r"version 8 isn't served .* Specific\(tiny, 8\)"):
            client.recommend()
        with pytest.raises(ModelNotFound, match="Could not find version 8 of model tiny"):
            client.status()
    with (
        RecommenderClient(target, model=MODEL, transport=transport, label="stable") as client,
        pytest.raises(InvalidRequest, match="Unrecognized servable version label: stable"),
    ):
        client.recommend()


def test_unknown_model(target, transport):
    with RecommenderClient(target, model="no/such model", transport=transport) as client:
        with pytest.raises(ModelNotFound, match=r"Servable not found for request: Latest\(no/such model\)"):
            client.recommend()
        with pytest.raises(ModelNotFound, match="Could not find any versions of model no/such model"):
            client.status()
        with pytest.raises(ModelNotFound):
            client.metadata()


def test_unknown_signature(client):
    with pytest.raises(InvalidRequest, match=r'"nope"'):
        client.predict("nope", {})


def test_model_refuses(client):
    with pytest.raises(InvalidRequest, match="refused"):
        client.recommend(k=31)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k=0"),
        ({"k": -1}, "k=-1"),
        ({"k": 2**31}, "k=2147483648"),
        ({"k": True}, "k=True"),
        ({"k": 2.0}, "k=2.0"),
        ({"user_id": 42}, "42 is a int, ids are strings: '42'"),
        ({"user_id": b"ann"}, "bytes"),
        ({"user_id": "\ud800"}, "UTF-8"),
        ({"history": "50"}, "history='50': it is a list"),
        ({"history": [50]}, "history: 50 is a int"),
        ({"exclude": [None]}, "exclude: None"),
        ({"exclude": 3}, "exclude=3"),
        ({"context": "ios"}, "context='ios': it is a dict"),
        ({"context": []}, r"context=\[\]: it is a dict"),
    ],
)
def test_wrong_arguments_are_refused_before_sending(client, arguments, message):
    with pytest.raises(InvalidRequest, match=message):
        client.recommend(**arguments)


def test_other_wrong_arguments(client):
    with pytest.raises(InvalidRequest, match="can't be empty"):
        client.similar_items("")
    with pytest.raises(InvalidRequest, match="can't be empty"):
        client.score("ann", [], [""])
    with pytest.raises(InvalidRequest, match="item_ids"):
        client.describe("50")


@pytest.mark.slow
@pytest.mark.smoke
def test_deadline(target, transport):
    with RecommenderClient(target, model=MODEL, transport=transport, timeout=0.3) as client:
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=r"within 0\.3 s"):
            client.predict("slow", {"seconds": Tensor("float64", (), [2.0])})
        assert time.monotonic() - started < 1.5
    with RecommenderClient(target, model=MODEL, transport=transport) as client:
        assert client.recommend(k=1).item_ids == ["1"]


@pytest.mark.slow
@pytest.mark.smoke
def test_many_threads_share_a_client(client):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: client.recommend(exclude=[ITEMS[i % 20]], k=1).item_ids, range(200)))
    assert answers == [["2"] if i % 20 == 0 else ["1"] for i in range(200)]


def test_closed_client(target, transport):
    client = RecommenderClient(target, model=MODEL, transport=transport)
    client.close()
    with pytest.raises(RecommenderError, match="closed"):
        client.recommend()


def test_nobody_listens(transport):
    with (
        RecommenderClient(f"127.0.0.1:{free_port()}", model=MODEL, transport=transport, timeout=5) as client,
        pytest.raises(ServerUnavailable, match="no model server at"),
    ):
        client.recommend()


def test_ports_mixed_up(server, transport):
    wrong = server.rest_target if transport == "grpc" else server.grpc_target
    with RecommenderClient(wrong, model=MODEL, transport=transport, timeout=3) as client:
        with pytest.raises((ServerUnavailable, ServerError, DeadlineExceeded)) as error:
            client.recommend()
        assert wrong in str(error.value)


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.smoke
def test_import_is_light():
    program = (
        "import sys, time; started = time.process_time(); import serving.client, serving.client.grpc_transport,"
        " serving.client.rest_transport; print(time.process_time() - started);"
        " print(sorted({'tensorflow', 'numpy', 'tfx', 'pydantic'} & set(sys.modules)))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True) for _ in range(3)
    ]
    assert all(run.stdout.splitlines()[1] == "[]" for run in runs)
    assert min(float(run.stdout.splitlines()[0]) for run in runs) < 0.3
