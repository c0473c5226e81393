"""The document of the `segment` verb."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from flows.segmentation.first_look import FirstLook, first_look
from models.documents import LEFT_OUT
from models.findings import Figure, OrganFinding, StudyFindings
from models.judgement.between_organs import is_part
from models.uids import SeriesUid, SopUid, StudyUid
from models.weights_source import WeightsSource
from services.dicom.ct.loaded import CTSeries
from services.dicom.results.write import ResultObject


@dataclass(frozen=True)
class WrittenObject:
    """One DICOM object; it has a path only where it was written to a folder."""

    kind: str
    uid: SopUid
    path: Annotated[str | None, LEFT_OUT] = None

    @property
    def place(self) -> str:
        """Where it is: its file, or its UID in the archive."""
        return self.path or f"{self.kind:10} {self.uid} in the archive"


@dataclass(frozen=True)
class FoundOrgan:
    """What is said of one organ; fields as `models.findings.OrganFinding`, the volume to 0.01 ml.

    Of `shared_voxels`, by organ, those of the CT that another organ has too.
    """

    organ: str
    presence: str
    cut_by_field_of_view: bool
    volume_ml: float
    flag: str | None
    reasons: tuple[str, ...]
    dsc_lower_bound: float | None
    entropy: float | None
    disagreement: float | None
    member_disagreement: float | None
    importance_ml: float | None
    band_ml: float | None
    shared_voxels: Mapping[str, int]
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True)
class StrangeFact:
    """A fact of the acquisition that is not as it usually is, and the range of what is."""

    fact: str
    value: float
    usual: tuple[float, ...]


@dataclass(frozen=True)
class NotUsed:
    """An object under the UID of the series that is none of its slices.

    Parameters
    ----------
    sop_instance_uid
        Its UID; of what is none, how many characters it has.
    modality
        What it is.
    code
        Why it was set aside: `not-ct`, `localizer-excluded`, or `duplicate-positions` for a copy.
    """

    sop_instance_uid: str
    modality: str
    code: str


@dataclass(frozen=True)
class Segmented:
    """The document of the `segment` verb.

    Parameters
    ----------
    study_uid, series_uid
        What was segmented.
    release
        Number of the release that answered.
    verdict, notes
        On the series, and what a reader is told of it.
    set_aside
        What else bears the UID of the series, and decided nothing.
    objects
        What was written.
    organs
        What was found.
    audited
        Whether the study was drawn for the random audit.
    importance_ml
        How much of it may be wrong.
    strange
        What of its acquisition is unusual.
    seconds
        By step, and ``total``.
    targets
        SHA-256 of what the site has established of organs (`models.targets`); left out where the catalogue
        alone counts.
    silent
        Whether the site was silent: then what would have gone to the archive is kept in the home.
    first_look
        Where a reader should look first; left out where nothing is flagged, or nothing was sent to the
        archive, where a viewer finds it.
    weights
        Whose weights the release has; left out where nobody said so.
    """

    study_uid: StudyUid
    series_uid: SeriesUid
    release: int
    verdict: str
    notes: tuple[str, ...]
    set_aside: tuple[NotUsed, ...]
    objects: tuple[WrittenObject, ...]
    organs: tuple[FoundOrgan, ...]
    audited: bool
    importance_ml: float
    strange: tuple[StrangeFact, ...]
    seconds: Mapping[str, float]
    targets: Annotated[str | None, LEFT_OUT] = None
    silent: bool = False
    first_look: Annotated[FirstLook | None, LEFT_OUT] = None
    weights: Annotated[WeightsSource | None, LEFT_OUT] = None

    @property
    def conflicts(self) -> tuple[tuple[str, str, int], ...]:
        """Two organs, and how many voxels both have; the most first. A part of the other is none."""
        order = [one.organ for one in self.organs]
        pairs = [
            (one.organ, other, voxels)
            for n, one in enumerate(self.organs)
            for other, voxels in one.shared_voxels.items()
            if order.index(other) > n and not is_part(one.organ, other)
        ]
        return tuple(sorted(pairs, key=lambda pair: -pair[2]))

    def path_of(self, kind: str) -> Path | None:
        """Return where an object of a kind was stored; None if there is none."""
        return next((Path(one.path) for one in self.objects if one.kind == kind and one.path), None)


def document_of(
    series: CTSeries,
    findings: StudyFindings,
    objects: tuple[ResultObject, ...],
    set_aside: tuple[NotUsed, ...],
    out: Path | None,
    seconds: Mapping[str, float],
    *,
    silent_site: bool = False,
) -> Segmented:
    """Return what is said of a study.

    Parameters
    ----------
    series, findings, objects
        What was segmented, found and written.
    set_aside
        What else bears the UID of the series.
    out
        Folder the objects were written to, if any.
    seconds
        By step.
    silent_site
        Whether that folder is in place of the archive, because the site is silent.
    """
    return Segmented(
        study_uid=series.study_uid,
        series_uid=series.series_uid,
        release=findings.release,
        verdict=series.verdict.verdict,
        notes=tuple(series.verdict.notes),
        set_aside=set_aside,
        objects=tuple(
            WrittenObject(one.kind, one.sop_instance_uid, None if out is None else str(out / one.file_name))
            for one in objects
        ),
        organs=tuple(_organ(one, findings.shared_voxels.get(one.organ, {})) for one in findings.organs),
        audited=findings.audited,
        importance_ml=findings.importance_ml,
        strange=tuple(StrangeFact(one.name, one.value, tuple(one.usual)) for one in findings.strange),
        seconds=seconds,
        targets=findings.targets,
        silent=silent_site,
        first_look=first_look(series, findings, objects[0].series_uid) if out is None else None,
        weights=findings.weights,
    )


def _organ(found: OrganFinding, shared: Mapping[str, int]) -> FoundOrgan:
    return FoundOrgan(
        organ=found.organ,
        presence=found.presence,
        cut_by_field_of_view=found.cut_by_field_of_view,
        volume_ml=round(found.volume_ml, 2),
        flag=found.flag,
        reasons=tuple(found.reasons),
        dsc_lower_bound=found.dsc_lower_bound,
        entropy=found.entropy,
        disagreement=found.disagreement,
        member_disagreement=found.member_disagreement,
        importance_ml=found.importance_ml,
        band_ml=found.band_ml,
        shared_voxels=dict(shared),
        figures=found.figures,
    )
