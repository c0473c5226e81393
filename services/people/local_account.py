"""The one account of a machine by itself, where no provider and no proxy knows anybody.

Its first password is made with it and shown once; who signs in with it says a name and chooses another.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from models.documents import from_json
from models.errors import Refused, StorageFailed
from models.people import Person, Role
from services.files import replace, storage_errors, write_first

ISSUER = "local"
SUBJECT = "owner"
"""It is one account, whatever its owner's name."""

ROLES = frozenset(Role)
LEAST_CHARACTERS = 12
FIRST_BYTES = 9
"""Of chance in the first password: twelve characters that are typed once."""

COST = {"n": 2**15, "r": 8, "p": 1, "maxmem": 2**26}
"""Of scrypt: a tenth of a second and 32 MB a try. Source: RFC 7914, section 2."""


@dataclass(frozen=True)
class _Kept:
    """What is kept: a name that the owner gave, or none yet, and the password's digest."""

    name: str
    salt: str
    digest: str


class LocalAccount:
    """The account of a home.

    Parameters
    ----------
    path
        Its file, which no other user may read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def make(self) -> str | None:
        """Make the account and return its first password; None where it is there already.

        Raises
        ------
        StorageFailed
            If it cannot be written.
        """
        if self._path.exists():
            return None
        password = secrets.token_urlsafe(FIRST_BYTES)
        with storage_errors(self._path.name):
            write_first(self._path, _written("", password), mode=0o600)
        return password if self.knows(password) else None  # two may have begun at once: one password holds

    def reset(self) -> str:
        """Put another first password in place of what holds, and return it; the owner's name is asked anew.

        Raises
        ------
        StorageFailed
            If it cannot be written.
        """
        password = secrets.token_urlsafe(FIRST_BYTES)
        replace(self._path, _written("", password), mode=0o600)
        return password

    @property
    def unused(self) -> bool:
        """Whether nobody has signed in with the first password yet; True where there is no account."""
        return not self._path.exists() or not self._kept().name

    @property
    def mark(self) -> str:
        """What changes with the password: a session of an earlier one is over."""
        return self._kept().salt

    def knows(self, password: str) -> bool:
        """Tell whether this is the password that holds."""
        kept = self._kept()
        return secrets.compare_digest(kept.digest, _digest(password, bytes.fromhex(kept.salt)))

    def choose(self, name: str, password: str) -> Person:
        """Put the owner's name and password in place of the first one.

        Raises
        ------
        Refused
            `no-name`; `weak-password` if it is shorter than twelve characters or the name.
        StorageFailed
            If it cannot be written; the first password holds.
        """
        name = " ".join(name.split())
        if not name:
            raise Refused("no-name", "say your name, as others shall read it in the log")
        if len(password) < LEAST_CHARACTERS or password.strip().casefold() == name.casefold():
            detail = f"choose a password of {LEAST_CHARACTERS} characters or more that is not your name"
            raise Refused("weak-password", detail)
        replace(self._path, _written(name, password), mode=0o600)
        return self.owner

    @property
    def owner(self) -> Person:
        """Who the account is.

        Raises
        ------
        ValueError
            If nobody has given it a name yet.
        """
        return Person(SUBJECT, ISSUER, self._kept().name, ROLES)

    def _kept(self) -> _Kept:
        with storage_errors(self._path.name, "cannot be read"):
            content = self._path.read_bytes()
        try:
            return from_json(_Kept, json.loads(content))
        except ValueError as error:
            raise StorageFailed(f"{self._path.name} is damaged: delete it, and `up` makes another") from error


def _written(name: str, password: str) -> bytes:
    salt = secrets.token_bytes(16)
    return json.dumps(asdict(_Kept(name, salt.hex(), _digest(password, salt)))).encode()


def _digest(password: str, salt: bytes) -> str:
    return hashlib.scrypt(password.encode(), salt=salt, **COST).hex()
