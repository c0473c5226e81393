"""The verb `tell`: a trial message to whom people's messages go."""

from __future__ import annotations

from dataclasses import dataclass

import typer

from deploy.cli.console import EXIT_FAILED, Json, Outcome, answer
from models.errors import Refused
from models.people import Delivery
from services.settings import Settings

SUBJECT = "Organloop: a trial message"


@dataclass(frozen=True)
class Told:
    """The document of the `tell` verb.

    Parameters
    ----------
    reached
        Whether every address took the message.
    addresses
        What became of it at each.
    """

    reached: bool
    addresses: tuple[Delivery, ...]


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command()(tell)


def tell(as_json: Json = False) -> None:
    """Send a trial message to every address in ORGANLOOP_TELL, and say who was not reached and why.

    Nothing of it is put on record. Exit 1 if an address did not take it.
    """

    def verb() -> Outcome:
        from deploy.stack.up_and_down import pages
        from services.people.messages import AppriseMessenger

        settings = Settings()
        if settings.tell is None or not settings.tell.get_secret_value().split():
            detail = (
                "ORGANLOOP_TELL names no address: nobody is told; put addresses there, as Apprise takes them"
            )
            raise Refused("nobody-to-tell", detail)
        text = "This is a trial message. Who reads it will be told what waits or stands still here."
        address = settings.pages_address or pages(settings).url
        if address:
            text += f"\n{address.rstrip('/')}/model"
        found = AppriseMessenger(settings.tell).deliver(SUBJECT, text)
        said = [f"address {one.address} ({one.kind}): {_said(one)}" for one in found]
        reached = not any(one.why for one in found)
        return Outcome(Told(reached, found), said, 0 if reached else EXIT_FAILED)

    answer(verb, as_json)


def _said(one: Delivery) -> str:
    return f"not reached: {one.why}" if one.why else "took the message"
