"""The site's file of organs outside the catalogue: could a network be imported with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deploy.doctor.finding import Finding, State
from services.dicom.dictionary import read_organ_file


def organs(path: Path) -> Iterator[Finding]:
    """Read the file as an import would.

    Raises
    ------
    Refused
        If a row of it is wrong.
    """
    found = read_organ_file(path)
    measured = {"organs": len(found.organs), "unverified": len(found.unverified)}
    detail = f"{len(found.organs)} outside the catalogue"
    if not found.unverified:
        yield Finding("organs", State.GOOD, f"{detail}, all with codes of DICOM's", measured=measured)
        return
    keys = ", ".join(found.unverified)
    remedy = "Nobody here can look these codes up: compare them with SNOMED CT's browser."
    yield Finding("organs", State.WARNING, f"{detail}; codes unverified: {keys}", remedy, measured)
