"""The key that sessions and tokens are signed with; whoever can read it can be anybody."""

from __future__ import annotations

import secrets

from models.errors import StorageFailed
from services.files import storage_errors, write_first
from services.settings import Settings

BYTES = 32


def signing_key(settings: Settings) -> bytes:
    """Return the site's key: that of the settings, else one that is made in the home once.

    No other user of the machine may read it.

    Raises
    ------
    StorageFailed
        If it cannot be written or read, or is too short to be one.
    """
    if settings.session_key is not None:
        return settings.session_key.get_secret_value().encode()
    path = settings.people_folder / "session-key"
    with storage_errors(path.name):
        write_first(path, secrets.token_hex(BYTES).encode(), mode=0o600)
        key = path.read_bytes().strip()
    if len(key) < BYTES:
        raise StorageFailed(f"{path.name} is no key: it has {len(key)} bytes, {BYTES} are the least")
    return key
