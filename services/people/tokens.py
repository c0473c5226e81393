"""A proven name that somebody carries from the pages to the command: signed, and good for an hour."""

from __future__ import annotations

from itsdangerous import BadData, BadSignature, SignatureExpired, URLSafeTimedSerializer

from models.documents import from_json, to_json
from models.errors import Refused
from models.people import Person

SECONDS = 3600
"""How long a token is good for."""

SALT = "organloop command"
"""What is signed for another purpose is no token."""


def token_of(person: Person, key: bytes) -> str:
    """Return a token for a person who has signed in just now.

    Parameters
    ----------
    person
        Name, subject, issuer and roles are in it, and everybody who holds it can read them.
    key
        The site's, `services.people.key`.
    """
    return str(_serializer(key).dumps(to_json(person)))


def person_of(token: str, key: bytes) -> Person:
    """Return whom a token names.

    Raises
    ------
    Refused
        `token-expired`, or `token-unknown` if the site's key has not signed it.
    """
    try:
        said = _serializer(key).loads(token.strip(), max_age=SECONDS)
        return from_json(Person, said)
    except SignatureExpired as error:
        detail = f"the token is older than {SECONDS // 60} minutes: make another one on the pages"
        raise Refused("token-expired", detail) from error
    except (BadSignature, BadData, ValueError) as error:
        detail = "the token is none of this site's: make one on the pages, and copy all of it"
        raise Refused("token-unknown", detail) from error


def _serializer(key: bytes) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(key, salt=SALT)
