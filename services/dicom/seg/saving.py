"""What a SEG says of how it was saved: by whom, with what, when; and the digest of what is in it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path

from pydicom.dataset import Dataset, FileDataset

from models.uids import SopUid, StudyUid
from models.words import header_words
from services.dicom.seg.bounded import OpenedSeg, as_opened, damage_refused
from services.dicom.seg.reader import SegObject, text_in
from services.dicom.seg.viewer_clocks import with_zone

SAYS_NOTHING = frozenset({"", "Unspecified", "UNKNOWN", "0", "1"})
"""What viewers write where they have nothing to say."""


@dataclass(frozen=True)
class Saving:
    """How a SEG was saved, as far as it says.

    Parameters
    ----------
    sop_instance_uid, study_uid
        What it is and where it belongs; empty if missing.
    reader
        ContentCreatorName, else OperatorsName; empty if neither is there.
    viewer
        Manufacturer, model, version and the program that wrote the file, without those that say nothing.
    saved_at
        ContentDate and ContentTime, ISO 8601, with TimezoneOffsetFromUTC, else the offset of the viewer's
        habit (`services.dicom.seg.viewer_clocks`); None if the object does not say when. It is the viewer's
        clock: shown, and never asked which of two saves came first.
    """

    sop_instance_uid: SopUid
    study_uid: StudyUid
    reader: str
    viewer: str
    saved_at: str | None


def saving_of(seg: Path | OpenedSeg) -> Saving:
    """Read how a SEG was saved.

    Raises
    ------
    Refused
        `not-dicom` or `malformed-seg`, as `read_seg`.

    Notes
    -----
    Source: PS3.3 C.8.20.1 (ContentCreatorName), C.7.3.1 (OperatorsName), C.12.1 (TimezoneOffsetFromUTC),
    PS3.10 table 7.1-1 (ImplementationVersionName).
    """
    header = as_opened(seg).header
    with damage_refused():
        viewer = _viewer(header)
        return Saving(
            sop_instance_uid=SopUid(str(header.get("SOPInstanceUID") or "")),
            study_uid=StudyUid(str(header.get("StudyInstanceUID") or "")),
            reader=_words(header, "ContentCreatorName") or _words(header, "OperatorsName"),
            viewer=viewer,
            saved_at=_saved_at(header, viewer),
        )


def content_digest(seg: SegObject) -> str:
    """Return the SHA-256 of all that was read of a SEG's segments: names, codes, tracking and voxels.

    How the pixels were compressed, and what else the header says, does not matter.
    """
    digest = sha256()
    for segment in seg.segments:
        names = (
            segment.number, segment.label, segment.type, segment.laterality, segment.tracking_uid,
            segment.algorithm_type, segment.mask.shape,
        )  # fmt: skip
        digest.update(repr(names).encode())
        for piece in segment.mask.packed():
            digest.update(piece)
    return digest.hexdigest()


def _words(seg: Dataset, keyword: str) -> str:
    value = seg.get(keyword)
    several = value if isinstance(value, list | tuple) or hasattr(value, "append") else [value]
    words = "\\".join(text for text in (text_in(one, seg).strip("\0 ") for one in several) if text)
    return header_words(words)


def _viewer(seg: FileDataset) -> str:
    said = [_words(seg, keyword) for keyword in ("Manufacturer", "ManufacturerModelName", "SoftwareVersions")]
    said.append(header_words(seg.file_meta.get("ImplementationVersionName")))
    return " ".join(dict.fromkeys(word for word in said if word not in SAYS_NOTHING))


def _saved_at(seg: Dataset, viewer: str) -> str | None:
    day, time = (str(seg.get(keyword) or "").strip() for keyword in ("ContentDate", "ContentTime"))
    whole, _, fraction = time.partition(".")
    if len(whole) not in (2, 4, 6):  # hours, minutes, seconds (PS3.5 6.2, TM)
        return None
    try:
        saved = datetime.strptime(day + whole.ljust(6, "0"), "%Y%m%d%H%M%S")
        saved = saved.replace(microsecond=int(fraction.ljust(6, "0")[:6] or 0), tzinfo=_zone(seg))
    except ValueError:
        return None
    placed = with_zone(saved, viewer, seg)
    return None if placed is None else placed.isoformat()


def _zone(seg: Dataset) -> timezone | None:
    offset = str(seg.get("TimezoneOffsetFromUTC") or "").strip()
    if len(offset) != 5 or offset[0] not in "+-" or not offset[1:].isdigit():
        return None
    minutes = int(offset[1:3]) * 60 + int(offset[3:])
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))
