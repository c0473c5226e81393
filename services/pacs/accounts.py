"""Who may ask the archive of `organloop up`: the worker for all, a reader for DICOMweb; and who may send."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from models.documents import from_json, to_json
from models.errors import StorageFailed
from services.files import storage_errors, write_first

FILE = "accounts.json"
PASSWORD_BYTES = 24
"""Of chance in a password, 192 bits."""
TITLE_BYTES = 8
"""Of chance in a title, 64 bits: sixteen letters are the most that one may have (PS3.5 section 6.2)."""


@dataclass(frozen=True)
class Account:
    """One account of an archive.

    Parameters
    ----------
    user
        Its name.
    password
        Its password, of letters and digits that an address may hold as they are.
    """

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Accounts:
    """The accounts of an archive that keeps them in its folder, in a file for its owner alone.

    Parameters
    ----------
    worker
        Of our own processes.
    reader
        Of the viewer.
    sender
        Application entity title of who may send by DIMSE, which knows no password: as hard to guess as one,
        and on 127.0.0.1 heard by nobody else.
    """

    worker: Account
    reader: Account
    sender: str = field(repr=False)

    @classmethod
    def of(cls, folder: Path) -> Accounts | None:
        """Return the accounts that lie in a folder; None where none were made.

        Raises
        ------
        StorageFailed
            If the file cannot be read, or holds no accounts.
        """
        path = folder / FILE
        with storage_errors(str(path), "cannot be read"):
            if not path.exists():
                return None
            content = path.read_bytes()
        try:
            return from_json(cls, json.loads(content))
        except ValueError:  # its words would repeat the password
            raise StorageFailed(f"{path} holds no accounts: delete it, then `organloop up`") from None

    @classmethod
    def made(cls, folder: Path) -> Accounts:
        """Return the accounts of a folder, made the first time.

        Raises
        ------
        StorageFailed
            If they can be neither read nor written.
        """
        worker, reader = (
            Account(user, secrets.token_hex(PASSWORD_BYTES)) for user in ("organloop", "reader")
        )
        new = cls(worker, reader, secrets.token_hex(TITLE_BYTES).upper())
        with storage_errors(str(folder / FILE)):
            write_first(folder / FILE, json.dumps(to_json(new)).encode(), 0o600)
        return cls.of(folder) or new
