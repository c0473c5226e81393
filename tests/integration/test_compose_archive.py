"""Compose's archive as it is shipped, in a real Orthanc: whom it knows, and what each may."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.errors import PacsFailed
from tests.support.compose import COMPOSE, Shipped, archive_at
from tests.support.instances import ct_study


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shipped]:
    with archive_at(tmp_path_factory.mktemp("compose")) as made:
        yield made


@pytest.mark.parametrize("title", ["STORESCU", "ECHOSCU", "FINDSCU", "ORGANLOOP", "ANYBODY"])
def test_nobody_may_send_or_ask_by_dimse_before_a_person_names_him(
    shipped: Shipped, title: str, tmp_path: Path
) -> None:
    (tmp_path / "image.dcm").write_bytes(ct_study(1)[0].content)
    for words in (
        ["echoscu"],
        ["storescu", str(tmp_path / "image.dcm")],
        ["findscu", "-P", "-k", "PatientID"],
    ):
        assert "Calling AE Title Not Recognized" in shipped.dcmtk(words[0], title, *words[1:])


def test_the_example_of_an_entry_lets_it_store_and_echo_and_nothing_else() -> None:
    commented = re.findall(r"^//   ?(.*)$", (COMPOSE / "modalities.json").read_text(), re.MULTILINE)
    [entry] = json.loads(f"{{{''.join(commented)}}}").values()
    assert {right for right, given in entry.items() if given is True} == {"AllowEcho", "AllowStore"}
    rights = ("Find", "FindWorklist", "Get", "Move", "StorageCommitment")
    assert not any(entry[f"Allow{right}"] for right in rights)


def test_worker_and_reader_have_a_password_each_and_rights_of_their_own(shipped: Shipped) -> None:
    worker = shipped.by("organloop", "organloop_archive_password")
    reader = shipped.by("reader", "archive_reader_password")
    assert worker.need("/system", dict)["DicomAet"] == "ORGANLOOP"
    assert reader.need("/dicom-web/studies", list) == []
    for path in ("/system", "/patients", "/dicom-web/servers"):
        with pytest.raises(PacsFailed, match="refused the user name or password"):
            reader.need(path, list)
    with pytest.raises(PacsFailed, match="refused the user name or password"):
        shipped.by("reader", "organloop_archive_password").need("/dicom-web/studies", list)
