"""What the local stack's servers by nginx have in common."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from deploy.doors import configuration
from deploy.doors.configuration import Door, SignIn
from deploy.stack.local_process import NotInstalled
from services.files import storage_errors
from services.pacs.accounts import Account


def program() -> str:
    """Return the path of nginx.

    Raises
    ------
    NotInstalled
        If it is not on this machine.
    """
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if found is None:
        raise NotInstalled("nginx is not installed: apt-get install nginx-light")
    return found


def command(home: Path, log: Path, first: Path) -> list[str]:
    """Return the command that starts nginx with a configuration of a home."""
    return [program(), "-p", str(home), "-e", str(log), "-c", str(first)]


def configure(home: Path, door: Door, sign_in: SignIn) -> Path:
    """Write the configuration of a server with one door into its home; return its first file.

    Parameters
    ----------
    home
        Folder of all that it writes.
    door
        What it opens.
    sign_in
        Who is asked whether somebody may pass.

    Raises
    ------
    StorageFailed
        If the home is not writable.
    """
    with storage_errors(home.name):
        return configuration.write(home, (door,), sign_in)


def given(account: Account) -> str:
    """Return the line that has the server behind asked with an account that no browser knows."""
    return configuration.given(account.user, account.password)
