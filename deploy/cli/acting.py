"""Whose act a verb does: proven by a token of the pages, or a name that was typed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.console import progress
from models.errors import Refused
from models.people import Person, Role
from services.settings import Settings

if TYPE_CHECKING:  # it would import what a quick verb does without
    from services.records.port import Records
    from services.wiring import Services


Approver = Annotated[
    str,
    typer.Option(help="Name of the person whose act this is; kept on record. Default: ORGANLOOP_TOKEN's."),
]
Reader = Annotated[
    str,
    typer.Option(help="Name of the reader whose act this is; kept on record. Default: ORGANLOOP_TOKEN's."),
]
Reason = Annotated[str, typer.Option(help="Why, in one sentence; kept on record.")]


class Acting:
    """Who acts.

    Parameters
    ----------
    name
        In the log.
    person
        None where the name was only typed.
    settings
        Of the site.
    """

    def __init__(self, name: str, person: Person | None, settings: Settings) -> None:
        self.name = name
        self._person = person
        self._settings = settings

    def connected(self, connect: Callable[[Settings], Services]) -> Services:
        """Return the site's services, whose records bear the proof of the name if there is one."""
        services = connect(self._settings)
        return replace(services, records=self.in_records(services.records))

    def in_records(self, records: Records) -> Records:
        """Return records that bear the proof of the name, if there is one."""
        return records if self._person is None else records.signed(self._person)


def acting(typed: str, role: Role, settings: Settings, option: str = "--approver") -> Acting:
    """Return who acts.

    Parameters
    ----------
    typed
        Name that was given; empty where none was.
    role
        What the act is for.
    settings
        With the token, if there is one, and whether unproven acts are allowed.
    option
        By which the name is given.

    Raises
    ------
    Refused
        `token-expired`, `token-unknown`; `other-name` if another name was typed than is proven; `not-allowed`
        without the role; `unproven` where the site takes no typed name; `no-name` if there is neither a token
        nor a name.
    """
    if settings.token is not None:
        from services.people.key import signing_key
        from services.people.tokens import person_of

        person = person_of(
            settings.token.get_secret_value(), signing_key(settings.session_key, settings.people_folder)
        )
        if typed.strip() not in ("", person.name):
            detail = f"the token proves {person.name}; {option} says {typed.strip()}: leave it out"
            raise Refused("other-name", detail, {"proven": person.name, "typed": typed.strip()})
        if not person.has(role):
            detail = f"{person.name} is no {role}: ask who manages the groups of this site"
            raise Refused("not-allowed", detail, {"roles": sorted(person.roles), "needed": role})
        return Acting(person.name, person, settings)
    if settings.unproven_acts == "refused":
        detail = "this site takes no typed names: make a token on the pages, and set ORGANLOOP_TOKEN to it"
        raise Refused("unproven", detail)
    if not typed.strip():
        detail = f"an act has a name: {option}, or a token of the pages in ORGANLOOP_TOKEN"
        raise Refused("no-name", detail)
    progress(f"on record as unproven: nobody has proven that this is {typed.strip()}")
    return Acting(typed, None, settings)
