"""The pictures of a gate report's page, read out of the page as it was kept."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from models.errors import InvalidRelease
from services.releases.gate_reports import report_file
from services.releases.store import verified

_PNG = "data:image/png;base64,"


@dataclass(frozen=True)
class GatePicture:
    """One picture of the page.

    Parameters
    ----------
    section, part
        Headings that it stands under; the part is empty where it has none of its own.
    caption
        Below it.
    png
        The picture.
    """

    section: str
    part: str
    caption: str
    png: bytes


def read_page(folder: Path, release: int, trial: str, digest: str) -> bytes | None:
    """Return the page of a decision on record; None where it was deleted, as with an erased patient.

    Parameters
    ----------
    folder
        The release store's.
    release, trial, digest
        Of the decision: candidate, key of the trial, SHA-256 of the page.

    Raises
    ------
    InvalidRelease
        If it is not the one on record.
    """
    path = report_file(folder, release, trial).with_suffix(".html")
    if not path.exists():
        return None
    return verified(path, digest, f"the gate page {path}", "is not the one on record")


def pictures_of(page: bytes) -> tuple[GatePicture, ...]:
    """Return the pictures of a page of `services.pictures.page`, in their order.

    Raises
    ------
    InvalidRelease
        If a picture cannot be read.
    """
    reader = _Pictures()
    reader.feed(page.decode())
    return tuple(reader.found)


class _Pictures(HTMLParser):
    """Reads headings and pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[GatePicture] = []
        self._within = ""
        self._headings = {"h2": "", "h3": ""}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self._headings:
            self._within, self._headings[tag] = tag, ""
            if tag == "h2":
                self._headings["h3"] = ""
        if tag == "img":
            given = dict(attrs)
            source = given.get("src") or ""
            if not source.startswith(_PNG):
                raise InvalidRelease("a picture of the gate page is no PNG within it")
            png = base64.b64decode(source.removeprefix(_PNG), validate=True)
            self.found.append(
                GatePicture(self._headings["h2"], self._headings["h3"], given.get("alt") or "", png)
            )

    def handle_endtag(self, tag: str) -> None:
        if tag == self._within:
            self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within:
            self._headings[self._within] += data
