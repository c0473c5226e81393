"""A corrected SEG is opened once: its header is parsed once, and one that is cut in its pixels has one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian

from flows.corrections.ingest import ingest
from services.dicom.seg.bounded import open_seg
from services.dicom.seg.files import cited_images
from services.dicom.seg.saving import saving_of

_opened: list[str] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str) and arguments[0].endswith("came-in.dcm"):
        _opened.append(arguments[0])


@pytest.fixture(scope="module")
def opened() -> list[str]:
    """Hear which files are opened here; an audit hook stays, and is idle afterwards."""
    sys.addaudithook(_hook)
    return _opened


def test_a_correction_is_opened_for_its_header_and_for_its_pixels(
    ohif: Path, tmp_path: Path, opened: list[str]
) -> None:
    path = tmp_path / "came-in.dcm"
    path.write_bytes((ohif / "saved-by-ohif.dcm").read_bytes())
    opened.clear()
    assert ingest(path, ohif / "ct", ohif / "sent.dcm").status == "correction"
    assert len(opened) == 2


@pytest.mark.parametrize("deflates", [False, True], ids=["as it is", "deflated"])
@pytest.mark.parametrize("left_out", [1, 40])
def test_of_a_save_that_is_cut_the_study_is_known(
    ohif: Path, tmp_path: Path, deflates: bool, left_out: int
) -> None:
    path = tmp_path / "cut.dcm"
    seg = dcmread(ohif / "saved-by-ohif.dcm")
    if deflates:
        seg.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        seg.PixelData = bytes(range(256)) * 300  # deflate leaves much of it behind the header
    seg.save_as(path)
    path.write_bytes(path.read_bytes()[:-left_out])
    cut = open_seg(path)
    assert saving_of(cut).study_uid == seg.StudyInstanceUID
    assert cited_images(cut) == cited_images(ohif / "saved-by-ohif.dcm")
    document = ingest(path, ohif / "ct", ohif / "sent.dcm")
    assert (document.status, document.study_uid) == ("stranger", seg.StudyInstanceUID)
    assert document.code in ("not-dicom", "bad-pixel-data")
