"""Who is told: a real webhook and a real mail server on loopback hear what Apprise sends."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Iterator

import pytest

from components.errors import InputError
from pipeline.nightly.notify import Notifier, filled
from serving.server.ports import free_port
from tests.pipeline.nightly.listeners import Mailbox, Webhook


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with Webhook() as one:
        yield one


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as one:
        yield one


@pytest.mark.slow
@pytest.mark.smoke
def test_a_webhook_and_a_mailbox_are_told_the_same(webhook: Webhook, mailbox: Mailbox) -> None:
    notifier = Notifier(["${HOOK}", "mailto://127.0.0.1:${PORT}?from=${FROM}&to=ops@example.org"], {
        "HOOK": webhook.url, "PORT": str(mailbox.port), "FROM": "nights@example.org"
    })  # fmt: skip
    assert notifier.tell("shop: a night", ["events: 120, at least 500", "ü"], True) == {}
    [posted] = webhook.posted
    assert (posted["title"], posted["message"]) == (
        "shop: a night",
        "events: 120, at least 500\nü\nrecommender status says more",
    )
    assert posted["type"] == "failure"
    [mail] = mailbox.mails
    assert (mail["From"], mail["To"], mail["Subject"]) == ("nights@example.org", "ops@example.org", "shop: a night")
    assert mail.get_body(("plain",)).get_content().splitlines()[:2] == ["events: 120, at least 500", "ü"]


@pytest.mark.slow
def test_who_can_not_be_told_is_named_without_secrets_and_the_others_are_told(webhook: Webhook) -> None:
    webhook.answer = 500
    dead = f"json://ann:s3cret@127.0.0.1:{free_port()}/x"
    notifier = Notifier([dead, webhook.url], {})
    failed = notifier.tell("t", ["a"], False)
    assert list(failed) == notifier.names
    failures = list(failed.values())
    assert failures[0].startswith("json://ann:****@127.0.0.1:")
    assert "s3cret" not in "".join(failures)
    assert "error" in failures[0].lower()
    assert "500" in failures[1]
    assert [posted["type"] for posted in webhook.posted] == ["info"]
    # Who has missed something is told that later, and nobody else.
    assert list(notifier.tell("t", [], True, ["a"], notifier.names[:1])) == notifier.names[:1]
    assert len(webhook.posted) == 1


@pytest.mark.slow
def test_a_server_that_never_comes_to_an_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.nightly.notify._PATIENCE_S", 0.5)
    over = threading.Event()

    def trickle(server: socket.socket) -> None:
        with contextlib.suppress(OSError), server.accept()[0] as connection:
            while not over.wait(0.05):
                connection.sendall(b"H")

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=trickle, args=(server,), daemon=True).start()
        url = f"json://127.0.0.1:{server.getsockname()[1]}/x"
        assert Notifier([url], {}).tell("t", ["a"], True) == {url: f"{url}: it has not ended within 0.5 s"}
        over.set()


def test_nobody_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    assert Notifier([], {}).tell("t", ["a"], True) == {}
    with pytest.raises(InputError, match=r"^nightly\.notify needs the package apprise, .*: pip install apprise$"):
        Notifier(["json://host"], {})


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nothing://host", "Apprise knows no URL like 'nothing://host'"),
        ("json://${NOT_THERE}@host", r"no variable NOT_THERE, which 'json://\$\{NOT_THERE\}@host' takes"),
        ("${NOT_THERE}", "no variable NOT_THERE"),
    ],
)
def test_wrong_urls_are_named(url: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Notifier(["json://host", url], {"OTHER": "x"})


def test_a_secret_is_escaped_as_a_part_of_a_url_and_taken_as_it_is_as_a_whole() -> None:
    environ = {"SECRET": "a/b@c?&=%", "WHOLE": "json://h/a?b=c"}
    assert (
        filled("json://u:${SECRET}@h/${WHOLE}", environ)
        == "json://u:a%2Fb%40c%3F%26%3D%25@h/json%3A%2F%2Fh%2Fa%3Fb%3Dc"
    )
    assert filled("${WHOLE}", environ) == "json://h/a?b=c"
    assert filled("json://$HOME/{a}", environ) == "json://$HOME/{a}"
