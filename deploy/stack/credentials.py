"""Passwords of the local stack: made at the first `up`, kept in files that only their owner reads."""

from __future__ import annotations

import secrets
from pathlib import Path

from services.files import storage_errors, write_first

BYTES = 24
"""Of chance in a password; nobody types one."""


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
