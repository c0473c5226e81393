"""Compose's archive: ``python3 -m deploy.stack.orthanc.container`` configures Orthanc, and becomes it.

============================  ================================================================
variable                      says
============================  ================================================================
``GATEWAY_AET``               its application entity title
``GATEWAY_STABLE_SECONDS``    how long a study must have been quiet to count as arrived
``GATEWAY_MEGABYTES``         the most that it keeps; full, it takes no more and deletes nothing
``GATEWAY_CHECK_HOSTS``       ``true``: a title is known at its own address alone; ``false``: anywhere
``GATEWAY_MODALITIES``        file of the modalities it knows
``GATEWAY_USERS``             file of its users, ``{"RegisteredUsers": {…}}``
``GATEWAY_TLS``               folder of ``tls.crt``, ``tls.key`` and ``ca.crt``; all empty: DIMSE is plain
``ORGANLOOP_FORWARD_TO``, ``ORGANLOOP_QUERY_MODALITY``
                              modalities that results are sent to and studies queried from; empty: none
============================  ================================================================
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from deploy.stack.orthanc.modalities import TITLE, Modality, Unfit, read

FOLDER = Path(__file__).resolve().parent
STATE = "/var/lib/orthanc/organloop"
CONFIGURATION = Path("/tmp/orthanc")  # the container's own, in memory: passwords are in it
PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
CERTIFICATES = ("tls.crt", "tls.key", "ca.crt")
NAMES = ["archive", "127.0.0.1"]
"""Under which names the other containers, and its health check, ask it."""


def main() -> NoReturn:
    """Write the configuration and become Orthanc; end with a sentence where it could not work."""
    try:
        said = configured(os.environ)
    except Unfit as reason:
        sys.exit(f"the archive cannot start: {reason}")
    if not said["DicomTlsEnabled"]:
        sys.stderr.write("archive: DIMSE is not encrypted: no certificate, see deploy/compose/README.md\n")
    CONFIGURATION.mkdir(mode=0o700, exist_ok=True)
    file = CONFIGURATION / "orthanc.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps(said, indent=2))
    os.execvp("Orthanc", ["Orthanc", str(CONFIGURATION)])


def configured(variables: Mapping[str, str]) -> dict[str, object]:
    """Return Orthanc's configuration as variables say.

    Raises
    ------
    Unfit
        If a variable or a file of theirs says what could not work.
    """
    title = _variable(variables, "GATEWAY_AET")
    if not TITLE.fullmatch(title):
        raise Unfit(f"{title!r} is no application entity title: it has 1 to 16 characters")
    tls = _certificates(Path(_variable(variables, "GATEWAY_TLS")))
    known = _modalities(Path(_variable(variables, "GATEWAY_MODALITIES")), tls=bool(tls))
    for name in ("ORGANLOOP_FORWARD_TO", "ORGANLOOP_QUERY_MODALITY"):
        if variables.get(name) and variables[name] not in known:
            there = ", ".join(known) or "none"
            raise Unfit(f"{name} is {variables[name]!r}, and the modalities' file knows {there}")
    return common() | {
        "Name": "Organloop archive",
        "StorageDirectory": STATE,
        "IndexDirectory": STATE,
        "TemporaryDirectory": "/tmp",
        "Plugins": [PLUGIN],
        "HttpPort": 8042,
        "DicomPort": 4242,
        "DicomAet": title,
        "DicomCheckCalledAet": True,
        "DicomCheckModalityHost": _choice(variables, "GATEWAY_CHECK_HOSTS"),
        "DicomModalities": {name: one.entry() for name, one in known.items()},
        "StableAge": _number(variables, "GATEWAY_STABLE_SECONDS"),
        # HTTP answers the other containers and asks for a password.
        "RemoteAccessAllowed": True,
        "RegisteredUsers": _users(Path(_variable(variables, "GATEWAY_USERS"))),
        "LuaScripts": [str(FOLDER / "doors.lua"), str(FOLDER / "room.lua")],
        "Organloop": {"Worker": "organloop", "Names": NAMES},
        # Full, it takes no more and says so: nothing that is here makes room.
        "MaximumStorageSize": _number(variables, "GATEWAY_MEGABYTES"),
        "MaximumStorageMode": "Reject",
        "DicomTlsEnabled": bool(tls),
        **tls,
    }


def common() -> dict[str, object]:
    """Return what is the same for every archive of ours: `archive.json`, without its remarks."""
    text = (FOLDER / "archive.json").read_text()
    said: dict[str, object] = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    return said


def _modalities(file: Path, *, tls: bool) -> dict[str, Modality]:
    try:
        return read(file.read_text(), tls=tls)
    except (OSError, UnicodeDecodeError) as error:
        raise Unfit(f"{file} cannot be read: {error}") from None
    except Unfit as reason:
        raise Unfit(f"{file}: {reason}") from None


def _certificates(folder: Path) -> dict[str, object]:
    """Return what Orthanc is told of TLS; nothing where no file holds anything."""
    held = [name for name in CERTIFICATES if _holds(folder / name)]
    if not held:
        return {}
    missing = [name for name in CERTIFICATES if name not in held]
    if missing:
        raise Unfit(
            f"DIMSE has {', '.join(held)} and no {', '.join(missing)}: give all three for TLS, "
            "none for plain DIMSE"
        )
    certificate, key, authority = (str(folder / name) for name in CERTIFICATES)
    return {
        "DicomTlsCertificate": certificate,
        "DicomTlsPrivateKey": key,
        "DicomTlsTrustedCertificates": authority,
        "DicomTlsRemoteCertificateRequired": True,
    }


def _holds(file: Path) -> bool:
    try:
        return bool(file.read_bytes().strip())
    except FileNotFoundError:
        return False
    except OSError as error:
        raise Unfit(f"{file} cannot be read: {error}") from None


def _users(file: Path) -> object:
    try:
        return json.loads(file.read_text())["RegisteredUsers"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unfit(f"{file} holds no users: {error!r}; deploy/compose/make-secrets makes them") from None


def _variable(variables: Mapping[str, str], name: str) -> str:
    if not variables.get(name):
        raise Unfit(f"{name} is not set: see deploy/stack/orthanc/container.py")
    return variables[name]


def _number(variables: Mapping[str, str], name: str) -> int:
    said = _variable(variables, name)
    if not re.fullmatch(r"[1-9][0-9]*", said):
        raise Unfit(f"{name} is {said!r}: a whole number above 0 is needed")
    return int(said)


def _choice(variables: Mapping[str, str], name: str) -> bool:
    said = _variable(variables, name)
    if said not in ("true", "false"):
        raise Unfit(f"{name} is {said!r}: say true or false")
    return said == "true"


if __name__ == "__main__":
    main()
