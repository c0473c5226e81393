"""A PACS that speaks DIMSE only, asked through Orthanc: C-FIND, and C-MOVE into the archive.

Source: PS3.4 annex C; study root, hierarchical queries, which every PACS answers.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import date
from typing import Any
from urllib.parse import quote

from models.errors import PacsFailed, PacsUnavailable, Refused
from models.uids import SopUid, StudyUid, is_uid
from services.pacs.dicomweb import INCOMPLETE, STUDY_GONE
from services.pacs.orthanc import OrthancArchive
from services.pacs.port import ArchivedStudy

LOOK_SECONDS = 0.5
"""Between two looks at what has arrived."""

Answer = dict[str, str]


class OrthancQuerySource:
    """A PACS in Orthanc's `DicomModalities`; see `QuerySource`.

    It must know Orthanc's AE title, host and port as a destination of C-MOVE.

    Parameters
    ----------
    archive
        The Orthanc that asks, and that the PACS sends to.
    modality
        Orthanc's name for the PACS.
    """

    def __init__(self, archive: OrthancArchive, modality: str) -> None:
        self._rest = archive.rest
        self._archive = archive
        self._modality = modality

    def studies_since(self, day: date) -> tuple[StudyUid, ...]:
        """See `QuerySource.studies_since`; a study without a date is not found."""
        query = {"StudyInstanceUID": "", "StudyDate": f"{day:%Y%m%d}-", "ModalitiesInStudy": "CT"}
        studies = (
            StudyUid(answer["StudyInstanceUID"])
            for answer in self._find("Study", query)
            # a PACS need not support this key, and then neither matches nor returns it
            if "CT" in (answer.get("ModalitiesInStudy") or "CT").split("\\")
        )
        return tuple(dict.fromkeys(studies))

    def instances(self, study_uid: StudyUid) -> int:
        """See `QuerySource.instances`."""
        counted = self._counted(study_uid)
        return len(self.listed(study_uid)) if counted is None else counted

    def retrieve(self, study_uid: StudyUid) -> ArchivedStudy:
        """See `QuerySource.retrieve`.

        Compared instance by instance: the archive may hold more of the study than the PACS, our results
        among it, so that numbers alone would hide what is missing.
        """
        listed = self.listed(study_uid)
        counted = self._counted(study_uid) or 0
        if not listed and not counted:
            raise Refused(STUDY_GONE, "The PACS holds nothing under that study UID, or nothing any more.")
        with self._query("Study", {"StudyInstanceUID": study_uid}) as query:
            error = self._move(f"{query}/retrieve", study_uid)
        study = self._archive.study(study_uid)
        arrived = _instances(study)
        missing = max(len(listed - arrived), counted - len(listed))
        if error and not listed & arrived:
            raise PacsFailed(f"The PACS {self._modality!r} did not send study {study_uid}: {error}.")
        if study is None or missing > 0:
            raise Refused(
                INCOMPLETE,
                f"The PACS did not send all it holds of study {study_uid}{f' ({error})' if error else ''}.",
                {
                    "counted": counted,
                    "listed": len(listed),
                    "received": len(listed & arrived),
                    "missing": missing,
                },
            )
        return study

    def _counted(self, study_uid: StudyUid) -> int | None:
        """Return the PACS's own count of a study's instances; None if it does not say."""
        query = {"StudyInstanceUID": study_uid, "NumberOfStudyRelatedInstances": ""}
        answers = self._find("Study", query) if is_uid(study_uid) else []
        if not answers:
            return 0
        counts = [answer.get("NumberOfStudyRelatedInstances", "") for answer in answers]
        return sum(map(int, counts)) if all(count.isdecimal() for count in counts) else None

    def listed(self, study_uid: StudyUid) -> set[SopUid]:
        """See `QuerySource.listed`."""
        if not is_uid(study_uid):
            return set()
        series = self._find("Series", {"StudyInstanceUID": study_uid, "SeriesInstanceUID": ""})
        return {
            SopUid(instance["SOPInstanceUID"])
            for one in series
            for instance in self._find(
                "Instance",
                {
                    "StudyInstanceUID": study_uid,
                    "SeriesInstanceUID": one["SeriesInstanceUID"],
                    "SOPInstanceUID": "",
                },
            )
        }

    def _find(self, level: str, query: dict[str, str]) -> list[Answer]:
        with self._query(level, query) as path:
            return self._rest.need(f"{path}/answers?expand&simplify", list)

    @contextlib.contextmanager
    def _query(self, level: str, query: dict[str, str]) -> Iterator[str]:
        """Yield the path of an answered query; Orthanc forgets it at the end."""
        asked = {"Level": level, "Query": query}
        try:
            path = self._rest.need(
                f"/modalities/{quote(self._modality)}/query",
                lambda answer: f"/queries/{answer['ID']}",
                body=asked,
            )
        except PacsFailed as error:
            raise type(error)(f"The PACS {self._modality!r} could not be asked. {error}") from error
        try:
            yield path
        finally:
            self._rest.json(path, _nothing, method="DELETE")

    def _move(self, path: str, study_uid: StudyUid) -> str | None:
        """Wait for a C-MOVE as long as instances keep arriving; return its error, if it ends in one.

        A move of which one instance failed ends in an error too.
        """
        job = self._rest.need(path, lambda answer: f"/jobs/{answer['ID']}", body={"Asynchronous": True})
        arrived = len(_instances(self._archive.study(study_uid)))
        patience = time.monotonic() + self._rest.deadline_seconds
        while True:
            state, error = self._rest.need(
                job, lambda answer: (str(answer["State"]), str(answer.get("ErrorDescription")))
            )
            if state in ("Success", "Failure"):
                return None if state == "Success" else error
            time.sleep(LOOK_SECONDS)
            now = len(_instances(self._archive.study(study_uid)))
            if now > arrived:
                arrived, patience = now, time.monotonic() + self._rest.deadline_seconds
            if time.monotonic() > patience:
                self._rest.json(f"{job}/cancel", _nothing, body={})
                raise PacsUnavailable(
                    f"The PACS {self._modality!r} sent nothing of study {study_uid} for "
                    f"{self._rest.deadline_seconds:g} s; {arrived} instances had arrived."
                )


def _instances(study: ArchivedStudy | None) -> set[SopUid]:
    return {uid for series in study.series for uid in series.sop_instance_uids} if study else set()


def _nothing(_: Any) -> None:
    return None
