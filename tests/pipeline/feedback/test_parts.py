"""Which events count as what, and that parts are of whole users."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from components.errors import InputError
from pipeline.config.feedback import FeedbackSettings
from pipeline.feedback.answers import SCHEMA, read_logs
from pipeline.feedback.parts import CLICK, CONVERSION, NOBODY, Parts, size_of, write_events, write_lists
from pipeline.feedback.run import find_log
from tests.pipeline.feedback.shop import S, answer, write_answers, write_shop


def written(folder: Path, config, settings: FeedbackSettings, since: int = 0, pseudonym=None):
    parts = Parts(folder, 0)
    parts.write("lists", SCHEMA, [])
    span = write_events(parts, find_log(config, None), settings, since, pseudonym)
    stream = pa.ipc.open_stream(str(folder / "events-0.arrow"))
    return [(e["user"], e["item"], e["time"] // S, e["kind"]) for e in stream.read_all().to_pylist()], span


def test_which_events_count(tmp_path: Path) -> None:
    config = write_shop(tmp_path)
    found, span = written(tmp_path, config, FeedbackSettings(conversions=("buy",)), since=1100 * S)
    assert found == [
        ("ann", "b", 1500, CLICK),
        ("ann", "a", 2500, CLICK),
        ("ann", "a", 2600, CONVERSION),
        ("bob", "a", 4601, CLICK),
        ("bob", "z", 1100, CLICK),
        ("zoe", "a", 100_000, CLICK),
    ]
    assert (span.first, span.last) == (900 * S, 100_000 * S)
    buys, _ = written(tmp_path, config, FeedbackSettings(clicks=("buy",)))
    assert buys == [("ann", "a", 2600, CLICK)]
    called, _ = written(tmp_path, config, FeedbackSettings(clicks=("buy",)), pseudonym=str.upper)
    assert called == [("ANN", "a", 2600, CLICK)]


def test_a_time_to_come_is_not_the_newest(tmp_path: Path) -> None:
    config = write_shop(tmp_path)
    with open(tmp_path / "log.csv", "a") as log:
        log.write("bot,a,4100000000,click,,\n")  # in 2099
    assert written(tmp_path, config, FeedbackSettings())[1].last == 100_000 * S


def test_a_log_without_times(tmp_path: Path) -> None:
    write_shop(tmp_path)
    from pipeline.config import load_config

    config = load_config(tmp_path / "shop.yaml", ["data.interactions.columns.timestamp=null"])
    with pytest.raises(InputError, match=r"needs data\.interactions\.columns\.timestamp"):
        written(tmp_path, config, FeedbackSettings())


def test_a_part_has_all_of_its_users(tmp_path: Path) -> None:
    write_answers(tmp_path / "one.jsonl", [answer(f"user {n % 40}", n, ["a"]) for n in range(200)])
    write_answers(tmp_path / "two.jsonl", [answer(None, 7, ["a"])])
    parts, counts = Parts(tmp_path, 7 * (32 << 20)), Counter()
    assert parts.count == 8
    span = write_lists(parts, read_logs([tmp_path / "one.jsonl", tmp_path / "two.jsonl"], "shop", counts), counts)
    assert (span.first, span.last, counts[NOBODY]) == (0, 199 * S, 1)
    for kind in ("events", "users"):
        parts.write(kind, pa.schema([("user", pa.string())]), [])
    users = [set(part.lists["user"].to_pylist()) for part in parts]
    assert sum(map(len, users)) == len(set.union(*users)) == 40
    assert all(len(part.lists) == 5 * len(set(part.lists["user"].to_pylist())) for part in parts)
    assert len(users) > 4


def test_the_size_of_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123")
    assert size_of([tmp_path / "a", tmp_path / "gone"]) == 3
