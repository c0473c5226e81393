"""Who may sign in and how, and what a typed name is worth: the part of the settings that is about people."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings

from models.people import Role

LOCAL = "http://127.0.0.1"
"""Where the local stack is opened, at ports of its own."""

LEAST_KEY = 32
"""Characters of a key."""


class PeopleSettings(BaseSettings):
    """What `services.settings.Settings` has about people."""

    pages_address: str | None = Field(
        None,
        description="Address at which people open the pages, https://host. Unset: the local stack's, on "
        "127.0.0.1.",
    )
    viewer_address: str | None = Field(
        None,
        description="Address at which people open the viewer, of the pages' own host: a session is of one "
        "host, whatever the port. Unset: the local stack's, on 127.0.0.1.",
    )
    dashboard_address: str | None = Field(
        None,
        description="Address at which operators open Prefect's dashboard, of the pages' own host. Unset: the "
        "local stack's, on 127.0.0.1.",
    )
    session_key: SecretStr | None = Field(
        None,
        description="Key that sessions and tokens are signed with, the same for all processes of a site: 32 "
        "characters or more. Unset: one that is made in the home folder.",
    )
    oidc_issuer: str | None = Field(
        None,
        description="OpenID Connect provider that signs people in, https://host/path. Unset: a trusted "
        "proxy does, or there is one local account.",
    )
    oidc_client: str | None = Field(None, description="Client identifier of the pages at the provider.")
    oidc_client_secret: SecretStr | None = Field(
        None, description="Secret of that client. Unset: a public client; PKCE is used either way."
    )
    oidc_scopes: str = Field(
        "openid profile email",
        description="Scopes that the provider is asked for, with blanks between; some give groups by one of "
        "their own.",
    )
    oidc_groups_claim: str = Field(
        "groups", description="Claim of the provider's that holds a person's groups."
    )
    trusted_proxies: str | None = Field(
        None,
        description="Addresses or networks, with commas between, of proxies whose headers Remote-User, "
        "Remote-Name and Remote-Groups say who somebody is; nobody else is answered then. Unset: none.",
    )
    reader_groups: str = Field("", description="Groups, with commas between, whose members are readers.")
    approver_groups: str = Field("", description="Groups whose members may promote, decline and roll back.")
    operator_groups: str = Field("", description="Groups whose members may start and stop flows.")
    auditor_groups: str = Field("", description="Groups whose members may look at everything.")
    token: SecretStr | None = Field(
        None,
        description="Token made on the pages, which proves for an hour who acts on the command line. Unset: "
        "acts are unproven.",
    )
    own_corrections: Literal["refused", "allowed"] = Field(
        "refused",
        description="What becomes of a promotion by somebody who corrected what the release has learnt from: "
        "`refused`, a second person promotes; `allowed`, for a site of one.",
    )
    unproven_acts: Literal["allowed", "refused"] = Field(
        "allowed",
        description="What becomes of an act on the command line under a name that is only typed: `allowed`, "
        "on record as unproven; `refused`.",
    )

    tell: SecretStr | None = Field(
        None,
        description="Where people are told what waits for them: addresses as Apprise takes them, with blanks "
        "between, e.g. `mailtos://user:password@host?to=address`. Unset: nowhere.",
    )

    @field_validator(
        "pages_address", "viewer_address", "dashboard_address", "oidc_issuer", "oidc_client",
        "oidc_client_secret", "trusted_proxies", "token", "tell", mode="before",
    )  # fmt: skip
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        """Take an empty variable, as Compose passes one on, for none."""
        return None if value == "" else value

    @field_validator("pages_address", "viewer_address", "dashboard_address", "oidc_issuer")
    @classmethod
    def _is_encrypted(cls, address: str | None) -> str | None:
        """Refuse at the start an address over which sessions and names would travel in the clear."""
        if address is not None:
            parts = urlsplit(address)
            here = parts.hostname in ("127.0.0.1", "localhost")
            if parts.scheme != "https" and not (parts.scheme == "http" and here):
                raise ValueError(
                    "names would travel in the clear: use an address of https, e.g. https://host"
                )
        return address

    @field_validator("session_key")
    @classmethod
    def _is_long(cls, key: SecretStr | None) -> SecretStr | None:
        """Refuse at the start a key that can be guessed."""
        if key is not None and len(key.get_secret_value()) < LEAST_KEY:
            raise ValueError(f"the key is shorter than {LEAST_KEY} characters")
        return key

    @field_validator("trusted_proxies")
    @classmethod
    def _are_addresses(cls, proxies: str | None) -> str | None:
        """Refuse at the start what would trust nobody, or everybody."""
        for proxy in (proxies or "").split(",") if proxies else ():
            try:
                named = ip_network(proxy.strip())
            except ValueError:
                said = f"{proxy.strip()!r} is no address or network, e.g. 10.1.2.3 or 10.1.2.0/28"
                raise ValueError(said) from None
            if named.prefixlen == 0:
                raise ValueError(f"{proxy.strip()!r} is everybody: anybody could say who they are")
        return proxies

    @model_validator(mode="after")
    def _sessions_reach_every_door(self) -> Self:
        """Refuse at the start a door to which no browser carries the session: it would ask for ever."""
        pages = urlsplit(self.pages_address or LOCAL)
        for name in ("viewer_address", "dashboard_address"):
            door = urlsplit(getattr(self, name) or f"{pages.scheme}://{pages.hostname}")
            if (door.scheme, door.hostname) != (pages.scheme, pages.hostname):
                raise ValueError(
                    f"no browser carries the session there: ORGANLOOP_{name.upper()} is to begin with "
                    f"{pages.scheme}://{pages.hostname}, as ORGANLOOP_PAGES_ADDRESS does"
                )
            if door.path not in ("", "/") or door.query or door.fragment:
                raise ValueError(f"ORGANLOOP_{name.upper()} is to end with the host or port: no path")
        return self

    @model_validator(mode="after")
    def _there_is_one_way_in(self) -> Self:
        """Refuse at the start two ways to sign in, one of which would go unused, and half of one."""
        if self.oidc_issuer is not None and self.trusted_proxies is not None:
            raise ValueError("a provider and a proxy both sign people in: unset one of them")
        if self.oidc_issuer is not None and self.oidc_client is None:
            raise ValueError("the provider knows no client: set ORGANLOOP_OIDC_CLIENT")
        return self

    @property
    def groups(self) -> dict[Role, tuple[str, ...]]:
        """Groups that give each role."""
        said = {
            Role.READER: self.reader_groups,
            Role.APPROVER: self.approver_groups,
            Role.OPERATOR: self.operator_groups,
            Role.AUDITOR: self.auditor_groups,
        }
        return {role: tuple(filter(None, map(str.strip, names.split(",")))) for role, names in said.items()}
