"""What keeps others out of the local stack: a closed home, and passwords made at the first `up`."""

from __future__ import annotations

import secrets
from pathlib import Path

from services.files import storage_errors, write_first

BYTES = 24
"""Of chance in a password; nobody types one."""


def close_to_others(home: Path) -> None:
    """Make a home that only its owner may enter, or close the one there: it holds studies with their names.

    Raises
    ------
    StorageFailed
        If it is another user's, or cannot be made.
    """
    with storage_errors(str(home)):
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o700)


def password_in(path: Path) -> str:
    """Return the password in a file; one is made where there is no such file.

    Parameters
    ----------
    path
        The file, of mode 0600.

    Raises
    ------
    StorageFailed
        If it cannot be written or read.
    """
    with storage_errors(path.name):
        write_first(path, secrets.token_urlsafe(BYTES).encode(), mode=0o600)
        return path.read_text()
