"""UIDs of one kind where another is wanted: mistakes that `make lint` has to find.

mypy reads this file, and nobody runs it. Each line says that it is wrong; where mypy let one pass, what it
says would be an unused `type: ignore`, and that is an error.
"""

from __future__ import annotations

from pathlib import Path

from flows.arrivals.archived_study import fetch
from flows.arrivals.query import lacking
from flows.calibration.random_audit import is_drawn, record_audit
from flows.cases.keep import accept
from flows.corrections.keep import Memory, compare_readers
from flows.corrections.withdraw import withdraw
from models.corrections.ledger import OrganLedger
from models.findings import StudyFindings
from services.cases.features import FeatureStore
from services.dicom.ct.loaded import CTSeries
from services.dicom.results.write import ResultObject
from services.pacs.port import Archive, ArchivedSeries, ArchivedStudy, QuerySource
from services.records.entries.arrivals import Arrival
from services.records.entries.corrections import Correction
from services.records.entries.results import Result
from services.records.port import Records
from services.releases.store import ReleaseStore
from services.wiring import Services


def records_asked(records: Records, ct: CTSeries, seg: ResultObject) -> None:
    """Ask the records by the wrong UID."""
    records.find_result(seg.series_uid)  # type: ignore[arg-type]
    records.results_of_study(ct.series_uid)  # type: ignore[arg-type]
    records.results_of_series(ct.study_uid)  # type: ignore[arg-type]
    records.corrections(sop_instance_uid=ct.series_uid)  # type: ignore[arg-type]
    records.corrections(series_uid=ct.study_uid)  # type: ignore[arg-type]
    records.withdraw(ct.study_uid, reader="", reason="")  # type: ignore[arg-type]
    records.accepted_organs(ct.study_uid, 1)  # type: ignore[arg-type]
    records.accepted_organs("1.2.3", 1)  # type: ignore[arg-type]
    records.arrival(ct.series_uid)  # type: ignore[arg-type]
    records.place_of_save(ct.series_uid, seg.sop_instance_uid)  # type: ignore[arg-type]
    records.place_of_save(ct.study_uid, ct.series_uid)  # type: ignore[arg-type]
    records.untold_saves(ct.series_uid, ())  # type: ignore[arg-type]
    records.untold_saves(ct.study_uid, (ct.study_uid,))  # type: ignore[arg-type]


def records_told(records: Records, ct: CTSeries, seg: ResultObject, organs: tuple[OrganLedger, ...]) -> None:
    """Tell the records the wrong UID."""
    study, series, instance = ct.study_uid, ct.series_uid, seg.sop_instance_uid
    records.record_result("", study_uid=series, series_uid=series, release=1, objects={})  # type: ignore[arg-type]
    records.record_result("", study_uid=study, series_uid=study, release=1, objects={})  # type: ignore[arg-type]
    records.record_acceptance(series, series, 1, (), "")  # type: ignore[arg-type]
    records.record_acceptance(study, study, 1, (), "")  # type: ignore[arg-type]
    records.take_in([series], 1)  # type: ignore[list-item]
    records.note_saves(series, [[instance]])  # type: ignore[arg-type]
    records.note_saves(study, [[study]])  # type: ignore[list-item]
    Arrival(series, study)  # type: ignore[arg-type]
    Arrival(instance, instance)  # type: ignore[arg-type]
    Correction(series, instance, study, series, 1, "", "", "", organs)  # type: ignore[arg-type]
    Correction(instance, series, study, series, 1, "", "", "", organs)  # type: ignore[arg-type]
    Correction(instance, instance, series, series, 1, "", "", "", organs)  # type: ignore[arg-type]
    Correction(instance, instance, study, study, 1, "", "", "", organs)  # type: ignore[arg-type]


def archive_asked(archive: Archive, source: QuerySource, ct: CTSeries, into: Path) -> None:
    """Ask an archive, and the PACS behind it, by the wrong UID."""
    archive.study(ct.series_uid)  # type: ignore[arg-type]
    archive.fetch_study(ct.series_uid, into)  # type: ignore[arg-type]
    archive.fetch_instance(ct.series_uid, into)  # type: ignore[arg-type]
    archive.as_they_came((ct.series_uid,))  # type: ignore[arg-type]
    source.instances(ct.series_uid)  # type: ignore[arg-type]
    source.listed(ct.series_uid)  # type: ignore[arg-type]
    source.retrieve(ct.series_uid)  # type: ignore[arg-type]
    ArchivedStudy(ct.series_uid, (), True, False, ())  # type: ignore[arg-type]
    ArchivedSeries(ct.study_uid, "CT", ())  # type: ignore[arg-type]
    ArchivedSeries(ct.series_uid, "CT", (ct.series_uid,))  # type: ignore[arg-type]


def flows_called(
    services: Services, archive: Archive, memory: Memory, ct: CTSeries, result: Result, into: Path
) -> None:
    """Call what carries UIDs with the wrong one."""
    records, releases = services.records, services.releases
    is_drawn(ct.series_uid, services.cases, 0.5)  # type: ignore[arg-type]
    accept(result.series_uid, ["liver"], "", records, releases)  # type: ignore[arg-type]
    accept(result.study_uid, ["liver"], "", records, releases, result.study_uid)  # type: ignore[arg-type]
    compare_readers(ct.study_uid, memory)  # type: ignore[arg-type]
    fetch(ct.series_uid, into, archive, services.cases, records)  # type: ignore[arg-type]
    lacking(ct.series_uid, None, services.source, records)  # type: ignore[arg-type]


def cases_kept(
    ct: CTSeries, records: Records, releases: ReleaseStore, findings: StudyFindings, store: FeatureStore
) -> None:
    """Keep and take back by the wrong UID."""
    withdraw(ct.study_uid, "", "", records, releases)  # type: ignore[arg-type]
    record_audit(records, "", ct.series_uid, ct.series_uid, findings)  # type: ignore[arg-type]
    record_audit(records, "", ct.study_uid, ct.study_uid, findings)  # type: ignore[arg-type]
    store.held([("", ct.study_uid)], Path())  # type: ignore[list-item]
