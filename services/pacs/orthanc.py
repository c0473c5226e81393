"""Orthanc as an archive: DICOMweb, and what only its REST tells - changes, stability, doubles.

Needs Orthanc 1.9.4 or later.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from models.uids import SeriesUid, SopUid, StudyUid, is_uid
from services.dicom.foreign.identifiers import Named
from services.pacs.allowance import ORDINARY, Allowance, StudyLimits
from services.pacs.dicomweb import CHUNK_BYTES, DicomwebArchive, by_series
from services.pacs.http import Http
from services.pacs.incoming import write_object
from services.pacs.kinds import CT, kind_of
from services.pacs.port import ArchivedStudy, Changes
from services.pacs.reception import numbers_of

STRETCH = 500
"""Changes asked for at once; a CT makes one per slice."""
CAME = frozenset({"NewInstance", "NewSeries", "NewStudy", "StableSeries", "StableStudy"})
"""Single instances too: nothing else tells of a late slice if Orthanc restarts before the study is stable."""

QUIET = "StableStudy"
"""Nothing came to a study for `StableAge`."""
EVERY_SECONDS = 1.0
"""Between two looks at the feed; one takes a millisecond on either side."""

_STUDY_INSTANCE_UID = "0020,000d"
"""As Orthanc writes its tag in short answers."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _File:
    """One instance, with Orthanc's own identifiers of it and of its series."""

    sop_instance_uid: SopUid
    sop_class_uid: str
    series_id: str
    instance_id: str
    size_bytes: int

    @classmethod
    def of(cls, instance: Mapping[str, Any]) -> _File:
        """Return what Orthanc says of an instance; the class of one it took in long ago it may not know."""
        return cls(
            SopUid(instance["MainDicomTags"]["SOPInstanceUID"]),
            str(instance.get("Metadata", {}).get("SopClassUid", "")),
            instance["ParentSeries"],
            instance["ID"],
            int(instance["FileSize"]),
        )


class OrthancArchive(DicomwebArchive):
    """An Orthanc; nothing is asked before it is used. See `Archive` and `ChangeFeed`.

    Objects are fetched by Orthanc's own identifiers, file by file as they were received: by DICOMweb it
    finds nothing where one StudyInstanceUID lies under two patients. Whose a study is, its CT images say.

    Parameters
    ----------
    rest
        The connection to its REST.
    web
        The connection to its DICOMweb root.
    limits
        The most that is fetched of one study.
    """

    def __init__(self, rest: Http, web: Http, limits: StudyLimits = ORDINARY) -> None:
        super().__init__(web, limits)
        self.rest = rest

    @property
    def every_seconds(self) -> float:
        """See `ChangeFeed.every_seconds`."""
        return EVERY_SECONDS

    def changes(self, cursor: int) -> Changes:
        """See `ChangeFeed.changes`."""

        def read(answer: dict[str, Any]) -> tuple[set[str], int, bool, bool]:
            came = [change for change in answer["Changes"] if change["ChangeType"] in CAME]
            quiet = any(change["ChangeType"] == QUIET for change in came)
            return {change["ID"] for change in came}, int(answer["Last"]), not answer["Done"], quiet

        resources, last, more, quiet = self.rest.need(f"/changes?since={cursor}&limit={STRETCH}", read)
        if last < cursor:
            _log.warning("the archive's feed ends at %d, before %d: it is read from its start", last, cursor)
            return self.changes(0)
        if not resources:
            return Changes((), last, more, quiet)
        asked = {"Resources": sorted(resources), "Level": "Study", "Short": True}
        studies = self.rest.need(
            "/tools/bulk-content",
            lambda answer: [StudyUid(study["MainDicomTags"][_STUDY_INSTANCE_UID]) for study in answer],
            body=asked,
        )
        return Changes(tuple(dict.fromkeys(studies)), last, more, quiet)

    def end(self) -> int:
        """See `ChangeFeed.end`."""
        return self.rest.need("/changes?last", lambda answer: int(answer["Last"]))

    def study(self, study_uid: StudyUid) -> ArchivedStudy | None:
        """See `Archive.study`."""
        patients: list[tuple[str, bool]] = []
        """Each with whether CT images lie under it."""
        stable = True
        instances: list[tuple[SeriesUid, str, str, SopUid]] = []
        for study_id in self._identifiers(study_uid, "Study"):
            held = self.rest.json(
                f"/studies/{study_id}",
                lambda study: (study["PatientMainDicomTags"].get("PatientID", ""), study["IsStable"]),
            )
            series = self.rest.json(
                f"/studies/{study_id}/series",
                lambda all_series: {one["ID"]: one["MainDicomTags"] for one in all_series},
            )
            files = self._files(study_id)
            if held is None or series is None or not files:
                continue  # deleted meanwhile
            stable &= bool(held[1])
            here = [
                (
                    SeriesUid(series[file.series_id]["SeriesInstanceUID"]),
                    series[file.series_id].get("Modality", ""),
                    file.sop_class_uid,
                    file.sop_instance_uid,
                )
                for file in files
                if file.series_id in series  # a series that began since is told as the next change
            ]
            patients.append((held[0], any(kind_of(known, said) == CT for _, said, known, _ in here)))
            instances += here
        if not instances:
            return None
        of_images = tuple(sorted(patient for patient, has_images in patients if has_images))
        whose = of_images or tuple(sorted(patient for patient, _ in patients))
        urgent = self._searches.urgent(study_uid)
        return ArchivedStudy(study_uid, whose, stable, urgent, by_series(instances))

    def as_they_came(self, sop_instance_uids: Collection[SopUid]) -> tuple[tuple[SopUid, ...], ...]:
        """See `Archive.as_they_came`: of changes that were deleted from Orthanc nobody knows the order."""
        places = {uid: self._locate(uid) for uid in sop_instance_uids}
        numbers = numbers_of([one for found in places.values() for one in found], self.rest)
        if not all(found and numbers.keys() >= set(found) for found in places.values()):
            return super().as_they_came(sop_instance_uids)
        first = {uid: min(numbers[one] for one in found) for uid, found in places.items()}
        return tuple((uid,) for uid in sorted(first, key=lambda uid: first[uid]))

    def _size(self, study: ArchivedStudy) -> int:
        return sum(file.size_bytes for file in self._images(study))

    def _fetch(self, study: ArchivedStudy, folder: Path, allowance: Allowance) -> None:
        for file in self._images(study):
            self._fetch_object(file.instance_id, file.sop_instance_uid, folder, allowance)

    def _images(self, study: ArchivedStudy) -> list[_File]:
        """Return where the CT images of a study lie now, of those that were listed."""
        images = {uid for series in study.ct_series() for uid in series.sop_instance_uids}
        found = (file for one in self._identifiers(study.study_uid, "Study") for file in self._files(one))
        return [file for file in found if file.sop_instance_uid in images]

    def _locate(self, sop_instance_uid: SopUid) -> list[str]:
        return self._identifiers(sop_instance_uid, "Instance")

    def _where_stored(self, named: Named) -> list[str]:
        return self._locate(SopUid(named.sop_instance_uid))

    def _fetch_object(self, place: str, sop_instance_uid: SopUid, folder: Path, allowance: Allowance) -> None:
        def read(answer: requests.Response) -> None:
            with allowance.attempt():
                allowance.an_object()
                write_object(folder, allowance.counted(answer.iter_content(CHUNK_BYTES)), sop_instance_uid)

        self.rest.stream(f"/instances/{place}/file", read)

    def _identifiers(self, uid: StudyUid | SopUid, level: str) -> list[str]:
        """Return Orthanc's identifiers of what bears a UID: one per patient it lies under."""
        if not is_uid(uid):
            return []
        return self.rest.need(
            "/tools/lookup", lambda found: [one["ID"] for one in found if one["Type"] == level], body=uid
        )

    def _files(self, study_id: str) -> list[_File]:
        """Return what Orthanc knows of a study's instances; `SopClassUid` is of its metadata."""
        asked = {"Resources": [study_id], "Level": "Instance", "Metadata": True}
        files = self.rest.json(
            "/tools/bulk-content", lambda instances: [_File.of(one) for one in instances], body=asked
        )
        return files or []
