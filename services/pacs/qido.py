"""Searching an archive by QIDO-RS, through `dicomweb_client` (PS3.18 section 10.6)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import quote

from dicomweb_client import DICOMwebClient

from models.errors import PacsFailed
from models.uids import SopUid, StudyUid
from models.words import header_words
from services.pacs.http import Http

PAGE = 1000
"""Results asked for at once; a server may send fewer."""
LISTED = 1_000_000
"""The most results of one search; a server that never ends its list is none."""
URGENT = frozenset({"STAT", "HIGH"})
"""Of the terms STAT, HIGH, ROUTINE, MEDIUM, LOW."""
PRIORITIES = ("00401003", "0032000C")
"""Requested Procedure Priority (PS3.3 table C.4-11); Study Priority ID, retired, with HIGH, MED, LOW."""

Row = dict[str, str]
STUDY_UID, SERIES_UID, SOP_UID = "0020000D", "0020000E", "00080018"
MODALITY, PATIENT_ID, ISSUER, INSTANCES = "00080060", "00100020", "00100021", "00201208"
SOP_CLASS_UID = "00080016"
NAME_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
PATIENT_NAME, BIRTH_DATE, STUDY_DATE, STUDY_TIME = "00100010", "00100030", "00080020", "00080030"


@dataclass(frozen=True)
class PatientOfStudy:
    """Whose a study is, as the archive says it; what it does not say is empty.

    Parameters
    ----------
    name
        PatientName as people read it: ``MEIER, Anna``.
    born
        Year.
    made
        StudyDate and StudyTime, ``29.11.2026 11:40``.
    """

    name: str
    born: str
    made: str


class Searches:
    """The searches of one archive.

    Parameters
    ----------
    http
        The connection; its address is the DICOMweb root.
    """

    def __init__(self, http: Http) -> None:
        self._http = http
        self._client = DICOMwebClient(http.url, session=http.session, timeout=http.deadline_seconds)
        self._client.set_http_retry_params(retry=False)  # `Http` does; the client forgets lost connections
        self._client.host = http.name  # it would leave the port out of the Host header

    def studies(self, study_uid: StudyUid) -> list[Row]:
        """Return a study as it lies, once per patient."""
        rows = self._search(
            self._client.search_for_studies,
            (STUDY_UID, PATIENT_ID, ISSUER, INSTANCES),
            search_filters={STUDY_UID: study_uid},
        )
        return [row for row in rows if row[STUDY_UID] == study_uid]

    def instances(self, study_uid: StudyUid) -> list[Row]:
        """Return the instances of a study."""
        return self._search(
            self._client.search_for_instances,
            (SOP_UID, SERIES_UID, MODALITY, SOP_CLASS_UID),
            study_instance_uid=study_uid,
        )

    def counted_since(self, day: date) -> dict[StudyUid, str]:
        """Return how many instances are counted of each study made on a day or later, as it is written."""
        rows = self._search(
            self._client.search_for_studies,
            (STUDY_UID, INSTANCES),
            search_filters={"StudyDate": f"{day:%Y%m%d}-"},
        )
        counted: dict[StudyUid, str] = {}
        for row in rows:  # one for each patient it lies under
            uid = StudyUid(row[STUDY_UID])
            counted[uid] = f"{counted[uid]}+{row[INSTANCES]}" if uid in counted else row[INSTANCES]
        return counted

    def patients_of(self, study_uids: Collection[StudyUid]) -> dict[StudyUid, PatientOfStudy]:
        """Return whose studies these are; one that lies under two patients is nobody's."""
        if not study_uids:
            return {}
        rows = self._search(
            self._client.search_for_studies,
            (STUDY_UID, PATIENT_NAME, BIRTH_DATE, STUDY_DATE, STUDY_TIME),
            search_filters={STUDY_UID: ",".join(study_uids)},
        )
        found: dict[StudyUid, set[PatientOfStudy]] = {}
        for row in rows:
            found.setdefault(StudyUid(row[STUDY_UID]), set()).add(_patient(row))
        wanted = set(study_uids)
        return {uid: one for uid, (one, *more) in found.items() if uid in wanted and not more}

    def studies_of(self, name: str, at_most: int) -> tuple[StudyUid, ...]:
        """Return studies of patients whose name holds these letters, in whatever case."""
        letters = name.replace("*", "").replace("?", "").strip()
        if not letters:
            return ()
        asked = f"PatientName=*{quote(letters, safe='')}*&includefield={STUDY_UID}&limit={at_most}"
        found = self._http.json(  # the client would quote the asterisks, which Orthanc then looks for
            f"/studies?{asked}", lambda answer: [_row(one, (STUDY_UID,))[STUDY_UID] for one in answer or ()]
        )
        return tuple(map(StudyUid, found or ()))

    def places(self, sop_instance_uid: SopUid) -> list[str]:
        """Return the path of each copy of an object below the DICOMweb root."""
        rows = self._search(
            self._client.search_for_instances,
            (SOP_UID, SERIES_UID, STUDY_UID, PATIENT_ID),
            search_filters={SOP_UID: sop_instance_uid},
        )
        return [
            place_of(row[STUDY_UID], row[SERIES_UID], sop_instance_uid)
            for row in rows
            if row[SOP_UID] == sop_instance_uid
        ]

    def series_with(self, study_uid: StudyUid, sop_instance_uid: SopUid) -> set[str]:
        """Return the series of a study in which an object is listed; empty text where none is said."""
        rows = self._search(
            self._client.search_for_instances,
            (SOP_UID, SERIES_UID),
            study_instance_uid=study_uid,
            search_filters={SOP_UID: sop_instance_uid},
        )
        return {row[SERIES_UID] for row in rows if row[SOP_UID] == sop_instance_uid}

    def urgent(self, study_uid: StudyUid) -> bool:
        """Return whether the object that is listed first says so: the archive reads one file for it."""
        rows = self._http.ask(
            lambda: [
                _row(found, PRIORITIES)
                for found in self._client.search_for_instances(study_uid, limit=1, fields=PRIORITIES)
            ]
        )
        return any(value.upper() in URGENT for row in rows for value in row.values())

    def _search(self, search: Callable[..., Any], tags: Sequence[str], **given: Any) -> list[Row]:
        """Return all results of a search, page by page: a server sends at most so many at once.

        Parameters
        ----------
        search
            A search of the client.
        tags
            What is wanted of each result. Results that differ in none of it are one: a server that knows
            no pages sends the same ones again.
        given
            Further arguments of the search.
        """
        found: dict[tuple[str, ...], Row] = {}
        offset = 0
        while True:

            def page(offset: int = offset) -> list[Row]:
                answer = search(**given, fields=tags, limit=PAGE, offset=offset)
                return [_row(result, tags) for result in answer]

            rows = self._http.ask(page)
            before = len(found)
            if before > LISTED:
                raise PacsFailed(f"The archive at {self._http.name} lists more than any archive holds of it.")
            found.update((tuple(row.values()), row) for row in rows)
            if len(found) == before:
                return list(found.values())
            offset += len(rows)


def place_of(study_uid: str, series_uid: str, sop_instance_uid: str) -> str:
    """Return the path of an object below the DICOMweb root (PS3.18 10.4.1)."""
    return f"/studies/{study_uid}/series/{series_uid}/instances/{sop_instance_uid}"


def _patient(row: Row) -> PatientOfStudy:
    """Return a patient as people read one: components of the name in their order, dates with points."""
    family, _, rest = row[PATIENT_NAME].partition("^")
    given = " ".join(rest.replace("^", " ").split())
    name = f"{family}, {given}" if given else family
    day, clock = row[STUDY_DATE], row[STUDY_TIME]
    made = f"{day[6:8]}.{day[4:6]}.{day[:4]}" if len(day) == 8 and day.isdecimal() else ""
    if made and len(clock) >= 4 and clock[:4].isdecimal():
        made = f"{made} {clock[:2]}:{clock[2:4]}"
    year = row[BIRTH_DATE][:4]
    return PatientOfStudy(header_words(name), year if year.isdecimal() else "", made)


def _row(result: dict[str, Any], tags: Sequence[str]) -> Row:
    """Return the first value of each element as text; empty where there is none."""
    values = {tag: (result.get(tag, {}).get("Value") or [None])[0] for tag in tags}
    return {tag: _text(value) for tag, value in values.items()}


def _text(value: object) -> str:
    """Return one value as text; a name as its letters, or what stands for them (PS3.18 F.2.2)."""
    if isinstance(value, dict):
        return str(next((value[group] for group in NAME_GROUPS if value.get(group)), ""))
    return "" if value is None else str(value)
