"""Become a command that asks Prefect, or is it, with the password that Compose keeps in a file.

Prefect reads its password from a variable alone, and what Compose sets as one shows in ``docker inspect``.
Only the standard library: ``with_prefect_password COMMAND …``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

SECRET = Path("/run/secrets/prefect_auth")
VARIABLES = ("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING")
"""By which one asks, and by which a server is asked; a process that is no server takes no notice of this."""


def main() -> NoReturn:
    """Become the command that is given as arguments; exit 1 with the reason where there is no password."""
    try:
        password = SECRET.read_text().strip()
    except OSError as error:
        sys.exit(f"{SECRET}: {error.strerror}; deploy/compose/make-secrets makes it")
    if not password:
        sys.exit(f"{SECRET} is empty: a Prefect server without a password lets everybody run flows")
    os.execvpe(sys.argv[1], sys.argv[1:], os.environ | dict.fromkeys(VARIABLES, password))


if __name__ == "__main__":
    main()
