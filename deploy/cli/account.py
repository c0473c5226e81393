"""The verb `account`: who acts on this command line, and another first password for the pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from deploy.cli.console import Json, Outcome, answer
from models.errors import Refused
from services.settings import Settings


@dataclass(frozen=True)
class Account:
    """The document of the `account` verb.

    Parameters
    ----------
    name, subject, issuer, roles
        Of whom the token proves; None and empty without one.
    first_password
        Of the local account, where it was reset; else None.
    """

    name: str | None
    subject: str | None
    issuer: str | None
    roles: tuple[str, ...]
    first_password: str | None = None


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command()(account)


def account(
    reset: Annotated[
        bool, typer.Option("--reset", help="Make another first password for the local account of the pages.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say who acts on this command line: whom the token in ORGANLOOP_TOKEN proves, or nobody."""

    def verb() -> Outcome:
        from services.people.key import signing_key
        from services.people.local_account import LocalAccount
        from services.people.tokens import person_of

        settings = Settings()
        if reset:
            if settings.oidc_issuer is not None or settings.trusted_proxies is not None:
                detail = "people sign in elsewhere at this site: there is no local account"
                raise Refused("no-local-account", detail)
            password = LocalAccount(settings.people_folder / "account.json").reset()
            said = f"first password, shown once: {password}; who signs in with it chooses a name and another"
            return Outcome(Account(None, None, None, (), password), (said,))
        if settings.token is None:
            said = "nobody: acts on this command line are unproven. The pages make a token, good for an hour."
            return Outcome(Account(None, None, None, ()), (said,))
        who = person_of(
            settings.token.get_secret_value(), signing_key(settings.session_key, settings.people_folder)
        )
        roles = tuple(sorted(who.roles))
        said = f"{who.name} ({who.subject}, by {who.issuer}): {', '.join(roles) or 'no role'}"
        return Outcome(Account(who.name, who.subject, who.issuer, roles), (said,))

    answer(verb, as_json)
