"""Telling people: by Apprise, which knows e-mail, webhooks and a hundred services."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from components.errors import InputError
from pipeline.config.nightly import VARIABLE

_MORE = "recommender status says more"
"""The last line."""
_PATIENCE_S = 60.0
"""With one service."""


class Notifier:
    """Tells people.

    Args:
        urls: `nightly.notify`.
        environ: The environment, with the variables that the URLs take.

    Raises:
        InputError: Apprise is not installed, a variable is missing, or it knows no such URL.
    """

    def __init__(self, urls: Sequence[str], environ: Mapping[str, str]) -> None:
        self._services: list[Any] = []
        if not urls:
            return
        try:
            import apprise
        except ImportError:
            raise InputError(
                "nightly.notify needs the package apprise, the extra `notify` of this project: pip install apprise"
            ) from None
        for url in urls:
            service = apprise.Apprise.instantiate(filled(url, environ), suppress_exceptions=True)
            if service is None:
                raise InputError(f"nightly.notify: Apprise knows no URL like {url!r}; it lists those that it knows")
            self._services.append(service)

    @property
    def names(self) -> list[str]:
        """The services, without secrets."""
        return [service.url(privacy=True).partition("?")[0] for service in self._services]

    def tell(
        self,
        title: str,
        lines: Sequence[str],
        problem: bool,
        late: Sequence[str] = (),
        unreached: Collection[str] = (),
    ) -> dict[str, str]:
        """Tells everybody; returns by their names who could not be told, and why.

        Args:
            title: What it is about.
            lines: What there is to know; without any only those are told who missed something.
            problem: Whether something is wrong.
            late: What could not be told before.
            unreached: Whom; everybody if nobody is named.
        """
        failures = {}
        for name, service in zip(self.names, self._services):
            missed = late if name in unreached or not unreached else ()
            if own := list(dict.fromkeys([*missed, *lines])):
                why = _told(service, title, [*own, _MORE], problem)
                if why is not None:
                    failures[name] = f"{name}: {why}"
        return failures


def _told(service: Any, title: str, lines: Sequence[str], problem: bool) -> str | None:
    """Tells one service; returns why it could not be, None if it was."""
    import apprise

    one = apprise.Apprise()
    one.add(service)
    kind = apprise.NotifyType.FAILURE if problem else apprise.NotifyType.INFO
    found = [f"it has not ended within {_PATIENCE_S:g} s"]

    def tell() -> None:
        with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as log:
            told = one.notify("\n".join(lines), title, kind, body_format=apprise.NotifyFormat.TEXT)
            why = "; ".join(log.getvalue().split("\n")).strip("; ")
        found[:] = [] if told else [why or "no reason is given"]

    # Each read of Apprise's ends after seconds, but a server that sends a byte now and then holds it up for ever.
    telling = threading.Thread(target=tell, daemon=True)
    telling.start()
    telling.join(_PATIENCE_S)
    return found[0] if found else None


def filled(url: str, environ: Mapping[str, str]) -> str:
    """Puts the environment's variables into a URL.

    >>> filled("mailtos://ann:${PASSWORD}@host", {"PASSWORD": "a/b"})
    'mailtos://ann:a%2Fb@host'
    >>> filled("${WEBHOOK}", {"WEBHOOK": "json://host/a"})
    'json://host/a'

    Raises:
        InputError: There is no such variable.
    """
    for name in VARIABLE.findall(url):
        if not environ.get(name):
            raise InputError(f"nightly.notify: the environment has no variable {name}, which {url!r} takes")
    if whole := VARIABLE.fullmatch(url):
        return environ[whole[1]]
    return VARIABLE.sub(lambda found: quote(environ[found[1]], safe=""), url)
