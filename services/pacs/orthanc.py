"""Orthanc as an archive: DICOMweb, and what only its REST tells - changes, stability, doubles.

Needs Orthanc 1.9.4 or later.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import requests

from models.uids import SeriesUid, SopUid, StudyUid, is_uid
from services.dicom.foreign.identifiers import Named
from services.pacs.allowance import ORDINARY, Allowance, StudyLimits
from services.pacs.dicomweb import CHUNK_BYTES, DicomwebArchive, by_series
from services.pacs.http import Http
from services.pacs.incoming import write_object
from services.pacs.port import ArchivedStudy, Changes

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


class OrthancArchive(DicomwebArchive):
    """An Orthanc; nothing is asked before it is used. See `Archive` and `ChangeFeed`.

    Objects are fetched by Orthanc's own identifiers, file by file as they were received: by DICOMweb it
    finds nothing where one StudyInstanceUID lies under two patients.

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
        patients: list[str] = []
        stable = True
        instances: list[tuple[SeriesUid, str, SopUid]] = []
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
            patients.append(held[0])
            stable &= bool(held[1])
            instances += [
                (SeriesUid(series[parent]["SeriesInstanceUID"]), series[parent].get("Modality", ""), uid)
                for uid, parent, _ in files
                if parent in series  # a series that began since is told as the next change
            ]
        if not instances:
            return None
        return ArchivedStudy(
            study_uid, tuple(sorted(patients)), stable, self._searches.urgent(study_uid), by_series(instances)
        )

    def _size(self, study_uid: StudyUid) -> tuple[int, int]:
        objects = size_bytes = 0
        for study_id in self._identifiers(study_uid, "Study"):
            said = self.rest.json(
                f"/studies/{study_id}/statistics",
                lambda counts: (int(counts["CountInstances"]), int(counts["UncompressedSize"])),
            )
            objects, size_bytes = objects + (said or (0, 0))[0], size_bytes + (said or (0, 0))[1]
        return objects, size_bytes

    def _fetch(self, study: ArchivedStudy, folder: Path, allowance: Allowance) -> None:
        for study_id in self._identifiers(study.study_uid, "Study"):
            for sop_instance_uid, _, instance_id in self._files(study_id):
                self._fetch_object(instance_id, sop_instance_uid, folder, allowance)

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

    def _files(self, study_id: str) -> list[tuple[SopUid, str, str]]:
        """Return (SOP Instance UID, Orthanc's series, Orthanc's instance) of a study's instances."""
        files = self.rest.json(
            f"/studies/{study_id}/instances",
            lambda instances: [
                (SopUid(one["MainDicomTags"]["SOPInstanceUID"]), one["ParentSeries"], one["ID"])
                for one in instances
            ],
        )
        return files or []
