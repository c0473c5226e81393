"""Corrected SEGs, thousands of ways to damage them, and a judge of what is then made of them.

The right ledger is known beforehand. Damage to what describes the pixels must not change it: each
organ that comes out is voxel for voxel the one that was saved, and a change that does not come out
is asked about. Damage to the pixels themselves does change it, and then what is right is decoded here,
apart from the reader, from where each plane was put.

Left out is what makes another sound SEG, which nobody can tell from the first: two frames that change
places with all that is said of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.dataelem import DataElement
from pydicom.uid import RLELossless

from models.corrections.ledger import OrganState, ledger
from models.errors import Refused
from models.geometry import Geometry
from models.masks import BoxedMask
from services.dicom.returned.answers import Answers
from services.dicom.returned.understand import Status, understand
from services.dicom.seg.frames import SegCode
from services.dicom.seg.names import organ_by_label
from services.dicom.seg.reader import ReadSegment, SegObject, read_seg
from tests.browser.voxels import masks_of
from tests.support.result_cases import AFFINES, ct_series
from tests.support.seg_cases import plain_seg

Mask = np.ndarray
SHAPE = (6, 20, 23)


@dataclass(frozen=True, eq=False)
class Base:
    """A sound correction, before it is damaged.

    `content` is its file, `pixels` the part of it that PixelData's value takes; `right` what was saved,
    by organ; `places` the (organ, k) of each frame where the pixels can be decoded here, else empty.
    """

    name: str
    content: bytes
    pixels: slice
    series: object
    geometry: Geometry
    sent: SegObject
    right: Mapping[str, Mask]
    places: tuple[tuple[str, int], ...] = ()


def ohif_base(folder: Path, series) -> Base:
    """What OHIF saved, on the CT it was drawn on; its frames cite their images and begin within a byte."""
    path = folder / "saved-by-ohif.dcm"
    seg = dcmread(path)
    organs = {int(s.SegmentNumber): organ_by_label(s.SegmentLabel) for s in seg.SegmentSequence}
    at = {str(image.SOPInstanceUID): k for k, image in enumerate(series.images)}
    places = tuple(
        (
            organs[f.SegmentIdentificationSequence[0].ReferencedSegmentNumber],
            at[f.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID],
        )
        for f in seg.PerFrameFunctionalGroupsSequence
    )
    sent = read_seg(folder / "sent.dcm", series)
    return _base("ohif", path.read_bytes(), series, series.volume.geometry, sent, places, seg)


def layers_base(folder: Path, series) -> Base:
    """What OHIF 3.13 saved of organs that overlap: a label map with three frames on each slice."""
    path = folder / "layers-in-ohif-3-13.dcm"
    content, images = path.read_bytes(), [str(image.SOPInstanceUID) for image in series.images]
    sent = read_seg(folder / "sent-overlapping.dcm", series)
    saved, grid = masks_of(content, images), series.volume.geometry
    return _base("layers", content, series, grid, sent, (), dcmread(path), saved)


def plain_bases() -> list[Base]:
    """One organ edited and one as sent: frames of bits, fractions, a label map in RLE, a finer grid."""
    series = ct_series(AFFINES["oblique"], SHAPE)
    grid = series.volume.geometry
    sent_masks = {label: np.zeros(SHAPE, dtype=bool) for label in ("Liver", "Stomach", "Gallbladder")}
    sent_masks["Liver"][1:5, 3:12, 2:12] = True
    sent_masks["Stomach"][1:4, 4:14, 13:21] = True
    saved = {label: mask.copy() for label, mask in sent_masks.items()}
    saved["Liver"][2, 1:4, 2:9] = True
    saved["Stomach"][3, 9:14, 13:16] = False
    sent = SegObject(
        "1.9", "1.8",
        tuple(
            ReadSegment(n, label, None, None, None, "AUTOMATIC", BoxedMask.of(mask))
            for n, (label, mask) in enumerate(sent_masks.items(), start=1)
        ),
    )  # fmt: skip
    bits = plain_seg(series, saved, grid, cite=True)
    places = tuple((organ_by_label(label), int(k)) for label in saved for k in _drawn(saved[label]))
    fractions = plain_seg(series, saved, grid)
    _bytes_a_pixel(fractions, bits.pixel_array * 128)
    fractions.SegmentationType, fractions.SegmentationFractionalType = "FRACTIONAL", "PROBABILITY"
    fractions.MaximumFractionalValue = 128
    return [
        _base(
            name, _file(seg), series, grid, sent, places if name in ("bits", "fractions") else (), seg, saved
        )
        for name, seg in {
            "bits": bits,
            "fractions": fractions,
            "label map": _label_map(series, saved, grid),
            "finer grid": _finer(series, saved, grid),
        }.items()
    ]


def damage(base: Base, seed: int) -> tuple[bytes, Mapping[str, Mask] | None]:
    """Return the damaged file, and what is right now; None where only a refusal or no crash is asked."""
    random = np.random.default_rng(seed)
    kind = int(random.integers(10))
    if kind < 4:
        return _flipped(base, random), base.right
    if kind < 6:
        return _cut(base, random), base.right
    if kind < 9:
        return _changed(base, random), base.right
    return _with_other_pixels(base, random)


def judge(base: Base, content: bytes, right: Mapping[str, Mask] | None, path: Path) -> str:
    """Return what was made of a damaged file: a code, `question` or `ledger`; fail if that is wrong."""
    path.write_bytes(content)
    try:
        seg = read_seg(path, base.series)
        answer = understand(seg, base.sent, base.geometry, Answers())
    except Refused as refused:
        return SegCode(refused.code)
    if right is None:
        return "decoded"
    entries = ledger(answer.sent, answer.returned, base.geometry)
    asked = {organ for question in answer.questions for organ in question.candidates}
    for entry in entries:
        before = answer.sent.get(entry.organ, BoxedMask.empty(base.geometry.shape)).dense()
        now = right.get(entry.organ, before)
        if entry.organ in answer.returned:
            assert np.array_equal(answer.returned[entry.organ].dense(), now), (
                f"{entry.organ} is not what was saved"
            )
            assert entry.added_voxels == np.count_nonzero(now & ~before)
            assert entry.removed_voxels == np.count_nonzero(before & ~now)
        else:
            assert entry.state is OrganState.NOT_REVIEWED
            assert entry.organ in asked or np.array_equal(now, before), f"{entry.organ} was lost in silence"
    changed = any(not np.array_equal(right[organ], mask.dense()) for organ, mask in answer.sent.items())
    assert (answer.status is Status.CORRECTION) or not changed, "a correction was taken for our own"
    return "question" if answer.questions else "ledger"


def _base(name, content, series, grid, sent, places, seg, saved=None) -> Base:
    if saved is None:
        saved = {organ: np.zeros(grid.shape, dtype=bool) for organ in dict.fromkeys(o for o, _ in places)}
        for (organ, k), plane in zip(places, seg.pixel_array, strict=True):
            saved[organ][k] = plane
    else:
        saved = {organ_by_label(label): mask for label, mask in saved.items()}
    start = content.rindex(b"\xe0\x7f\x10\x00") + 12  # tag, VR, two reserved bytes, length
    return Base(name, content, slice(start, start + len(seg.PixelData)), series, grid, sent, saved, places)


def _drawn(mask: Mask) -> np.ndarray:
    return np.flatnonzero(mask.any(axis=(1, 2)))


def _file(seg: Dataset) -> bytes:
    buffer = BytesIO()
    seg.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _bytes_a_pixel(seg: Dataset, values: np.ndarray) -> None:
    seg.BitsAllocated = seg.BitsStored = 8
    seg.HighBit = 7
    content = values.astype(np.uint8).tobytes()
    seg.add_new("PixelData", "OB", content + b"\0" * (len(content) % 2))


def _label_map(series, saved: Mapping[str, Mask], grid: Geometry) -> Dataset:
    labels = np.zeros(SHAPE, dtype=np.uint8)
    for n, mask in enumerate(saved.values(), start=1):
        labels[mask] = n
    seg = plain_seg(series, {"any": labels > 0}, grid, cite=True)
    named = plain_seg(series, dict(saved), grid)
    seg.SegmentSequence, seg.DimensionIndexSequence = named.SegmentSequence, []
    seg.SOPClassUID, seg.SegmentationType = "1.2.840.10008.5.1.4.1.1.66.7", "LABELMAP"
    for frame in seg.PerFrameFunctionalGroupsSequence:
        del frame.SegmentIdentificationSequence
    _bytes_a_pixel(seg, labels[_drawn(labels > 0)])
    seg.compress(RLELossless, generate_instance_uid=False)
    return seg


def _finer(series, saved: Mapping[str, Mask], grid: Geometry) -> Dataset:
    affine = np.array(grid.affine)
    affine[:3, 1:3] /= 2
    affine[:3, 3] = grid.to_lps((0, -0.25, -0.25))
    finer = Geometry((SHAPE[0], 2 * SHAPE[1], 2 * SHAPE[2]), affine)
    return plain_seg(series, {label: mask.repeat(2, 1).repeat(2, 2) for label, mask in saved.items()}, finer)


def _flipped(base: Base, random: np.random.Generator) -> bytes:
    """Turn one to five bits of what is not pixels."""
    content = bytearray(base.content)
    for at in random.integers(128, base.pixels.start, size=random.integers(1, 6)):
        content[at] ^= 1 << int(random.integers(8))
    return bytes(content)


def _cut(base: Base, random: np.random.Generator) -> bytes:
    """Cut the file off, leave a piece out, put one in, zero one, or say one twice."""
    content, end = base.content, base.pixels.start
    at, size = int(random.integers(128, end)), int(random.integers(1, 40))
    stop = min(at + size, end)
    return [
        content[: int(random.integers(0, len(content)))],
        content[:at] + content[stop:],
        content[:at] + random.bytes(size) + content[at:],
        content[:at] + bytes(stop - at) + content[stop:],
        content[:stop] + content[at:],
    ][int(random.integers(5))]


def _changed(base: Base, random: np.random.Generator) -> bytes:
    """Change one attribute at any depth: left out, emptied, another value; an item left out or said twice."""
    seg = dcmread(BytesIO(base.content))
    where = seg
    while True:
        elements = [element for element in where if element.keyword != "PixelData"]
        if not elements:
            return base.content
        element = elements[int(random.integers(len(elements)))]
        if element.VR == "SQ" and len(element.value) and random.random() < 0.85:
            where = element.value[int(random.integers(len(element.value)))]
            continue
        break
    choice = int(random.integers(4))
    if choice == 0:
        del where[element.tag]
    elif choice == 1:
        where[element.tag] = DataElement(element.tag, element.VR, None)
    elif element.VR == "SQ" and len(element.value):
        n = int(random.integers(len(element.value)))
        items = list(element.value)
        items = items[:n] + items[n + 1 :] if choice == 2 else [*items, items[n]]
        where[element.tag] = DataElement(element.tag, "SQ", items)
    else:
        value = None if element.VR == "SQ" else _other_value(element, random)
        where[element.tag] = DataElement(element.tag, element.VR, value)
    return _file_as_it_is(seg, base)


def _other_value(element: DataElement, random: np.random.Generator) -> object:
    if element.VR in ("US", "UL", "SS", "SL"):
        return int(random.integers(1, 2**15)) if random.random() < 0.5 else int(random.integers(0, 8))
    if element.VR in ("DS", "IS"):
        return str(int(random.integers(-999, 999)))
    if element.VR == "UI":
        return "1.2." + str(int(random.integers(10**6)))
    if element.VR == "AT":
        return int(random.integers(2**31))
    if element.VR in ("FD", "FL"):
        return float(random.normal())
    if element.VR in ("OB", "OW", "UN"):
        return random.bytes(4)
    words = ("", "MANUAL", "AUTOMATIC", "BINARY", "Leber", "Stomach", "\\", "é", "x" * 70, "FRACTIONAL")
    return words[int(random.integers(len(words)))]


def _file_as_it_is(seg: Dataset, base: Base) -> bytes:
    try:
        buffer = BytesIO()
        seg.save_as(buffer)
        return buffer.getvalue()
    except Exception:  # what pydicom will not even write is no test of the reader
        return base.content


def _with_other_pixels(base: Base, random: np.random.Generator) -> tuple[bytes, Mapping[str, Mask] | None]:
    """Change some bytes of the pixels; decode them here where frames are planes of bits or bytes."""
    content = bytearray(base.content)
    highest = 129 if base.name == "fractions" and random.random() < 0.8 else 256
    for at in random.integers(base.pixels.start, base.pixels.stop, size=random.integers(1, 30)):
        content[at] = int(random.integers(highest))
    if not base.places:
        return bytes(content), None
    stored = np.frombuffer(bytes(content[base.pixels]), dtype=np.uint8)
    size = int(np.prod(base.geometry.shape[1:]))
    if base.name == "fractions":
        values = stored[: len(base.places) * size]
        if values.max() > 128:
            return bytes(content), {}  # above the maximum: whatever is not refused fails
        inside = values >= 64
    else:
        inside = np.unpackbits(stored, bitorder="little")[: len(base.places) * size].astype(bool)
    right = {organ: np.zeros_like(mask) for organ, mask in base.right.items()}
    for (organ, k), plane in zip(base.places, inside.reshape(-1, *base.geometry.shape[1:]), strict=True):
        right[organ][k] = plane
    return bytes(content), right
