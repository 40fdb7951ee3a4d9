"""The simulated month in small: what its world is like, a few nights of it, and what is said of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.month import Day, Month, Size, World, chart, simulate
from tests.e2e.world import recommender
from tests.pipeline.nightly.listeners import Mailbox, Webhook

SMALL = Size(users=40, items=60, new_users=1, new_items=2, window=15, kinds=4, epochs=2)


def test_the_world_is_the_same_for_the_same_seed_and_clicks_do_not_depend_on_who_shows() -> None:
    world, again = World(SMALL, 5, 3), World(SMALL, 5, 3)
    visitors = world.visitors(16)
    assert visitors == again.visitors(16) != world.visitors(17)
    shown = world.items(16).tolist()
    user = next(user for user in visitors if world.clicks(user, 16, shown))
    clicked = world.clicks(user, 16, shown)
    assert clicked == again.clicks(user, 16, shown)
    # One draw an item: what is clicked in a list is clicked in a shorter one, in which it stands further in front.
    assert world.clicks(user, 16, clicked[:1]) == clicked[:1]
    assert World(SMALL, 5, 4).visitors(16) != visitors


def test_items_and_users_come_and_go_and_tastes_drift() -> None:
    world = World(SMALL, 5, 3)
    assert [len(world.items(day)) for day in (0, 16, 17)] == [60, 60, 60]
    assert {*world.items(17)} - {*world.items(16)} == {92, 93}
    assert {*world.items(16)} - {*world.items(17)} == {32, 33}
    come = [{*world.visitors(day)} for day in range(20)]
    assert max(come[0]) < 40 <= max(come[19]) < 59
    assert min(come[19]) >= 19
    had = {int(item) for item in world.items(16)[:50]}
    found = world.organic(0, 16, had)
    assert len(found) == 3
    assert not had & set(found)
    assert not (world.preference(0, 16) == world.preference(0, 17)).all()


def test_what_must_hold_is_said_of_what_does_not(tmp_path: Path) -> None:
    month = Month(tmp_path, World(SMALL, 5, 3), {}, set(), 3)
    month.base.mkdir()
    fine = [Day(n, codes=[0], served=0.5, frozen=0.4, popular=0.3, bytes=100, requests=9) for n in range(9)]
    month.days = fine
    assert month.faults() == []
    month.days = [*fine[:-1], dataclasses.replace(fine[-1], codes=[1], failed=2, said="it failed", bytes=200)]
    assert month.faults() == ["day 8 (well): exit code 1: it failed", "2 requests failed: ", "the disk fills"]
    month.days = [dataclasses.replace(day, frozen=0.6, trouble="bot", codes=[0]) for day in fine[:1]]
    assert month.faults() == [
        "day 0 (bot): exit code 0: ",
        "in the end the served model is hit by 0.500, frozen by 0.600",
    ]


@pytest.mark.slow
@pytest.mark.smoke
def test_the_chart_is_a_picture_by_itself_and_always_the_same() -> None:
    days = [Day(n, codes=[-9, 0] if n == 3 else [0], served=0.5, frozen=0.4, popular=0.3, bytes=10) for n in range(6)]
    days[2].trouble = "units"
    drawn = chart(days)
    assert drawn == chart(days)
    texts = [text.text for text in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]
    assert {"what is served", "prices come in cents → 0", "MB on disk"} <= set(texts)


@pytest.mark.slow
def test_a_bot_is_told_by_webhook_and_mail_ends_a_night_with_3_and_serves_nobody(tmp_path: Path) -> None:
    with Webhook() as webhook, Mailbox() as mailbox:
        # The judged model is shipped, which saves a training.
        changes = {"nightly": {"notify": [webhook.url, mailbox.url]}, "serving": {"ship": "judged"}}
        month = simulate(tmp_path / "shop", 1, SMALL, {1: "bot"}, kill_every=0, seed=3, changes=changes)
    first, second = month.days
    assert (first.codes, first.cause) == ([0], "")
    assert (second.codes, second.cause, second.stable) == ([3], "guards", first.stable)
    assert second.requests > 40
    assert second.failed == 0
    assert second.served == second.frozen > 0, "nothing else was pushed"
    assert f"in the end the served model is hit by {second.served:.3f}, frozen by {second.frozen:.3f}" in month.faults()
    [posted] = webhook.posted
    [mail] = mailbox.mails
    assert posted["title"] == mail["Subject"] == "shop: a night needs somebody"
    body = mail.get_body(("plain",))
    assert body is not None
    for text in (posted["message"], body.get_content()):
        assert "run: share of the greatest user: 50.0% (user 'bot'); the limit is 20%" in " ".join(text.split())
    shown = recommender(tmp_path / "shop", "status", "--config", "shop.yaml")
    assert shown.code == 3
    assert "run: share of the greatest user: 50.0%" in shown.stdout
