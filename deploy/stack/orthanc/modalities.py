"""Whom an archive speaks DIMSE with, and what each may: one form for the local stack, Compose and chart."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass

WORDS = {"aet": str, "host": str, "port": int, "mayQuery": bool, "mayCommit": bool}
"""What the chart's ``gateway.modalities`` and Compose's file say of one, and how."""
NEEDED = ("aet", "host", "port")
TITLE = re.compile(r"[ -\[\]-~]{1,16}")
"""An application entity title. Source: DICOM PS3.5, 6.2, AE."""
NAME = re.compile(r"[A-Za-z0-9_-]+")
LAST_PORT = 65535


class Unfit(Exception):
    """An archive cannot start as it is told to; the message says why and what to do."""


@dataclass(frozen=True)
class Modality:
    """Somebody the archive speaks DIMSE with.

    Parameters
    ----------
    aet
        Application entity title.
    host, port
        Where it is reached; from other addresses the title is refused.
    may_query
        Whether it may search this archive and have studies sent; else it may store and echo.
    may_commit
        Whether it may ask for storage commitment.
    tls
        Whether it is called by TLS.
    """

    aet: str
    host: str = "127.0.0.1"
    port: int = 104
    may_query: bool = False
    may_commit: bool = False
    tls: bool = False

    def entry(self) -> dict[str, str | int | bool]:
        """Return what Orthanc's ``DicomModalities`` say of it; what they leave out, Orthanc allows."""
        allowed = {"AllowEcho": True, "AllowStore": True, "AllowStorageCommitment": self.may_commit}
        query = dict.fromkeys(("AllowFind", "AllowGet", "AllowMove"), self.may_query)
        where: dict[str, str | int | bool] = {"AET": self.aet, "Host": self.host, "Port": self.port}
        return where | allowed | query | {"AllowFindWorklist": False, "UseDicomTls": self.tls}


def read(text: str, *, tls: bool = False) -> dict[str, Modality]:
    """Return the modalities of a file, by name.

    Parameters
    ----------
    text
        TOML: a table a modality, in the chart's words.
    tls
        Whether all are called by TLS.

    Raises
    ------
    Unfit
        If it is no such file; what an entry leaves out or adds is never guessed.
    """
    try:
        said = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Unfit(f"it is no TOML: {error}") from None
    return {name: _modality(name, one, tls) for name, one in said.items()}


def _modality(name: str, said: object, tls: bool) -> Modality:
    if not NAME.fullmatch(name) or not isinstance(said, Mapping):
        raise Unfit(f'{name!r}: one modality is a table, [name], with aet = "…", host = "…", port = …')
    unknown = sorted(said.keys() - WORDS.keys())
    if unknown:
        raise Unfit(f"[{name}] {unknown[0]} is not known: say {', '.join(WORDS)}")
    for word in NEEDED:
        if word not in said:
            raise Unfit(f"[{name}] says no {word}")
    for word, value in said.items():
        if type(value) is not WORDS[word]:
            kind = {str: "a text in quotes", int: "a number", bool: "true or false"}[WORDS[word]]
            raise Unfit(f"[{name}] {word} is to be {kind}")
    if not TITLE.fullmatch(said["aet"]) or said["aet"] != said["aet"].strip():
        raise Unfit(f"[{name}] aet: a title has 1 to 16 characters, none of them a backslash")
    try:
        ipaddress.IPv4Address(said["host"])
    except ValueError:
        raise Unfit(f"[{name}] host: the IPv4 address it really comes from, e.g. 10.0.5.20") from None
    if not 1 <= said["port"] <= LAST_PORT:
        raise Unfit(f"[{name}] port: a number from 1 to {LAST_PORT}")
    rights = {"may_query": said.get("mayQuery", False), "may_commit": said.get("mayCommit", False)}
    return Modality(said["aet"], said["host"], said["port"], **rights, tls=tls)
