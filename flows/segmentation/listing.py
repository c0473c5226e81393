"""A result on its way to the readers' worklist."""

from __future__ import annotations

from flows.segmentation.made import Made
from models.findings import OrganFinding, StudyFindings
from models.judgement.reading_order import rank_of
from services.cases.store import CaseStore
from services.dicom.ct.provenance import patient_of, site_of
from services.dicom.results.organ_seg import organs_asked
from services.records.entries.reading import Listed, OrganSaid
from services.records.port import Records


def list_for_readers(made: Made, cases: CaseStore, records: Records, *, urgent: bool) -> None:
    """Put a result that the archive holds on the readers' worklist; told again, nothing.

    Parameters
    ----------
    made
        The result, which is on record.
    cases
        The site's key makes the names of study and patient.
    records
        Where the worklist is.
    urgent
        Whether the study was requested so.
    """
    series, findings = made.series, made.findings
    page = cases.page_of(series.study_uid)
    rank = rank_of(findings.organs, urgent=urgent, audited=findings.audited, page=page)
    listed = Listed(
        study_uid=series.study_uid,
        series_uid=series.series_uid,
        result=made.key,
        release=findings.release,
        seg_series_uid=made.objects[0].series_uid,
        page=page,
        patient=cases.pseudonym(patient_of(series) or f"nobody's {series.study_uid}"),
        site=site_of(series),
        rank=rank.rank,
        doubt_ml=rank.doubt_ml,
        audited=findings.audited,
    )
    records.list_study(listed, _said(findings))


def _said(findings: StudyFindings) -> tuple[OrganSaid, ...]:
    asked = organs_asked(findings)
    return tuple(
        _organ(one, asked.index(one.organ) + 1 if one.organ in asked else None) for one in findings.organs
    )


def _organ(finding: OrganFinding, segment: int | None) -> OrganSaid:
    return OrganSaid(
        organ=finding.organ,
        presence=finding.presence,
        flag=finding.flag,
        reasons=tuple(finding.reasons),
        cut_by_field_of_view=finding.cut_by_field_of_view,
        volume_ml=finding.volume_ml,
        dsc_lower_bound=finding.dsc_lower_bound,
        confidence=finding.confidence,
        band_ml=finding.band_ml,
        importance_ml=finding.importance_ml,
        segment=segment,
        figures=finding.figures,
    )
