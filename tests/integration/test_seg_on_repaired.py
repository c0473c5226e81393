"""What was called repaired, or names no frame of reference, can be corrected."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from models.errors import Refused
from services.dicom.ct.loaded import CTSeries, load
from services.dicom.ct.series import read_series
from services.dicom.seg.files import cited_series
from services.dicom.seg.reader import SegObject, read_seg
from tests.support.dcmqi import slicer_saves

COPY, SCOUT = "1.2.826.0.1.3680043.8.498.4711", "1.2.826.0.1.3680043.8.498.4712"


def reference(image: Dataset, uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, uid
    return item


@pytest.fixture
def middle(ohif: Path, tmp_path: Path) -> Dataset:
    """The series with a copy of its middle slice, which is returned, and a scout; to be read as it is."""
    folder = tmp_path / "ct"
    folder.mkdir()
    slices = [dcmread(path) for path in (ohif / "ct").iterdir()]
    slices.sort(key=lambda one: float(one.ImagePositionPatient[2]))
    middle = slices[len(slices) // 2]
    for n, (uid, scout) in enumerate(((COPY, False), (SCOUT, True))):
        extra = deepcopy(middle)
        extra.SOPInstanceUID = extra.file_meta.MediaStorageSOPInstanceUID = uid
        if scout:
            extra.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
            extra.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
        extra.save_as(folder / f"extra-{n}.dcm")
    for n, one in enumerate(slices):
        one.save_as(folder / f"{n}.dcm")
    return middle


def sources(seg: Dataset, image: Dataset) -> list[list[Dataset]]:
    """Return the lists of sources in which an image is."""
    return [
        derivation.SourceImageSequence
        for frame in seg.PerFrameFunctionalGroupsSequence
        for derivation in frame.DerivationImageSequence
        if any(one.ReferencedSOPInstanceUID == image.SOPInstanceUID for one in derivation.SourceImageSequence)
    ]


def lists(uid: str) -> Callable[[Dataset, Dataset], None]:
    def change(seg: Dataset, image: Dataset) -> None:
        seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence.append(reference(image, uid))

    return change


def cites_too(uid: str) -> Callable[[Dataset, Dataset], None]:
    def change(seg: Dataset, image: Dataset) -> None:
        for items in sources(seg, image):
            items.append(reference(image, uid))

    return change


def cites_the_copy(seg: Dataset, image: Dataset) -> None:
    for items in sources(seg, image):
        items[:] = [reference(image, COPY)]


def same(theirs: SegObject, ours: SegObject) -> bool:
    return all(one.mask == other.mask for one, other in zip(theirs.segments, ours.segments, strict=True))


@pytest.mark.parametrize(
    "change",
    [lists(SCOUT), lists(COPY), cites_too(SCOUT), cites_too(COPY), cites_the_copy],
    ids=["scout listed", "copy listed", "scout cited too", "copy cited too", "copy cited"],
)
def test_a_seg_may_name_what_was_left_out_of_the_series(
    ohif: Path, tmp_path: Path, middle: Dataset, change: Callable[[Dataset, Dataset], None]
) -> None:
    (plain,) = read_series(ohif / "ct")
    ours = read_seg(ohif / "saved-by-ohif.dcm", load(plain))
    seg = dcmread(ohif / "saved-by-ohif.dcm")
    change(seg, middle)
    seg.save_as(tmp_path / "saved.dcm")
    reading = cited_series(read_series(tmp_path / "ct"), tmp_path / "saved.dcm")
    assert same(read_seg(tmp_path / "saved.dcm", load(reading)), ours)


def test_what_3d_slicer_saves_on_a_series_with_copy_and_scout_is_read(
    ohif: Path, tmp_path: Path, middle: Dataset
) -> None:
    """Its writer is given the folder as it is, and names what it finds there."""
    (reading,) = read_series(tmp_path / "ct")
    ct = load(reading)
    masks = {
        one.label: one.mask.dense() for one in read_seg(ohif / "sent.dcm", ct).segments if one.mask.any()
    }
    saved = slicer_saves(ohif / "sent.dcm", tmp_path / "ct", ct.volume.geometry, masks, tmp_path)
    theirs = {one.label: one.mask for one in read_seg(saved, ct).segments}
    assert all(np.array_equal(theirs[label].dense(), mask) for label, mask in masks.items())


def test_an_image_that_is_nowhere_is_still_unknown(ohif: Path, tmp_path: Path, middle: Dataset) -> None:
    seg = dcmread(ohif / "saved-by-ohif.dcm")
    cites_too("1.2.3.4.5")(seg, middle)
    seg.save_as(tmp_path / "saved.dcm")
    (reading,) = read_series(tmp_path / "ct")
    with pytest.raises(Refused, match="unknown-image"):
        read_seg(tmp_path / "saved.dcm", load(reading))


@pytest.fixture
def nameless(ohif: Path, tmp_path: Path) -> CTSeries:
    """The series without a frame of reference."""
    folder = tmp_path / "ct"
    folder.mkdir()
    for path in (ohif / "ct").iterdir():
        image = dcmread(path)
        del image.FrameOfReferenceUID
        image.save_as(folder / path.name)
    (reading,) = read_series(folder)
    return load(reading)


def test_what_3d_slicer_saves_on_a_ct_without_frame_of_reference_is_read(
    ohif: Path, tmp_path: Path, nameless: CTSeries
) -> None:
    """Its writer makes one up, since a SEG must have one."""
    (plain,) = read_series(ohif / "ct")
    ours = read_seg(ohif / "sent.dcm", load(plain))
    masks = {one.label: one.mask.dense() for one in ours.segments if one.mask.any()}
    saved = slicer_saves(ohif / "sent.dcm", tmp_path / "ct", nameless.volume.geometry, masks, tmp_path)
    made = dcmread(saved).FrameOfReferenceUID
    assert made not in ("", nameless.frame_of_reference_uid)
    theirs = {one.label: one.mask for one in read_seg(saved, nameless).segments}
    assert all(np.array_equal(theirs[label].dense(), mask) for label, mask in masks.items())


def test_a_made_frame_of_reference_places_nothing_by_itself(
    ohif: Path, tmp_path: Path, nameless: CTSeries
) -> None:
    seg = dcmread(ohif / "saved-by-ohif.dcm")
    seg.FrameOfReferenceUID = "1.2.276.0.7230010.3.1.4.1"
    for frame in seg.PerFrameFunctionalGroupsSequence:
        del frame.DerivationImageSequence
    seg.save_as(tmp_path / "saved.dcm")
    with pytest.raises(Refused, match="other-frame-of-reference"):
        read_seg(tmp_path / "saved.dcm", nameless)
