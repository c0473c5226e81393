"""Versions of servers that are known to be unsafe, as `advisories.toml` lists them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from deploy.doctor.finding import Finding, State
from models.documents import from_json

FILE = Path(__file__).with_name("advisories.toml")


@dataclass(frozen=True)
class Advisory:
    """What is wrong with a program up to a version.

    Parameters
    ----------
    program
        ``Orthanc`` or ``Triton``.
    below
        The first version that is mended, e.g. ``1.12.11``.
    what
        What it can be made to do.
    remedy
        What to do until it is updated.
    cves
        Identifiers of what is public about it.
    """

    program: str
    below: str
    what: str
    remedy: str
    cves: tuple[str, ...] = ()


@cache
def advisories() -> tuple[Advisory, ...]:
    """Return every advisory of the list."""
    listed = tomllib.loads(FILE.read_text())["advisory"]
    return tuple(from_json(Advisory, one) for one in listed)


def unsafe(program: str, version: str) -> Iterator[Finding]:
    """Warn of each advisory that a version falls under; a version that is no number falls under none.

    Parameters
    ----------
    program
        As `Advisory.program`.
    version
        As the server tells it.
    """
    for one in advisories():
        if one.program == program and _is_below(version, one.below):
            named = f" ({', '.join(one.cves)})" if one.cves else ""
            detail = f"{version} is known to be unsafe: {one.what}{named}"
            yield Finding(f"{program} older than {one.below}", State.WARNING, detail, one.remedy)


def _is_below(version: str, mended: str) -> bool:
    numbers = re.match(r"\d+(\.\d+)+", version)
    return numbers is not None and _parts(numbers.group()) < _parts(mended)


def _parts(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
