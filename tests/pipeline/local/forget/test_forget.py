"""`recommender forget`, on a shop whose version the real Indexer has made."""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from components import suppression, versions
from components.errors import InputError
from pipeline.failures import DONE, FAILED, LOCKED
from pipeline.local.forget import forget as module
from pipeline.local.forget import versions as versions_again
from pipeline.local.forget.forget import forget
from pipeline.local.forget.search import Ids, search
from pipeline.local.lineage import read_lineage
from pipeline.local.lock import lock
from pipeline.terminal import Outcome
from serving.client.answer_log import pseudonym
from serving.contract import WARMUP
from serving.promotion import Promoter, files
from tests.pipeline.local.forget.conftest import USER, Shop

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


def forgotten(shop: Shop, *users: str) -> Outcome:
    return forget(
        shop.config, users or (USER,), lambda who: Promoter(shop.versions.parent, "shop", (), who=who), [shop.answers]
    )


def everything(folder: Path) -> bytes:
    """The bytes of all files but the log, unpacked where they are zipped."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "log.csv":
            content = path.read_bytes()
            found.append(gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content)
    return b"".join(found)


def test_nothing_is_left_and_what_serves_goes_on(shop: Shop) -> None:
    promoter = Promoter(shop.versions.parent, "shop", (), why=f"asked for by {USER}")
    promoter.promote(shop.version.number, "stable")
    old = shop.version
    assert USER in shop.users(old.path)
    outcome = forgotten(shop)
    facts = outcome.facts
    assert (outcome.exit_code, facts["left"], facts["kept"]) == (DONE, [], {})
    assert USER.encode() not in everything(shop.folder)
    assert facts["sources"] == [str(shop.folder / "log.csv")]
    # The version has its label, its figures, and everybody else.
    [new] = versions.list_versions(shop.versions)
    assert facts["replaced"] == {old.number: new.number}
    assert (facts["deleted"], files.stable_version(shop.versions.parent, "shop")) == ([old.number], new.number)
    assert shop.users(new.path) == ["ann", "cleo"]
    about = versions.release(new.path)
    assert (about["metrics"], about["fingerprint"]) == ({"mrr": 0.5}, new.fingerprint)
    assert new.fingerprint != old.fingerprint
    nothing = tf.constant([[]], tf.string, [1, 0])
    asked = {"user_id": tf.constant(["ann"]), "history": nothing, "exclude": nothing, "k": tf.constant(3)}
    answer = tf.saved_model.load(str(new.path)).signatures["recommend"](**asked)
    assert answer["source"].numpy().tolist() == [b"user"]
    # Later runs pass over the user, and the audit trail names nobody.
    listed = suppression.read(str(shop.config.suppression()))
    assert listed is not None
    assert [listed.has(name) for name in (USER, "ann")] == [True, False]
    entries = [(e.action, e.from_version, e.to_version) for e in files.read_audit(shop.versions.parent)]
    assert ("forget", old.number, new.number) in entries
    assert files.read_audit(shop.versions.parent)[0].why == "asked for by [forgotten]"
    assert files.verify_audit(shop.versions.parent).faults == ()
    # What could be written anew is there still, the rest is made again by the next run.
    rejects = shop.root / "artifacts" / "InteractionGen" / "rejects" / "1"
    assert json.loads((rejects / "report.json").read_text()) == {
        "warnings": ["ids have blanks, such as '[forgotten]'"],
        "n": 3,
    }
    assert (rejects / "rejected.csv").read_text().splitlines()[1:] == ["log.csv,4,x,y"]
    assert (shop.answers / "answers-1.jsonl").read_text() == '{"user": "ann", "items": ["a"]}\n'
    vocabulary = shop.root / "artifacts" / "Trainer" / "model" / "1" / "Format-Serving" / "assets" / "user_id"
    first, other, last = vocabulary.read_text().split("\n")
    assert (first, other[:10], last) == ("ann", "forgotten-", "cleo")
    assert not (shop.root / "report.html").exists()
    with sqlite3.connect(shop.root / "metadata.sqlite") as database:
        said = database.execute("SELECT string_value FROM ExecutionProperty WHERE name = 'summary'").fetchall()
    assert said == [("such as '[forgotten]'",)]


@pytest.mark.usefixtures("quick_indexer")
def test_another_user_can_be_forgotten_after_the_first_and_the_same_again(shop: Shop) -> None:
    assert forgotten(shop).exit_code == DONE
    [before] = versions.list_versions(shop.versions)
    again = forgotten(shop)
    assert (again.exit_code, again.facts["replaced"], again.facts["purged"]) == (DONE, {}, [])
    # An id that is short counts where it is told to be a user's.
    outcome = forgotten(shop, "ann")
    [new] = versions.list_versions(shop.versions)
    assert (outcome.exit_code, outcome.facts["replaced"]) == (DONE, {before.number: new.number})
    assert shop.users(new.path) == ["cleo"]
    assert (shop.answers / "answers-1.jsonl").read_text() == ""


class Killed(BaseException):
    """A process that ends here."""


@pytest.mark.usefixtures("quick_indexer")
@pytest.mark.parametrize("place", ["clean_metadata", "_move_labels", "_delete", "clean_files"])
def test_a_kill_anywhere_is_mended_by_running_again(shop: Shop, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    promoter = Promoter(shop.versions.parent, "shop", ())
    promoter.promote(shop.version.number, "stable")
    work = module._Work
    original: Callable[..., Any] = getattr(work, place)

    def dies(*arguments: Any, **named: Any) -> None:
        if place == "_delete":  # when it is done
            original(*arguments, **named)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(work, place, dies)
        with pytest.raises(Killed):
            forgotten(shop)
    serving = files.stable_version(shop.versions.parent, "shop")
    assert serving in [version.number for version in versions.list_versions(shop.versions)]
    assert forgotten(shop).exit_code == DONE
    [new] = versions.list_versions(shop.versions)
    assert new.number == files.stable_version(shop.versions.parent, "shop")
    assert USER.encode() not in everything(shop.folder)


@pytest.mark.usefixtures("quick_indexer")
def test_a_trial_goes_on_and_what_nothing_names_goes(shop: Shop) -> None:
    base = shop.versions.parent
    held = shop.version
    clean, refused = (versions.publish(held.path, shop.versions, {}) for _ in range(2))
    for path in (clean.path / "assets" / "users.txt", clean.path / WARMUP):
        path.write_text("ann")
    Promoter(base, "shop", ()).promote(clean.number, "stable")
    Promoter(base, "shop", (), who="nightly").promote(held.number, "canary")
    outcome = forgotten(shop)
    assert outcome.exit_code == DONE
    [tried] = outcome.facts["replaced"].values()
    assert {version.number for version in versions.list_versions(shop.versions)} == {clean.number, tried}
    assert set(outcome.facts["deleted"]) == {held.number, refused.number}
    found = files.aspired(files.read_config(base), "shop")
    assert found is not None
    assert found.labels == {"stable": clean.number, "canary": tried}
    moved = [entry for entry in files.read_audit(base) if entry.label == "canary"]
    assert [(entry.who, entry.to_version) for entry in moved] == [("nightly", held.number), ("nightly", tried)]


@pytest.mark.usefixtures("quick_indexer")
def test_a_version_that_the_metadata_do_not_know_gets_no_label(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    Promoter(shop.versions.parent, "shop", ()).promote(shop.version.number, "stable")
    original, left = versions_again._note, [1]

    def dies(*arguments: Any) -> Any:
        if not left[0]:  # the version is published, and not yet noted
            raise Killed
        left[0] -= 1
        return original(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(versions_again, "_note", dies)
        with pytest.raises(Killed):
            forgotten(shop)
    assert forgotten(shop).exit_code == DONE
    stable = files.stable_version(shop.versions.parent, "shop")
    assert stable in read_lineage(shop.store, "shop").pushers
    assert USER.encode() not in everything(shop.folder)


def test_a_version_whose_model_is_gone_goes_on_serving_and_is_told(shop: Shop) -> None:
    Promoter(shop.versions.parent, "shop", ()).promote(shop.version.number, "stable")
    (shop.root / "artifacts" / "Trainer" / "model" / "1").rename(shop.folder / "gone")
    outcome = forgotten(shop)
    assert outcome.exit_code == FAILED
    assert outcome.facts["kept"] == {shop.version.number: "what it was made of is gone: towers"}
    assert {path.parts[-4] for path in outcome.facts["left"]} == {"shop"}
    assert [version.number for version in versions.list_versions(shop.versions)] == [shop.version.number]


@pytest.mark.usefixtures("quick_indexer")
def test_pseudonyms_in_logs_of_answers_are_found_by_their_key(shop: Shop) -> None:
    name = pseudonym(USER, "secret")
    (shop.answers / "answers-2.jsonl").write_text(json.dumps({"user": name}) + "\n")
    promoter = lambda who: Promoter(shop.versions.parent, "shop", (), who=who)  # noqa: E731
    assert (
        forget(shop.config, [USER], promoter, [shop.answers], lambda user: pseudonym(user, "secret")).exit_code == DONE
    )
    assert (shop.answers / "answers-2.jsonl").read_text() == ""


@pytest.mark.usefixtures("quick_indexer")
def test_what_a_process_is_writing_is_told(shop: Shop) -> None:
    import fcntl

    (shop.answers / "answers-1.jsonl").rename(shop.answers / "answers-1.jsonl.part")
    with open(shop.answers / "answers-1.jsonl.part") as written:
        fcntl.flock(written, fcntl.LOCK_EX)
        outcome = forgotten(shop)
        assert (outcome.exit_code, outcome.facts["left"]) == (FAILED, [shop.answers / "answers-1.jsonl.part"])
    assert forgotten(shop).exit_code == DONE


def test_it_keeps_out_of_a_run_and_of_wrong_input(shop: Shop) -> None:
    with lock(shop.root):
        assert forgotten(shop).exit_code == LOCKED
    with pytest.raises(InputError, match="the empty id is nobody's"):
        forgotten(shop, "")
    with pytest.raises(InputError, match="no such file or folder"):
        forget(
            shop.config, [USER], lambda who: Promoter(shop.versions.parent, "shop", (), who=who), [shop.folder / "none"]
        )
    assert search(Ids([USER]), [shop.root])


def test_what_can_not_be_searched_is_told(shop: Shop) -> None:
    cut = shop.answers / "lists.parquet"
    cut.write_bytes(b"PAR1")
    outcome = forgotten(shop)
    assert (outcome.exit_code, outcome.facts["left"]) == (FAILED, [cut])
