"""The key that sessions and tokens are signed with; whoever can read it can be anybody."""

from __future__ import annotations

import secrets
from pathlib import Path

from pydantic import SecretStr

from models.errors import StorageFailed
from services.files import storage_errors, write_first

BYTES = 32


def signing_key(given: SecretStr | None, folder: Path) -> bytes:
    """Return the site's key: the one that is given, else one that is made in a folder once.

    No other user of the machine may read it.

    Parameters
    ----------
    given
        Of the settings.
    folder
        `Settings.people_folder`.

    Raises
    ------
    StorageFailed
        If it cannot be written or read, or is too short to be one.
    """
    if given is not None:
        return given.get_secret_value().encode()
    path = folder / "session-key"
    with storage_errors(path.name):
        write_first(path, secrets.token_hex(BYTES).encode(), mode=0o600)
        key = path.read_bytes().strip()
    if len(key) < BYTES:
        raise StorageFailed(f"{path.name} is no key: it has {len(key)} bytes, {BYTES} are the least")
    return key
