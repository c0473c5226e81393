"""Messages to people, by whichever service the site has: mail, Teams, a webhook."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Protocol
from urllib.parse import unquote

from apprise import Apprise, AppriseAsset, LogCapture, NotifyBase, NotifyFormat, OverflowMode
from pydantic import SecretStr

from models.errors import NotTold
from models.people import Delivery

_COUNTED = len(" (99 of 99)")
_CAUSE = "Socket Exception: "
"""Before the words of the network's error, in what Apprise logs."""
_POOL = re.compile(r"^.*\(Caused by (.*)\)$")
"""What the network's library says before the cause; it quotes the address."""
_LONGEST_WHY = 300
_ADDRESS = re.compile(r"^(https?://\S+)$", re.MULTILINE)
_ASSET = AppriseAsset(image_url_mask="")
"""Without pictures: they would be fetched from elsewhere by whoever reads a message."""


class Messenger(Protocol):
    """Takes a message to people."""

    def send(self, subject: str, text: str) -> str:
        """Send a message to every address; return which did not take it, empty where all did.

        Raises
        ------
        NotTold
            If none took it.
        """


@dataclass(frozen=True)
class _Target:
    address: str
    apprise: Apprise
    service: NotifyBase


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
        self._targets: list[_Target] = []
        for number, address in enumerate(addresses.get_secret_value().split(), 1):
            target = Apprise(asset=_ASSET)
            if not target.add(address):
                raise NotTold(
                    f"address {number} of ORGANLOOP_TELL ({_kind(address)}) is none that Apprise knows"
                )
            (service,) = target
            service.overflow_mode = OverflowMode.UPSTREAM  # it would cut at the limit, and call it sent
            self._targets.append(_Target(address, target, service))

    def deliver(self, subject: str, text: str) -> tuple[Delivery, ...]:
        """Send a message to every address, and return of each whether it took it.

        Parameters
        ----------
        subject
            One line.
        text
            Paragraphs. What is longer than a service takes goes there as several messages.
        """
        return tuple(
            Delivery(number, _kind(target.address), _sent(target, subject, text))
            for number, target in enumerate(self._targets, 1)
        )

    def send(self, subject: str, text: str) -> str:
        """Send a message to every address; returns and raises as `Messenger.send`."""
        away = [str(one.address) for one in self.deliver(subject, text) if one.why]
        of = len(self._targets)
        if not away:
            return ""
        words = f"address {', '.join(away)} of the {of} in ORGANLOOP_TELL did not take a message"
        if len(away) == of:
            raise NotTold(words)
        return words


def _kind(address: str) -> str:
    return address.partition("://")[0][:16]


def _sent(target: _Target, subject: str, text: str) -> str:
    """Send all parts of a message; return why one was not taken, empty where all were."""
    service = target.service
    longest = (
        service.body_maxlen - _COUNTED - (0 if service.title_maxlen > 0 else len(subject) + len("# \r\n"))
    )
    parts = list(_parts(_written(text, service.notify_format), longest))
    for number, part in enumerate(parts, 1):
        title = subject if len(parts) == 1 else f"{subject} ({number} of {len(parts)})"
        with LogCapture(level=logging.DEBUG, fmt="%(levelname)s %(message)s") as log:
            if target.apprise.notify(body=part, title=title, body_format=service.notify_format):
                continue
            return _why(log.getvalue(), target.address)
    return ""


def _parts(text: str, longest: int) -> Iterator[str]:
    """Yield a text in parts of whole paragraphs; one that is longer than a part goes whole."""
    held = ""
    for paragraph in text.split("\n\n"):
        longer = f"{held}\n\n{paragraph}" if held else paragraph
        if held and len(longer) > longest:
            yield held
            held = paragraph
        else:
            held = longer
    yield held


def _written(text: str, form: NotifyFormat) -> str:
    """Return a text as a service shows it: a card in Teams makes no link of a bare address, and joins lines.

    Apprise itself puts a blank that does not break between any two words of a mail.
    """
    if form == NotifyFormat.MARKDOWN:
        return _ADDRESS.sub(r"[\1](\1)", text).replace("\n[", "  \n[")
    if form == NotifyFormat.HTML:
        linked = _ADDRESS.sub(r'<a href="\1">\1</a>', escape(text))
        return "\n\n".join(f"<p>{one.replace(chr(10), '<br/>')}</p>" for one in linked.split("\n\n"))
    return text


def _why(log: str, address: str) -> str:
    """Return why a service took nothing, by what Apprise logged; of the address only its host is quoted."""
    found = [line for line in log.splitlines() if line.startswith(("WARNING", "ERROR")) or _CAUSE in line]
    said = [_POOL.sub(r"\1", line.partition(" ")[2].replace(_CAUSE, "")) for line in found]
    words = "; ".join(said) or "it took nothing"
    for secret in sorted(_secrets(address), key=len, reverse=True):
        words = words.replace(secret, "***")
    return words[:_LONGEST_WHY]


def _secrets(address: str) -> set[str]:
    """Return everything in an address but its host and port: any part of it may be a password."""
    authority, _, rest = re.sub(r"^[^:]*://", "", address).partition("/")
    if "?" in authority:
        authority, _, query = authority.partition("?")
        rest = f"{query}/{rest}"
    account = authority.rpartition("@")[0]
    raw = {account, rest, *account.split(":"), *re.split(r"[/?&]", rest)}
    raw |= {one.partition("=")[2] for one in raw}
    return {one for part in raw for one in (part, unquote(part)) if len(one) > 2}
