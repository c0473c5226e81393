"""No error of the libraries under the archive adapters comes out as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import retrying
from pydicom.uid import generate_uid

from models.errors import PacsFailed
from services.pacs.dicomweb import DicomwebArchive
from services.pacs.http import Http
from services.pacs.orthanc import OrthancArchive
from tests.support.instances import ct_slice

PASSWORD = "only-we-know"


def _all(kind: type[Exception]) -> list[type[Exception]]:
    return [kind, *(found for sub in kind.__subclasses__() for found in _all(sub))]


LIBRARY_ERRORS = sorted(
    {*_all(requests.RequestException), retrying.RetryError, OSError, ValueError, KeyError, UnicodeError},
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", LIBRARY_ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_of_the_libraries_is_ours_in_the_end(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        if kind is retrying.RetryError:
            raise kind(retrying.Attempt(None, 1, False))
        if issubclass(kind, requests.JSONDecodeError):
            raise kind("of the library", "", 0)
        if issubclass(kind, UnicodeError) and kind is not UnicodeError:
            raise kind("utf-8", b"", 0, 1, "of the library")
        raise kind("of the library")

    monkeypatch.setattr(requests.Session, "request", fail)
    monkeypatch.setattr(requests.Session, "get", fail)
    monkeypatch.setattr(requests.Session, "post", fail)
    web = Http("http://user.example:1/dicom-web", user="me", password=PASSWORD, attempts=2, pause_seconds=0)
    pacs = OrthancArchive(web, web)
    acts: list[Callable[[], object]] = [
        lambda: pacs.study("1.2.3"),
        lambda: pacs.changes(0),
        lambda: pacs.fetch_instance("1.2.3", tmp_path),
        lambda: pacs.store([ct_slice(generate_uid(), generate_uid())]),
        lambda: DicomwebArchive(web).study("1.2.3"),
    ]
    for act in acts:
        with pytest.raises(PacsFailed, match=r"user\.example:1") as failed:
            act()
        assert PASSWORD not in str(failed.value)
