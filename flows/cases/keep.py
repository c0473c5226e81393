"""Cases with truth for the gate, for calibration and for tuning; and a reader's act of acceptance."""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

from flows.cases.independent_truth import require_independent
from flows.progress import Progress, silent
from flows.serving.serve import current
from models.body import body_mask
from models.corrections.ledger import INDEPENDENT, HybridLabel, Provenance
from models.errors import ReadFailed, Refused
from models.inference.question import asked_volume, told_of_axes
from models.masks import BoxedMask
from models.organs import LEFT, RIGHT, Organ
from models.release import Release
from models.uids import SeriesUid, StudyUid
from services.cases.store import CaseContent
from services.dicom.ct.chosen import choose_series
from services.dicom.ct.loaded import CTSeries, load
from services.dicom.ct.phantom_series import read_truth
from services.dicom.ct.provenance import acquisition_of, patient_of, site_of
from services.dicom.ct.series import read_series
from services.dicom.returned.claims import (
    Claim,
    Doubt,
    Question,
    without_doubtful_sides,
    without_swapped_sides,
)
from services.dicom.returned.further import lies_crosswise
from services.dicom.returned.sides import Region
from services.dicom.seg.bounded import open_seg
from services.dicom.seg.files import cited_series, find_seg
from services.dicom.seg.names import (
    further_by_code,
    further_by_label,
    further_may_be,
    organ_by_code,
    organ_by_label,
    type_may_be,
)
from services.dicom.seg.reader import ReadSegment, SegObject, read_seg
from services.pacs.unsent import UnsentResults
from services.records.entries.cases import Case, Purpose
from services.records.port import Records
from services.releases.store import ReleaseStore
from services.wiring import Services

ORIGIN = re.compile(rf"{INDEPENDENT}|(edited|accepted)-from-[1-9]\d*")


def add_case(
    source: Path,
    truth: Path,
    purpose: Purpose,
    origin: str,
    services: Services,
    *,
    site: str | None = None,
    release: Release | None = None,
    progress: Progress = silent,
) -> Case:
    """Take a CT study with its truth into the set of a purpose; told again, it is there once.

    Parameters
    ----------
    source
        Folder with the study's DICOM files.
    truth
        ``truth.npz`` of `organloop phantom`, or a SEG (file or folder) drawn on this series.
    purpose
        What the case is kept for.
    origin
        Of the truth: `independent`, ``edited-from-N`` or ``accepted-from-N``.
    services
        What to work with.
    site
        Label of scanner and protocol; by default InstitutionName.
    release
        On whose grid and by whose organs it is kept; None: those of the one that serves.
    progress
        Told each step.

    Raises
    ------
    Refused
        If the series cannot be used, shows no body (`no-body`) or names no patient
        (`missing-patient-id`), the truth is not on its grid (`truth-off-grid`), names an organ twice,
        none, or one that its code contradicts (`truth-unreadable`) or lacks one the gate needs
        (`truth-incomplete`), the origin is none (`unknown-origin`), the truth comes from
        our result or an algorithm and is said to be independent (`not-independent`), or a kidney
        lies on the other side (`sides-swapped`); as `require_independent`, `cited_series`, `read_seg` and
        `CaseStore.add`.
    StorageFailed
        If the case cannot be kept.
    """
    if not ORIGIN.fullmatch(origin):
        raise Refused("unknown-origin", "a truth is independent, edited-from-N or accepted-from-N")
    contract = (release or current(services.releases, services.records)).contract
    further = () if contract.further is None else contract.further.organs
    progress(f"reading {source}")
    readings = read_series(source)
    if truth.suffix == ".npz":
        ct = load(choose_series(readings, services.settings.series_rules))
        masks = _written_truth(truth, ct)
    else:
        opened = open_seg(find_seg(truth))
        ct = load(cited_series(readings, opened))
        seg = read_seg(opened, ct)
        if origin == INDEPENDENT:
            kept = UnsentResults(services.settings.unsent_store).of_series(
                services.cases.pseudonym(patient_of(ct) or ""), services.cases.pseudonym(ct.series_uid)
            )
            require_independent(
                seg, ct, source, services.records, services.archive, kept, services.settings.work_folder
            )
        masks = _drawn_in_seg(seg, origin, further)
        _require_sides(seg, masks, ct)
        _require_sides_of(further, masks, ct)
    patient = patient_of(ct)
    if patient is None:
        raise Refused("missing-patient-id", "the CT names no patient, who may be in another set")
    missing = [organ for organ in contract.organs if organ not in masks]
    some = contract.recipe is not None and len(missing) < len(contract.organs)
    if missing and purpose is Purpose.GATE and not some:
        which = "every organ" if contract.recipe is None else "one organ at least"
        detail = f"a gate case needs truth of {which}; there is none of {', '.join(missing)}"
        raise Refused("truth-incomplete", detail, {"missing": missing})
    told_of_axes(ct.volume.geometry, contract)  # what no result is made of is no case
    volume = asked_volume(ct.volume, contract)
    body_mask(volume.hu)  # no release could answer it: gate and calibration would end there, every time
    content = CaseContent(
        volume=volume,
        ct=ct.volume.geometry,
        sent={},
        # What the release that serves does not know yet, a candidate with a new organ is measured by.
        labels={o: HybridLabel(masks[o], Provenance.READER) for o in contract.known if o in masks},
    )
    progress("keeping the case")
    where = site_of(ct) if site is None else site
    return services.cases.add(
        services.records, ct.series_uid, patient, purpose, origin, content, where, acquisition_of(ct)
    )


def _written_truth(path: Path, ct: CTSeries) -> dict[str, BoxedMask]:
    """Return the mask of each organ in a ``truth.npz``, on the CT grid."""
    try:
        masks, grid = read_truth(path)
    except FileNotFoundError:
        raise Refused("truth-unreadable", f"there is no file {path.name}") from None
    except (BadZipFile, ValueError, LookupError, EOFError, zlib.error) as error:
        raise Refused("truth-unreadable", f"{path.name} is damaged") from error
    except OSError as error:
        raise ReadFailed(f"{path.name} cannot be read: {error.strerror}.") from error
    if not grid.same_grid(ct.volume.geometry):
        raise Refused("truth-off-grid", f"{path.name} was drawn on another grid than the series'")
    return masks


def _drawn_in_seg(seg: SegObject, origin: str, further: Sequence[Organ]) -> dict[str, BoxedMask]:
    """Return the mask of each organ that a SEG names, on the CT grid."""
    masks: dict[str, BoxedMask] = {}
    for segment in seg.segments:
        organ = _organ_of(segment, further)
        if organ is None:
            continue  # a SEG may hold more than our organs
        if organ in masks:
            raise Refused("truth-unreadable", f"two segments are the {organ}", {"segment": segment.number})
        if origin == INDEPENDENT and segment.automatic:
            detail = f"an algorithm drew the {organ}, by its SegmentAlgorithmType"
            raise Refused("not-independent", detail, {"segment": segment.number})
        masks[organ] = segment.mask
    if not masks:
        raise Refused("truth-unreadable", "no segment names an organ of the catalogue or the release")
    return masks


def _require_sides(seg: SegObject, masks: Mapping[str, BoxedMask], ct: CTSeries) -> None:
    """Refuse a kidney that lies on the other's side, of the other or of the body."""
    whose = {id(mask): organ for organ, mask in masks.items()}
    claims: list[Claim] = [whose.get(id(segment.mask)) for segment in seg.segments]
    theirs = [(segment, Region(segment.mask, ct.volume.geometry)) for segment in seg.segments]
    for found in without_doubtful_sides(without_swapped_sides(claims, theirs, {}), theirs, {}):
        if isinstance(found, Question):
            detail = f"the {found.candidates[0]} lies on the other side"
            raise Refused(Doubt.SIDES_SWAPPED, detail, {"segment": found.segment})


def _require_sides_of(further: Sequence[Organ], masks: Mapping[str, BoxedMask], ct: CTSeries) -> None:
    """Refuse an organ outside the catalogue that lies on the wrong side of its partner, if both are drawn."""
    drawn = {
        (entry.type, entry.region, entry.laterality): (entry.key, Region(mask, ct.volume.geometry))
        for entry in further
        if (mask := masks.get(entry.key)) is not None
    }
    for (type_, region, side), (key, right) in drawn.items():
        if side != RIGHT or (type_, region, LEFT) not in drawn:
            continue
        other, left = drawn[type_, region, LEFT]
        if lies_crosswise(right, left):
            detail = f"the {key} lies to the left of the {other}"
            raise Refused(Doubt.SIDES_SWAPPED, detail, {"right_x_mm": right.x_mm, "left_x_mm": left.x_mm})


def _organ_of(segment: ReadSegment, further: Sequence[Organ]) -> str | None:
    """Return the organ that code and label of a segment agree on; there are no voxels here to settle it."""
    own = further_by_label(segment.label, further)
    if own is not None and not further_may_be(own, segment.type, segment.laterality):
        detail = f"a segment is labelled as the {own.key} and coded as something else"
        raise Refused("truth-unreadable", detail, {"segment": segment.number})
    own = own or further_by_code(segment.type, segment.laterality, further)
    if own is not None and organ_by_label(segment.label) is None:
        return own.key
    by_label = organ_by_label(segment.label)
    if by_label is not None and not type_may_be(by_label, segment.type, segment.laterality):
        detail = f"a segment is labelled as the {by_label} and coded as something else"
        raise Refused("truth-unreadable", detail, {"segment": segment.number})
    return organ_by_code(segment.type, segment.laterality) or by_label


@dataclass(frozen=True)
class Accepted:
    """The document of the `accept` verb.

    Parameters
    ----------
    study_uid, series_uid, release
        Of the result.
    organs
        All that are accepted by now.
    reader
        Whose act it is.
    """

    study_uid: StudyUid
    series_uid: SeriesUid
    release: int
    organs: tuple[str, ...]
    reader: str


def accept(
    study_uid: StudyUid,
    organs: Collection[str],
    reader: str,
    records: Records,
    releases: ReleaseStore,
    series_uid: SeriesUid | None = None,
) -> Accepted:
    """Record that a reader accepts organs of the result written last of a CT series, as they are.

    Parameters
    ----------
    study_uid
        The study.
    organs
        Organs accepted.
    reader
        Whose act it is.
    records
        What is on record of the study, and where the acceptance goes.
    releases
        Which organs the release has.
    series_uid
        The CT series; by default the one of the study that has results.

    Raises
    ------
    Refused
        `no-result` if nothing of the study (and series) is on record, `several-series` if results of more
        than one are, `unknown-organ`, `no-name`.
    """
    if not reader.strip():
        raise Refused("no-name", "an acceptance is an act with a name")
    results = records.results_of_study(study_uid)
    found = [one for one in results if series_uid in (None, one.series_uid)]
    if not found:
        raise Refused("no-result", f"no result of study {study_uid} is on record")
    series = sorted({one.series_uid for one in found})
    if len(series) > 1:
        detail = f"the study has results of series {', '.join(series)}: name one with --series"
        raise Refused("several-series", detail, {"series": len(series)})
    result = found[-1]
    known = releases.release(result.release).contract.organs
    unknown = sorted(set(organs) - set(known))
    if unknown or not organs:
        detail = f"{', '.join(unknown) or 'no organ'} named; release {result.release} has {', '.join(known)}"
        raise Refused("unknown-organ", detail)
    records.record_acceptance(study_uid, result.series_uid, result.release, organs, reader)
    accepted = records.accepted_organs(result.series_uid, result.release)
    organs = tuple(organ for organ in known if organ in accepted)
    return Accepted(study_uid, result.series_uid, result.release, organs, reader)
