"""The simulated reader must save what the real viewer saved, when it paints what the real reader painted."""

from __future__ import annotations

from datetime import datetime
from io import BytesIO

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from deploy.demo.simulated_reader import save_like_ohif
from services.dicom.ct.loaded import load
from services.dicom.ct.series import read_series
from services.dicom.results.write import write_results
from services.dicom.seg.reader import read_seg
from tests.support.result_cases import AFFINES, ct_series, findings_of, organ_masks

SAVED_AT = datetime(2026, 11, 22, 0, 22, 46)
SHAPE = (7, 20, 21)


def structure(item: Dataset) -> dict[str, object]:
    """Keywords and VRs at every depth; of a sequence, the structure of its first item and their number."""
    return {
        element.keyword: (len(element.value), structure(element.value[0]) if element.value[0] else "empty")
        if element.VR == "SQ"
        else element.VR
        for element in item
    }


def test_painting_what_the_reader_painted_gives_the_file_that_ohif_saved(ohif):
    assert_saves_like(ohif)


def test_painting_what_the_reader_painted_on_a_real_anatomy_gives_the_file_that_ohif_saved(test_data):
    assert_saves_like(test_data("ohif-correction", "a CT that names no character set, a date of birth"))


def assert_saves_like(ohif):
    (reading,) = read_series(ohif / "ct")
    series = load(reading)
    real = dcmread(ohif / "saved-by-ohif.dcm")
    masks = {s.label: s.mask.dense() for s in read_seg(ohif / "saved-by-ohif.dcm", series).segments}
    saved_at = datetime.strptime(real.ContentDate + real.ContentTime, "%Y%m%d%H%M%S")
    content = save_like_ohif(
        (ohif / "sent.dcm").read_bytes(), series, {"Liver": masks["Liver"]}, written_at=saved_at
    )
    ours = dcmread(BytesIO(content))
    assert structure(ours) == structure(real)
    assert ours.PixelData == real.PixelData
    plain = [element for element in real if element.VR not in ("SQ", "UI")]
    assert {e.keyword: ours[e.keyword].value for e in plain} == {e.keyword: e.value for e in plain}
    for one, other in zip(ours.SegmentSequence, real.SegmentSequence, strict=True):
        assert (one.SegmentNumber, one.SegmentLabel) == (other.SegmentNumber, other.SegmentLabel)
        assert one.SegmentedPropertyTypeCodeSequence == other.SegmentedPropertyTypeCodeSequence
    for one, other in zip(
        ours.PerFrameFunctionalGroupsSequence, real.PerFrameFunctionalGroupsSequence, strict=True
    ):
        assert one.DerivationImageSequence == other.DerivationImageSequence
        assert one.SegmentIdentificationSequence == other.SegmentIdentificationSequence
        assert one.FrameContentSequence == other.FrameContentSequence


@pytest.mark.parametrize("name", AFFINES)
def test_a_correction_of_our_own_seg_is_read_back_with_overpainted_neighbours(name, tmp_path):
    series = ct_series(AFFINES[name], SHAPE)
    masks = organ_masks(SHAPE)
    sent, *_ = write_results(series, findings_of(series, masks), written_at=SAVED_AT)
    corrected = masks["stomach"].copy()
    corrected[2:4, 3:9, 4:8] = True
    corrected[:, :, 15:] = False
    content = save_like_ohif(sent.content, series, {"Stomach": corrected}, written_at=SAVED_AT)
    assert content == save_like_ohif(sent.content, series, {"Stomach": corrected}, written_at=SAVED_AT)
    path = tmp_path / "saved.dcm"
    path.write_bytes(content)
    read = {segment.label: segment.mask.dense() for segment in read_seg(path, series).segments}
    added = corrected & ~masks["stomach"]
    assert np.array_equal(read["Stomach"], corrected)
    assert np.array_equal(read["Liver"], masks["liver"] & ~added)
    assert not read["Gallbladder"].any()


def test_a_label_that_was_not_sent_cannot_be_painted():
    series = ct_series(AFFINES["axial"], SHAPE)
    sent, *_ = write_results(series, findings_of(series, organ_masks(SHAPE)), written_at=SAVED_AT)
    with pytest.raises(ValueError, match="Bladder"):
        save_like_ohif(sent.content, series, {"Bladder": np.zeros(SHAPE, bool)}, written_at=SAVED_AT)
