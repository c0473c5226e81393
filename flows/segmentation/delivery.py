"""A result on its way out: to the archive if the site speaks, else into the home.

This is the one place from which anything of ours is sent to an archive.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flows.arrivals.archived_study import note_made, note_segmented
from flows.progress import Progress
from flows.segmentation.listing import list_for_readers
from flows.segmentation.made import Made
from flows.segmentation.pictures import keep_pictures
from flows.speech.speech import SILENCE, SILENT, is_unsent, speaks
from models.errors import StoredDiffers
from services.cases.store import CaseStore
from services.dicom.ct.placed import PlacedSeries
from services.dicom.ct.provenance import patient_of
from services.dicom.results.organ_seg import KIND as ORGAN_SEG
from services.pacs.port import Archive, ArchivedStudy
from services.pacs.unsent import UnsentResults
from services.pictures.kept import StudyPictures
from services.records.events.results import KeptResultSent, ResultDiffers, ResultKept
from services.records.port import Log, Records
from services.stopwatch import Stopwatch


@dataclass(frozen=True)
class Places:
    """Where the results of archived studies go.

    Parameters
    ----------
    archive
        To which they are sent.
    unsent
        Where they are kept while the site is silent.
    pictures
        Where pictures of those that are sent are kept; None where none are.
    """

    archive: Archive
    unsent: UnsentResults
    pictures: StudyPictures | None


def deliver(
    made: Made,
    study: ArchivedStudy,
    places: Places,
    cases: CaseStore,
    records: Records,
    watch: Stopwatch,
    progress: Progress,
) -> Path | None:
    """Send a result of an archived study to the archive; while the site is silent, keep it in the home.

    Pictures come after the objects: a disk that is full keeps no result from the archive. The study is not
    done without them, and the same call completes it.

    Parameters
    ----------
    made
        The result.
    study
        As the archive lists it.
    places
        Where results go, and where they are kept.
    cases
        The site's key makes the pseudonyms.
    records
        Say whether the site speaks.
    watch
        Times the steps `store` and `picture`.
    progress
        Told where the result goes.

    Returns
    -------
    Path or None
        The folder where it is kept; None if it was sent.

    Raises
    ------
    StoredDiffers
        If the archive holds another object in the place of one of the result's; that is on record.
    StorageFailed
        If it can be neither stored nor kept, or its pictures cannot be kept.
    PacsFailed
        If the archive answered with an error, or not at all.
    """
    if speaks(records):
        with watch.step("store"):
            progress("storing the objects in the archive")
            _note_sent(made, records)
            made.record(records)  # first: no SEG of ours in the archive may pass for a stranger's
            _store(made, places.archive, records)
        if places.pictures is not None:
            with watch.step("picture"):
                progress("making pictures of the organs")
                keep_pictures(made.key, made.series, made.findings, places.pictures, cases, records)
        list_for_readers(made, cases, records, urgent=study.urgent)  # once the archive can show it
        note_segmented(study, cases, records)
        return None
    progress(SILENCE)
    with watch.step("store"):
        folder = _kept(made, places.unsent, cases, records)
    where = folder.relative_to(places.unsent.folder.parent)
    detail = f"Results were made and not sent: the site is silent. They lie in {where} of the home."
    note_made(study, SILENT, detail, records)
    return folder


def _kept(made: Made, unsent: UnsentResults, cases: CaseStore, records: Records) -> Path:
    """Keep a result in the home and put it on record; return its folder."""
    patient = cases.pseudonym(patient_of(made.series) or "")
    series = cases.pseudonym(made.series.series_uid)
    slices = PlacedSeries.of(made.series).to_bytes()
    folder, files = unsent.keep(patient, series, made.key, made.objects, slices)
    organ_seg = next(one.sop_instance_uid for one in made.objects if one.kind == ORGAN_SEG)
    event = ResultKept(
        result=made.key,
        study_uid=made.series.study_uid,
        release=made.findings.release,
        files=files,
        unseen=records.find_result(organ_seg) is None,
    )
    records.record(event, who="segment_study", key=event.key(made.key))
    made.record(records)  # after it: a result that is only kept is known to be
    return folder


def _note_sent(made: Made, log: Log) -> None:
    """Put on record that a result which was only kept goes to the archive."""
    if is_unsent(made.key, log):
        event = KeptResultSent(
            result=made.key, study_uid=made.series.study_uid, release=made.findings.release
        )
        log.record(event, who="segment_study", key=event.key(made.key))


def _store(made: Made, archive: Archive, log: Log) -> None:
    """Store the objects in the archive; if it holds another in the place of one, put that on record."""
    try:
        archive.store(made.objects)
    except StoredDiffers as differs:
        event = ResultDiffers(
            result=made.key,
            study_uid=made.series.study_uid,
            release=made.findings.release,
            sop_instance_uid=differs.sop_instance_uid,
        )
        log.record(event, who="segment_study")
        raise
