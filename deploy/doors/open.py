"""The container's doors: ``python3 -m deploy.doors.open`` writes what its variables say, and becomes nginx.

===============================  =============================================================
variable                         says
===============================  =============================================================
``DOORS_PAGES``                  the pages' process, ``host:port``
``DOORS_ARCHIVE``                the archive's DICOMweb, ``http(s)://host:port/path``
``DOORS_ARCHIVE_CA``             file that its TLS is checked against; unset: the system's
``DOORS_PREFECT``                Prefect's server, ``http://host:port``
``DOORS_TLS``                    folder of ``tls.crt`` and ``tls.key``; unset: no encryption
``ORGANLOOP_PAGES_ADDRESS``, ``ORGANLOOP_VIEWER_ADDRESS``, ``ORGANLOOP_DASHBOARD_ADDRESS``
                                 where people open them
``ORGANLOOP_ARCHIVE_READER_USER``, ``ORGANLOOP_ARCHIVE_READER_PASSWORD``
                                 the archive's account of those who look
``PREFECT_API_AUTH_STRING``      Prefect's account, ``user:password``
===============================  =============================================================

A secret may be a file instead, of the variable's name in small letters, in ``/run/secrets``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.doors.configuration import DASHBOARD_TOLD, Door, SignIn, given, write

LISTENS = {"pages": "8500", "viewer": "3000", "dashboard": "4200"}
"""Ports of the doors."""
SYSTEM_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
OHIF = Path("/usr/share/ohif")
FOLDER = Path("/tmp/doors")  # the container's own, in memory
SECRETS = Path("/run/secrets")


def main() -> None:
    """Write the configuration and become nginx; end with a sentence if a variable is missing."""
    try:
        configuration = configured(os.environ, FOLDER)
    except KeyError as missing:
        sys.exit(f"{missing.args[0]} is not set: say where it is, see deploy/doors/open.py")
    os.execvp("nginx", ["nginx", "-p", str(FOLDER), "-e", "stderr", "-c", str(configuration)])


def configured(
    variables: Mapping[str, str],
    folder: Path,
    ohif: Path = OHIF,
    secrets: Path = SECRETS,
    listens: Mapping[str, str] = LISTENS,
) -> Path:
    """Write the configuration that variables say; return its first file.

    Parameters
    ----------
    variables
        Of the process.
    folder
        For all that nginx reads and writes.
    ohif
        OHIF's pages.
    secrets
        Folder of secrets that are files.
    listens
        Address or port of each door.

    Raises
    ------
    KeyError
        With the name of a variable that is missing.
    """

    def secret(name: str) -> str:
        file = secrets / name.lower()
        return variables[name] if name in variables or not file.exists() else file.read_text().strip()

    addresses = {name: variables[f"ORGANLOOP_{name.upper()}_ADDRESS"] for name in listens}
    reader = given(secret("ORGANLOOP_ARCHIVE_READER_USER"), secret("ORGANLOOP_ARCHIVE_READER_PASSWORD"))
    user, _, password = secret("PREFECT_API_AUTH_STRING").partition(":")
    accounts = {"viewer": reader, "dashboard": given(user, password)}
    marks: dict[str, dict[str, object]] = {
        "viewer": {
            "ohif": ohif,
            "configuration": ohif / "app-config.js",
            "dicomweb": variables["DOORS_ARCHIVE"].rstrip("/"),
            "certificates": variables.get("DOORS_ARCHIVE_CA") or SYSTEM_CERTIFICATES,
        },
        "dashboard": {"prefect": variables["DOORS_PREFECT"].rstrip("/"), "said": DASHBOARD_TOLD},
    }
    doors = [
        Door(name, listen, addresses[name], accounts.get(name, ""), marks.get(name, {}))
        for name, listen in listens.items()
    ]
    tls = variables.get("DOORS_TLS")
    sign_in = SignIn(f"http://{variables['DOORS_PAGES']}", addresses["pages"])
    return write(folder, doors, sign_in, Path(tls) if tls else None)


if __name__ == "__main__":
    main()
