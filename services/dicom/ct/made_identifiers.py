"""Identifiers for images that lost theirs, only where a person asked for it, and marked as made.

Anonymised sets may hold empty UIDs. Without being asked the reader refuses them: what is made here joins
nothing in an archive. SOP UIDs are taken from the file meta information, where they often survive; the
rest are hashes of the SOP Instance UIDs, so that the same files always get the same ones.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydicom import Dataset

from models.series.rules import UID_FORM
from models.series.slice_spacing import Repair
from models.series.verdict import Code
from services.dicom.foreign.reader import as_written, legible
from services.dicom.identity import hashed_uid

STUDY = ("PatientID", "IssuerOfPatientID", "PatientBirthDate", "AccessionNumber", "StudyID", "StudyDate")
SERIES = ("Modality", "SeriesNumber", "SeriesDescription", "FrameOfReferenceUID")
"""What tells images without UIDs apart, beside the folder they lie in."""


@as_written()
def make_identifiers(files: Sequence[tuple[Path, Dataset]]) -> Mapping[str, Repair]:
    """Give every header that lacks identifiers its own, in place; one that has them is not touched.

    Images of one folder that say the same of study and series are one series: two folders never become
    one study.

    Parameters
    ----------
    files
        Each file with its header.

    Returns
    -------
    mapping of str to Repair
        By series UID, what was made, for series with any such image.
    """
    made: dict[int, Counter[str]] = defaultdict(Counter)
    for n, (path, header) in enumerate(files):
        for keyword, in_meta in (
            ("SOPInstanceUID", "MediaStorageSOPInstanceUID"),
            ("SOPClassUID", "MediaStorageSOPClassUID"),
        ):
            if _lacks(header, keyword) and not _lacks(header.file_meta, in_meta):
                header.add_new(keyword, "UI", str(header.file_meta[in_meta].value).strip())
                made[n][f"{keyword} from the file meta"] += 1
        if _lacks(header, "SOPInstanceUID"):
            made_uid = hashed_uid("made", hashlib.sha256(path.read_bytes()).hexdigest())
            header.add_new("SOPInstanceUID", "UI", made_uid)
            made[n]["SOPInstanceUID"] += 1
    for keyword, alike in (("StudyInstanceUID", STUDY), ("SeriesInstanceUID", STUDY + SERIES)):
        groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for n, (path, header) in enumerate(files):
            if _lacks(header, keyword):
                groups[(str(path.parent), *(str(legible(header, name) or "") for name in alike))].append(n)
        for members in groups.values():
            uid = hashed_uid("made", keyword, *sorted(str(files[n][1].SOPInstanceUID) for n in members))
            for n in members:
                files[n][1].add_new(keyword, "UI", uid)
                made[n][keyword] += 1
    by_series: dict[str, Counter[str]] = defaultdict(Counter)
    for n, counts in made.items():
        by_series[str(files[n][1].SeriesInstanceUID)] += counts
    return {uid: _repair(counts) for uid, counts in by_series.items()}


def _repair(counts: Counter[str]) -> Repair:
    what = ", ".join(f"{name} in {count} images" for name, count in sorted(counts.items()))
    return Repair(
        Code.MISSING_UID,
        f"Identifiers were missing and were made, as asked: {what}. The results refer to these.",
        {f"made_{name.replace(' ', '_')}": count for name, count in sorted(counts.items())},
    )


def _lacks(dataset: Dataset, keyword: str) -> bool:
    return not UID_FORM.fullmatch(str(legible(dataset, keyword) or "").strip())
