"""What a client may be told about connections and failures, and what not."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.client import Breaker, Hedge, InvalidRequest, RecommenderClient, Retry, Tls


@pytest.mark.slow
@pytest.mark.smoke
@settings(deadline=None)
@given(st.integers(0, 2000), st.floats(0, 1, exclude_max=True), st.floats(0, 1))
def test_waits_grow_to_a_limit(retry, random, jitter):
    policy = Retry(initial=0.1, maximum=2, multiplier=2, jitter=jitter)
    longest = 2.0 if retry > 4 else 0.1 * 2**retry
    assert longest * (1 - jitter) <= policy.wait(retry, random) <= longest
    assert Retry(initial=0.1, maximum=2, multiplier=2, jitter=1).wait(retry, 0.75) == pytest.approx(longest / 4)


@pytest.mark.parametrize(
    "metadata", [{"a b": "1"}, {"": "1"}, {"a": "x\r\ny: z"}, {"a": 5}, {"a-bin": "1"}, {"a": "ä"}]
)
def test_metadata_that_no_header_can_have(metadata, transport):
    with pytest.raises(InvalidRequest, match="metadata: "):
        RecommenderClient("localhost:1", model="m", transport=transport, metadata=metadata)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Retry, {"attempts": 0}),
        (Retry, {"initial": 2.0, "maximum": 1.0}),
        (Retry, {"multiplier": 0.5}),
        (Retry, {"jitter": 1.5}),
        (Retry, {"attempt_timeout": 0.0}),
        (Retry, {"budget": -1.0}),
        (Hedge, {"quantile": 1.0}),
        (Hedge, {"after": -1.0}),
        (Breaker, {"threshold": 0.0}),
        (Breaker, {"cooldown": 0.0}),
    ],
)
def test_policies_out_of_range(kind, options):
    with pytest.raises(InvalidRequest, match=kind.__name__.lower()):
        kind(**options)


@pytest.mark.parametrize(
    "options",
    [{"compression": "br"}, {"keepalive": 0}, {"fallback": "1,2"}, {"fallback": [""]}, {"retry": Retry, "timeout": -1}],
)
def test_options_out_of_range(options, transport):
    with pytest.raises(InvalidRequest):
        RecommenderClient("localhost:1", model="m", transport=transport, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout": math.inf}, "timeout=inf: it must be a number of seconds above 0"),
        ({"timeout": math.nan}, "timeout=nan"),
        ({"timeout": "1"}, "timeout='1'"),
        ({"timeout": None}, "timeout=None"),
        ({"timeout": True}, "timeout=True"),
        ({"timeout": 1e10}, "at most 100000000"),
        ({"keepalive": "30"}, "keepalive='30'"),
        ({"version": "1"}, "version='1': it is a number"),
        ({"version": True}, "version=True"),
        ({"version": -1}, "version=-1"),
        ({"version": 1 << 63}, "version=9223372036854775808: it is a number"),
        ({"label": 1}, "label=1: it is a text"),
        ({"label": ""}, "label='': it is a text"),
        ({"label": "\ud800"}, "label: '\\ud800' can't be written as UTF-8"),
        ({"interceptors": 5}, "interceptors=5: it is a Iterable"),
        ({"retry": 3}, "retry=3: it is a Retry, or None"),
        ({"hedge": 0.1}, "hedge=0.1: it is a Hedge, or None"),
        ({"breaker": True}, "breaker=True: it is a Breaker, or None"),
        ({"traffic": {"share": 1}}, "it is a Traffic or TrafficFile, or None"),
        ({"tls": True}, "tls=True: it is a Tls, or None"),
        ({"metadata": [("a", "b")]}, "it is a Mapping, or None"),
    ],
)
def test_arguments_of_another_kind(options, message, transport):
    with pytest.raises(InvalidRequest, match=re.escape(message)):
        RecommenderClient("localhost:1", model="m", transport=transport, **options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Retry(attempts="3"), "retry: attempts='3' must be a number"),
        (lambda: Retry(attempts=1.5), "retry: attempts=1.5 must be a whole number"),
        (lambda: Retry(budget=math.nan), "retry: budget=nan must be a number"),
        (lambda: Retry(attempt_timeout="1"), "retry: attempt_timeout='1' must be a number"),
        (lambda: Hedge(after=math.inf), "hedge: after=inf must be a number"),
        (lambda: Breaker(window=None), "breaker: window=None must be a number"),
        (lambda: Tls(ca=5), "tls: ca=5 is no text"),
    ],
)
def test_values_of_another_kind(make, message):
    with pytest.raises(InvalidRequest, match=re.escape(message)):
        make()


def test_a_key_that_all_may_read_is_told_once(tmp_path, caplog):
    for name, mode in (("open", 0o644), ("closed", 0o640)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
        for _ in range(2):
            Tls(certificate="c", key=str(tmp_path / name))
    Tls(certificate="c", key="/no/such/file")
    assert [record.getMessage() for record in caplog.records] == [
        f"tls: key={str(tmp_path / 'open')!r} is a private key, and all may read it: chmod o-r"
    ]
