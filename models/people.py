"""Who does something: a person whose name is proven, and what roles let people do."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What somebody may do; a person may have several."""

    READER = "reader"
    APPROVER = "approver"
    OPERATOR = "operator"
    AUDITOR = "auditor"


LOOKING = (Role.READER, Role.APPROVER, Role.AUDITOR)
"""Who may look at studies."""

WATCHING = (Role.APPROVER, Role.OPERATOR, Role.AUDITOR)
"""Who may look at releases, nights and the log."""

MAY: Mapping[Role, str] = {
    Role.READER: "look at studies, correct and accept results, answer questions",
    Role.APPROVER: "promote, decline and roll back releases",
    Role.OPERATOR: "start and stop flows, look at what runs",
    Role.AUDITOR: "look at everything, and change nothing",
}
"""In words, for whoever has not the role."""


@dataclass(frozen=True)
class Person:
    """Somebody whose name was proven by a sign-in.

    Parameters
    ----------
    subject
        What the issuer knows the person by; it does not change with the name.
    issuer
        Who proved it: the address of an OpenID provider, `proxy` or `local`.
    name
        To be shown; it is the name in the log.
    roles
        What the person may do.
    """

    subject: str
    issuer: str
    name: str
    roles: frozenset[Role] = frozenset()

    def __post_init__(self) -> None:
        if not (self.subject.strip() and self.issuer.strip() and self.name.strip()):
            raise ValueError("a person has a subject, an issuer and a name")

    def has(self, *any_of: Role) -> bool:
        """Tell whether the person has one of these roles."""
        return not self.roles.isdisjoint(any_of)


def roles_of(groups: Collection[str], by_role: Mapping[Role, Collection[str]]) -> frozenset[Role]:
    """Return the roles that groups give.

    Parameters
    ----------
    groups
        Of a person, as the issuer names them.
    by_role
        Groups that give each role.
    """
    return frozenset(role for role, giving in by_role.items() if not set(giving).isdisjoint(groups))


@dataclass(frozen=True)
class Delivery:
    """What became of a message at one address.

    Parameters
    ----------
    address
        Its place in ORGANLOOP_TELL, from 1.
    kind
        What it begins with: ``mailtos``.
    why
        Why it did not take the message, without what is secret in the address; empty if it took it.
    """

    address: int
    kind: str
    why: str
