"""Segment one CT study: examine it, serve it, say what was found, prove it, store it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from flows.arrivals.archived_study import (
    fetch,
    is_archived,
    note_refused,
    require_all_read,
    required,
    what_changed,
)
from flows.arrivals.one_run import one_run
from flows.calibration.random_audit import is_drawn
from flows.cases.kept_features import keep_features
from flows.progress import Progress, silent
from flows.segmentation.delivery import Places, deliver
from flows.segmentation.document import NotUsed, Segmented, document_of
from flows.segmentation.made import Made
from flows.segmentation.memory import study_memory
from flows.serving.proof import prove_served
from flows.serving.serve import incumbent
from models.errors import Refused
from models.findings import StudyFindings
from models.inference.question import answered_volume, asked_volume, told_grid, told_of_axes
from models.judgement.assess import assess
from models.organs import CATALOGUE
from models.release import Release
from models.series.terms import MODALITIES, term, uid_or_length
from models.series.verdict import Code
from models.uids import StudyUid
from services.dicom.ct.chosen import choose_series
from services.dicom.ct.loaded import CTSeries, load
from services.dicom.ct.series import SeriesReading, read_series
from services.dicom.foreign.listing import ListedFile
from services.dicom.identity import WRITER_VERSION
from services.dicom.results.write import ResultObject, receiver, write_results
from services.pacs.folder import FolderPacs
from services.pacs.kinds import CT
from services.pacs.port import ArchivedStudy
from services.pacs.unsent import UnsentResults
from services.pictures.kept import StudyPictures
from services.pictures.summary_page import summary_page
from services.records.port import Log, Records
from services.stopwatch import Stopwatch
from services.wiring import Services
from services.work_folder import work_folder


@dataclass(frozen=True, eq=False)
class SegmentedStudy:
    """What came of one study.

    Parameters
    ----------
    series
        The CT series that was segmented.
    findings
        What is said about it.
    objects
        The DICOM objects, proven.
    document
        What the `segment` verb says.
    """

    series: CTSeries
    findings: StudyFindings
    objects: tuple[ResultObject, ...]
    document: Segmented


def segment(
    source: str | Path,
    out: Path | None,
    services: Services,
    *,
    release: int | None = None,
    organs: Collection[str] | None = None,
    makes_identifiers: bool = False,
    now: Callable[[], datetime] = lambda: datetime.now(UTC).astimezone(),
    progress: Progress = silent,
) -> SegmentedStudy:
    """Segment a CT study and store the results where it came from, or in a folder that is named.

    Parameters
    ----------
    source
        Folder with the study's DICOM files, in which nothing is changed; or the UID of a study in the
        archive. What is there as a path is a path.
    out
        Folder for the results, in place of the archive; a new one appears with all of them, see
        `FolderPacs.store`. By default results of an archived study go to the archive, or are kept in the home
        while the site is silent (`flows.segmentation.delivery`). Those of a folder go to a folder of this
        result's own, ``results/<study UID>/<key>`` in the home.
    services
        What to work with.
    release
        Number of the release that must answer; by default the incumbent.
    organs
        Organs asked for, keys of the catalogue; None: all that the release segments.
    makes_identifiers
        Whether identifiers that images of a folder lack are made, see `read_series`.
    now
        The clock; the time a result was first written is kept when it is written again.
    progress
        Told each step.

    Raises
    ------
    Refused
        If no series of the study can be segmented safely, with code and measured numbers; `askew-axes`; of an
        archived study also as `flows.arrivals.archived_study.fetch`.
    InvalidRelease
        If the release asked for is not in the store, or a GPU server answers otherwise than was proven.
    ServingFailed
        If the segmenter could not answer.
    ProofFailed
        If an object read back differs from what was meant.
    StoredDiffers
        If the archive holds another object in the place of one of the result's; that is on record.
    StorageFailed
        If the results cannot be stored; in a folder nothing half-written is left, and what the archive took
        is completed when the step is repeated.
    PacsFailed
        If the archive answered with an error, or not at all.
    LeaseLost
        If another run of the archived study was started meanwhile: this one put nothing more on record.
    ReadFailed
        If not every file can be read that was listed, or that the archive lists of the series.
    """
    watch = Stopwatch()
    asked = _Question(release, organs, now, makes_identifiers and not is_archived(source))
    if not is_archived(source):
        made = _make(Path(source), services, asked, watch, progress)
        if out is None:
            out = services.settings.home / "results" / made.series.study_uid / made.key[:16]
        return _into_folder(made, out, services.records, watch)
    with one_run(f"segment:{source}", services.records) as records:
        return _segment_archived(
            StudyUid(str(source)), out, replace(services, records=records), asked, watch, progress
        )


def _segment_archived(
    source: StudyUid,
    out: Path | None,
    services: Services,
    asked: _Question,
    watch: Stopwatch,
    progress: Progress,
) -> SegmentedStudy:
    """Fetch, make and deliver; raises as `segment`."""
    archive = required(services.archive)
    with work_folder(services.settings.work_folder) as work:
        with watch.step("fetch"):
            progress(f"fetching study {source}")
            study, files = fetch(source, work, archive, services.cases, services.records)
            asked = replace(asked, archived=study, notes=what_changed(study, services.records))
        if out is not None:
            return _into_folder(_make(files, services, asked, watch, progress), out, services.records, watch)
        try:
            made = _make(files, services, asked, watch, progress)
        except Refused as refused:
            note_refused(study, refused, services.records)
            raise
    settings = services.settings
    pictures = StudyPictures(settings.pictures_folder) if settings.keep_pictures_days > 0 else None
    places = Places(archive, UnsentResults(settings.unsent_store), pictures)
    kept = deliver(made, study, places, services.cases, services.records, watch, progress)
    return _segmented(made, kept, services.records, watch, silent_site=kept is not None)


@dataclass(frozen=True)
class _Question:
    release: int | None
    organs: Collection[str] | None
    now: Callable[[], datetime]
    makes_identifiers: bool = False
    archived: ArchivedStudy | None = None
    notes: tuple[str, ...] = ()


def _make(
    images: Path | list[ListedFile],
    services: Services,
    asked: _Question,
    watch: Stopwatch,
    progress: Progress,
) -> Made:
    """Read, serve, assess, write and prove; raises as `segment`."""
    chosen = services.releases.release(
        incumbent(services.records) if asked.release is None else asked.release
    )
    with watch.step("read"):
        progress(f"reading {images if isinstance(images, Path) else f'{len(images)} CT images'}")
        room = study_memory(services.settings, chosen)
        readings = read_series(images, makes_identifiers=asked.makes_identifiers, require=room.require)
        chosen_series = _chosen(readings, services.settings.series_rules, asked.archived)
        series = load(chosen_series)
        leaning = told_of_axes(series.volume.geometry, chosen.contract)
        if notes := (*asked.notes, *filter(None, (leaning,))):
            said = replace(series.verdict, notes=(*series.verdict.notes, *notes))
            series = replace(series, verdict=said)
    organs = chosen.contract.organs if asked.organs is None else asked.organs
    with watch.step("resample"):
        asked_about = asked_volume(series.volume, chosen.contract)
    with watch.step("serve"):
        progress(f"asking release {chosen.number}: {series.volume.geometry.shape} voxels")
        prove_served(
            chosen,
            services.segmenter,
            services.repository,
            services.releases,
            services.settings.threads,
            services.records,
            progress,
        )
        sampled = services.settings.keep_features_days > 0
        ct = told_grid(asked_about, chosen.contract)
        answer = services.segmenter.segment(asked_about.hu, chosen.number, sampled, ct)
        profile = services.segmenter.profile(chosen.number)
        if sampled:
            keep_features(services.cases, services.records, series, chosen, asked_about.hu, answer, progress)
    with watch.step("assess"):
        audited = is_drawn(series.study_uid, services.cases, services.settings.audit_share)
        grid, doubted = series.volume.geometry, series.verdict.doubted
        model_volume = answered_volume(asked_about, answer)
        findings = assess(
            answer, model_volume, grid, chosen, profile, organs, audited, doubted, services.targets
        )
        del answer, model_volume, asked_about  # what is written takes as much again
    with watch.step("write"):
        progress("writing and proving the DICOM objects")
        settings = settings_digest(profile, organs, audited, findings.targets)
        seg_profile, flags_in_labels = services.settings.seg_profile, services.settings.seg_label_flags
        page = summary_page(series, findings) if services.settings.secondary_capture else None
        to = receiver(seg_profile, flags_in_labels=flags_in_labels, summary=page is not None)
        key = result_key(series, chosen, to, settings)
        written_at = services.records.first_written(key, asked.now())
        objects = write_results(
            series,
            findings,
            profile=seg_profile,
            flags_in_labels=flags_in_labels,
            page=page,
            written_at=written_at,
            settings_digest=settings,
        )
    return Made(series, findings, objects, tuple(_not_used(chosen_series, asked.archived)), key)


def _not_used(reading: SeriesReading, archived: ArchivedStudy | None) -> Iterator[NotUsed]:
    """Yield what bears the UID of a series and was not used; of an archived one, others were not fetched."""
    for one in reading.set_aside:
        yield NotUsed(uid_or_length(one.sop_instance_uid), one.modality, one.code)
    for series in archived.series if archived else ():
        if series.series_uid == reading.series_uid and series.modality != CT:
            for uid in series.sop_instance_uids:
                yield NotUsed(uid_or_length(uid), term(series.modality, MODALITIES), Code.NOT_CT)


def _chosen(
    readings: list[SeriesReading], rules: Path | None, archived: ArchivedStudy | None
) -> SeriesReading:
    """Return the series to segment; what could not be read of an archived study decides nothing."""
    try:
        chosen = choose_series(readings, rules)
    except Refused:
        if archived is not None:
            require_all_read(archived, readings)
        raise
    if archived is not None:
        require_all_read(archived, readings, chosen)
    return chosen


def _into_folder(made: Made, out: Path, records: Records, watch: Stopwatch) -> SegmentedStudy:
    with watch.step("store"):
        FolderPacs(out).store(made.objects)
        made.record(records)
    return _segmented(made, out, records, watch)


def _segmented(
    made: Made, out: Path | None, log: Log, watch: Stopwatch, *, silent_site: bool = False
) -> SegmentedStudy:
    seconds = watch.seconds()
    document = document_of(
        made.series, made.findings, made.objects, made.set_aside, out, seconds, silent_site=silent_site
    )
    made.record_cost(seconds, log)
    return SegmentedStudy(made.series, made.findings, made.objects, document)


def settings_digest(
    serving_profile: str, organs: Collection[str], audited: bool = False, targets: str | None = None
) -> str:
    """Return the digest of all that may change the objects beside images, release and SEG profile.

    Other bits are served in another profile; other rules, words, codes or colours come with another
    version of the program or another catalogue. An object written under them needs a UID of its own.

    Parameters
    ----------
    serving_profile
        In which the release answered.
    organs
        Organs asked for; their order says nothing.
    audited
        Whether the study was drawn for the random audit.
    targets
        Digest of what the site has established; None where the catalogue alone counts.
    """
    drawn = ["audited"] if audited else []
    judged_by = [] if targets is None else [f"targets {targets}"]
    words = [serving_profile, version("organloop"), repr(CATALOGUE), *sorted(organs), *drawn, *judged_by]
    return digest(words)


def result_key(series: CTSeries, release: Release, seg_profile: str, settings: str) -> str:
    """Return the key under which the same step is the same result: images, release, settings, writer.

    Parameters
    ----------
    series
        Its images went in.
    release
        Which was asked.
    seg_profile
        Profile of the organ SEG, with its option (`receiver`).
    settings
        As of `settings_digest`.
    """
    images = sorted(str(image.SOPInstanceUID) for image in series.images)
    return digest([release.digest, seg_profile, settings, WRITER_VERSION, *images])


def digest(words: Collection[str]) -> str:
    """Return the SHA-256 of a list of words."""
    return sha256("\n".join(words).encode()).hexdigest()
