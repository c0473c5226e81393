"""Messages to people, by whichever service the site has: mail, Teams, a webhook."""

from __future__ import annotations

from typing import Protocol

from apprise import Apprise, NotifyFormat
from pydantic import SecretStr

from models.errors import NotTold


class Messenger(Protocol):
    """Takes a message to people."""

    def send(self, subject: str, text: str) -> str:
        """Send a message to every address; return which did not take it, empty where all did.

        Raises
        ------
        NotTold
            If none took it.
        """


class AppriseMessenger:
    """Sends by Apprise.

    Parameters
    ----------
    addresses
        As Apprise takes them, with blanks between; they hold passwords, and no message quotes them.

    Raises
    ------
    NotTold
        If one of them is none.
    """

    def __init__(self, addresses: SecretStr) -> None:
        self._targets: list[Apprise] = []
        for number, address in enumerate(addresses.get_secret_value().split(), 1):
            target = Apprise()
            if not target.add(address):
                kind = address.partition("://")[0][:16]
                raise NotTold(f"address {number} of ORGANLOOP_TELL ({kind}) is none that Apprise knows")
            self._targets.append(target)

    def send(self, subject: str, text: str) -> str:
        """Send a message to every address; returns and raises as `Messenger.send`."""
        away = []
        for number, target in enumerate(self._targets, 1):
            if not target.notify(body=text, title=subject, body_format=NotifyFormat.TEXT):
                away.append(str(number))
        of = len(self._targets)
        if not away:
            return ""
        words = f"address {', '.join(away)} of the {of} in ORGANLOOP_TELL did not take a message"
        if len(away) == of:
            raise NotTold(words)
        return words
