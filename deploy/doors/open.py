"""The container's doors: ``python3 -m deploy.doors.open`` writes what its variables say, and becomes nginx.

===============================  =============================================================
variable                         says
===============================  =============================================================
``DOORS_PAGES``                  the pages' process, ``host:port``
``DOORS_ARCHIVE``                the archive's DICOMweb, ``http(s)://host:port/path``; unset: what
                                 ``ORGANLOOP_DICOMWEB_URL`` says, or that of ``ORGANLOOP_ORTHANC_URL``
``DOORS_ARCHIVE_CA``             file that its TLS is checked against; unset: the system's
``DOORS_PREFECT``                Prefect's server, ``http://host:port``
``DOORS_TLS``                    folder of ``tls.crt`` and ``tls.key``; unset, or both empty: no encryption
``DOORS_PUBLISHED``              address of the host that the doors answer at; unset: not said. Beyond
                                 127.0.0.1 they do not open without encryption
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
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SYSTEM_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
OHIF = Path("/usr/share/ohif")
FOLDER = Path("/tmp/doors")  # the container's own, in memory
SECRETS = Path("/run/secrets")
CERTIFICATE, KEY = "tls.crt", "tls.key"


class Unfit(Exception):
    """The doors cannot open as they are told to; the message says why and what to do."""


def main() -> None:
    """Write the configuration and become nginx; end with a sentence if it could not work."""
    try:
        configuration = configured(os.environ, FOLDER)
    except KeyError as missing:
        sys.exit(f"{missing.args[0]} is not set: say where it is, see deploy/doors/open.py")
    except Unfit as reason:
        sys.exit(f"the doors do not open: {reason}")
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
    Unfit
        If passwords would cross a network in the clear, or of certificate and key one is missing.
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
            "dicomweb": _dicomweb(variables),
            "certificates": variables.get("DOORS_ARCHIVE_CA") or SYSTEM_CERTIFICATES,
        },
        "dashboard": {"prefect": variables["DOORS_PREFECT"].rstrip("/"), "said": DASHBOARD_TOLD},
    }
    doors = [
        Door(name, listen, addresses[name], accounts.get(name, ""), marks.get(name, {}))
        for name, listen in listens.items()
    ]
    tls = certificates(variables)
    if tls is None and variables.get("DOORS_PUBLISHED") not in (None, "", *LOOPBACK):
        raise Unfit(
            f"at {variables['DOORS_PUBLISHED']} passwords would cross the network in the clear: give them a "
            "certificate and its key, or publish them at 127.0.0.1, behind a proxy of this machine"
        )
    sign_in = SignIn(f"http://{variables['DOORS_PAGES']}", addresses["pages"])
    return write(folder, doors, sign_in, tls)


def certificates(variables: Mapping[str, str]) -> Path | None:
    """Return the folder of certificate and key; None where neither holds anything.

    Raises
    ------
    Unfit
        If only one of them holds something, or one cannot be read.
    """
    if not variables.get("DOORS_TLS"):
        return None
    folder = Path(variables["DOORS_TLS"])
    try:
        held = [name for name in (CERTIFICATE, KEY) if (folder / name).read_bytes().strip()]
    except OSError as error:
        raise Unfit(f"{error.filename} cannot be read: {error.strerror}") from None
    if len(held) == 1:
        [lacking] = {CERTIFICATE, KEY} - set(held)
        raise Unfit(f"{folder / held[0]} is there and {lacking} is empty: both are needed, or neither")
    return folder if held else None


def _dicomweb(variables: Mapping[str, str]) -> str:
    """Return where the archive's DICOMweb is, as `services.wiring` finds it."""
    named = variables.get("DOORS_ARCHIVE") or variables.get("ORGANLOOP_DICOMWEB_URL")
    if not named and variables.get("ORGANLOOP_ORTHANC_URL"):
        named = f"{variables['ORGANLOOP_ORTHANC_URL'].rstrip('/')}/dicom-web"
    return (named or variables["DOORS_ARCHIVE"]).rstrip("/")


if __name__ == "__main__":
    main()
