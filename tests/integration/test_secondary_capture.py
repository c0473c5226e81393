"""A PACS that shows no SEG gets one page of pixels, where asked for: a valid object, proven to the pixel."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO

from flows.segmentation.segment import segment
from models.errors import ProofFailed
from models.findings import Flag, StudyFindings
from models.volume import Volume
from services.dicom.ct.loaded import CTSeries
from services.dicom.results import summary_sc
from services.dicom.results.write import ResultObject, write_results
from services.pictures.summary_page import OUTLINE, REGION, summary_page
from services.records.entries.arrivals import ArrivalState
from tests.integration.test_result_objects import errors
from tests.support.archive import Archive
from tests.support.arrivals import open_hospital, write_short_phantom
from tests.support.learning import ORGANS, open_site
from tests.support.result_cases import AFFINES, ct_series, findings_of, organ_masks

SHAPE = (7, 40, 44)
WRITTEN_AT = datetime(2026, 11, 22, 13, 4, 5, 678)


def study(**said: object) -> tuple[CTSeries, StudyFindings]:
    series = ct_series(AFFINES["axial"], SHAPE)
    hu = np.random.default_rng(0).integers(-100, 200, SHAPE).astype(np.int16)
    series = replace(series, volume=Volume(hu, series.volume.geometry))
    return series, findings_of(series, organ_masks(SHAPE), **said)


def written(series: CTSeries, findings: StudyFindings, page: NDArray[np.uint8] | None) -> list[ResultObject]:
    return list(write_results(series, findings, page=page, written_at=WRITTEN_AT))


def read(result: ResultObject) -> Dataset:
    return dcmread(DicomBytesIO(result.content))


def test_the_page_is_a_valid_object_and_the_same_to_the_pixel(tmp_path: Path) -> None:
    series, findings = study()
    page = summary_page(series, findings)
    results = written(series, findings, page)
    assert [one.kind for one in results] == ["organ-seg", "review-seg", "summary-sc", "report-sr"]
    summary = results[2]
    path = tmp_path / summary.file_name
    path.write_bytes(summary.content)
    assert errors(path) == []
    dataset = read(summary)
    assert np.array_equal(dataset.pixel_array, page)
    assert (dataset.SOPClassUID, dataset.Modality) == ("1.2.840.10008.5.1.4.1.1.7", "OT")
    assert (dataset.BurnedInAnnotation, dataset.PhotometricInterpretation) == ("YES", "RGB")
    assert dataset.SeriesDescription == read(results[0]).SeriesDescription, "what matters most comes first"
    assert dataset.PatientName == series.images[0].PatientName
    assert dataset.StudyInstanceUID == series.study_uid
    assert dataset.DateOfSecondaryCapture == "20261122"
    assert written(series, findings, summary_page(series, findings)) == results, "the same bytes again"


def test_without_a_page_all_is_as_it_was_and_other_pixels_are_another_object() -> None:
    series, findings = study()
    page = summary_page(series, findings)
    without, with_page = written(series, findings, None), written(series, findings, page)
    assert [one.kind for one in without] == ["organ-seg", "review-seg", "report-sr"]
    assert not {one.sop_instance_uid for one in without} & {one.sop_instance_uid for one in with_page}
    other = page.copy()
    other[0, 0] = 1
    again = written(series, findings, other)
    assert [a == b for a, b in zip(with_page, again, strict=True)] == [True, True, False, True]
    assert with_page[2].sop_instance_uid != again[2].sop_instance_uid


@pytest.mark.parametrize("fault", ["pixel", "BurnedInAnnotation", "Rows", "PatientID"])
def test_an_object_that_says_anything_else_is_not_sent(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    series, findings = study()
    page, to_bytes = summary_page(series, findings), summary_sc.to_bytes

    def changed(meant: Dataset) -> bytes:
        dataset = copy.deepcopy(meant)  # it shares elements with the image
        if fault == "pixel":
            pixels = bytearray(dataset.PixelData)
            pixels[len(pixels) // 2] ^= 1
            dataset.PixelData = bytes(pixels)
        else:
            setattr(dataset, fault, {"BurnedInAnnotation": "NO", "Rows": 5, "PatientID": "P-2"}[fault])
        return to_bytes(dataset)

    monkeypatch.setattr(summary_sc, "to_bytes", changed)
    with pytest.raises(ProofFailed, match={"pixel": "pixels of the summary"}.get(fault, fault)):
        written(series, findings, page)


def colours(page: NDArray[np.uint8]) -> dict[tuple[int, ...], int]:
    """Return how many pixels of a page have each of the two colours of lines and flags."""
    return {colour: int((page == colour).all(axis=-1).sum()) for colour in (OUTLINE, REGION)}


def test_the_page_shows_what_is_flagged_and_says_all() -> None:
    series, flagged = study(flagged=("liver", "stomach"))
    _, clear = study(flagged=())
    rejected = tuple(
        replace(one, flag=Flag.REJECT) if one.organ == "liver" else one for one in flagged.organs
    )
    pages = {
        name: summary_page(series, findings)
        for name, findings in {
            "clear": clear,
            "one": study(flagged=("liver",))[1],
            "two": flagged,
            "rejected": replace(flagged, organs=rejected),
            "larger": replace(
                flagged, organs=tuple(replace(one, volume_ml=one.volume_ml + 1) for one in flagged.organs)
            ),
        }.items()
    }
    heights = {name: len(page) for name, page in pages.items()}
    assert heights["clear"] < heights["one"] < heights["two"] == heights["larger"]
    assert heights["two"] - heights["one"] > 246, "another row of pictures"
    assert set(colours(pages["clear"]).values()) == {0}
    assert min(colours(pages["two"]).values()) > 300, "outlines and places to look at"
    assert not np.array_equal(pages["two"], pages["larger"])
    assert not np.array_equal(pages["two"][:200], pages["rejected"][:200])
    series.images[0].PatientID = "P-2"
    assert not np.array_equal(pages["two"], summary_page(series, flagged)), "whose it is stands there"


def test_of_many_flagged_organs_nine_are_shown_and_the_rest_are_counted() -> None:
    series, _ = study()
    masks = organ_masks(SHAPE, absent=())
    eight, nine = (
        summary_page(series, findings_of(series, masks, flagged=tuple(masks)[:count], regions=()))
        for count in (8, 9)
    )
    assert len(nine) - len(eight) > 246
    assert len(nine) < 4_000
    assert nine.shape[1:] == (1280, 3)


def test_an_archive_has_it_only_of_a_site_that_asks_for_it(clean_archive: Archive, tmp_path: Path) -> None:
    ct = write_short_phantom(tmp_path / "ct")
    hospital = open_hospital(open_site(tmp_path / "site"), clean_archive, ct, tmp_path, waits=False)
    hospital.push()
    assert {
        one.kind for one in segment(hospital.study_uid, None, hospital.services, organs=ORGANS).objects
    } <= {
        "organ-seg",
        "review-seg",
        "report-sr",
    }
    settings = hospital.services.settings.model_copy(update={"secondary_capture": True})
    hospital.services = hospital.worker.services = dataclasses.replace(hospital.services, settings=settings)
    made = segment(hospital.study_uid, None, hospital.services, organs=ORGANS)
    [summary] = [one for one in made.objects if one.kind == "summary-sc"]
    assert clean_archive.bytes_of(summary.sop_instance_uid) == summary.content
    assert np.array_equal(read(summary).pixel_array, summary_page(made.series, made.findings))
    hospital.segmented()
    assert hospital.arrival.state is ArrivalState.SEGMENTED, "our own page is no reason to begin again"
    again = segment(hospital.study_uid, None, hospital.services, organs=ORGANS)
    assert again.objects == made.objects
    assert again.series.series_uid == made.series.series_uid
