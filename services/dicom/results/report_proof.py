"""Proof of the SR: its content tree, read back, says about every organ and region what was meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pydicom.dataset import Dataset

from models.errors import ProofFailed
from models.findings import OrganFinding, Presence, ReviewRegion, StudyFindings
from models.judgement.reasons import Reason
from models.organs import Code, Organ
from models.uids import SopUid
from services.dicom.ct.loaded import CTSeries
from services.dicom.identity import tracking_uid
from services.dicom.results import private_codes as own
from services.dicom.results.heading import Heading
from services.dicom.results.proof import read_back, same
from services.dicom.results.report_sr import DECIMALS, WHOLE_SECTION, Reference, floored, statements
from services.dicom.results.review_seg import SELECTED_REGION, SPATIAL_CONCEPT, region_tracking_id

_TITLE = Code("126000", "DCM", "Imaging Measurement Report")
_GROUP = "125007"  # DCM, Measurement Group
_TRACKING_ID = "112039"
_TRACKING_UID = "112040"
_FINDING_CATEGORY = "276214006"
_FINDING_TYPE = "121071"
_FINDING_SITE = "363698007"
_ALGORITHM_VERSION = "111003"
_SOURCE_SERIES = "121232"
_VOLUME = "118565006"


class Statement(NamedTuple):
    """What one measurement group says; code values, numbers with their unit, and what it refers to."""

    template: str
    category: str
    type: str
    site: tuple[str, str | None]
    version: str
    evaluations: tuple[tuple[str, str], ...]
    numbers: tuple[tuple[str, float, str], ...]
    segment: tuple[str, int] | None
    images: tuple[str, ...]
    series: str | None
    tracking_uid: str | None


def prove_report(
    content: bytes,
    series: CTSeries,
    findings: StudyFindings,
    heading: Heading,
    references: Sequence[Reference],
) -> None:
    """Compare a report, read back, with the findings.

    Raises
    ------
    ProofFailed
        On the first difference; the message names the group.
    """
    dataset = read_back(content, series.images[0], heading)
    same("title", _code(dataset.ConceptNameCodeSequence[0]), _TITLE.value)
    same("template", dataset.ContentTemplateSequence[0].TemplateIdentifier, "1500")
    schemes = {item.CodingSchemeDesignator for item in dataset.CodingSchemeIdentificationSequence}
    same("coding schemes", schemes, {own.SCHEME})
    found = _statements(dataset)
    meant = _meant(series, findings, references)
    same("measurement groups", list(found), list(meant))
    for name, statement in meant.items():
        for field, said, intended in zip(Statement._fields, found[name], statement, strict=True):
            same(f"{name}: {field}", said, intended)
    told = [
        (_name(text), str(text.TextValue))
        for item in dataset.ContentSequence
        if _name(item) == WHOLE_SECTION.value
        for text in item.ContentSequence
    ]
    same(
        "said of the whole", told, [(name.value, text) for name, text in statements(series.verdict, findings)]
    )
    _prove_evidence(dataset, found)


def _meant(
    series: CTSeries, findings: StudyFindings, references: Sequence[Reference]
) -> Mapping[str, Statement]:
    images = tuple(SopUid(str(image.SOPInstanceUID)) for image in series.images)
    meant = {}
    number = 0
    for finding in findings.organs:
        entry = findings.entry(finding.organ)
        number += finding.presence is not Presence.NOT_ASKED
        is_found = finding.presence is Presence.FOUND
        meant[finding.organ] = Statement(
            template="1411" if is_found else "1501",
            category=entry.category.value,
            type=entry.type.value,
            site=_site(entry),
            version=f"release {findings.release}",
            evaluations=_evaluations(finding, findings.demonstration),
            numbers=_numbers(finding),
            segment=(references[0].sop_instance_uid, number) if is_found else None,
            images=images if finding.presence is Presence.ABSENT else (),
            series=series.series_uid if is_found else None,
            tracking_uid=tracking_uid(entry.key, images),
        )
    for region in findings.regions:
        meant[region_tracking_id(region)] = _region(region, findings, references[1], images)
    return meant


def _region(
    region: ReviewRegion, findings: StudyFindings, review_seg: Reference, images: Sequence[str]
) -> Statement:
    first, last = region.slices
    return Statement(
        template="1411",
        category=SPATIAL_CONCEPT.value,
        type=SELECTED_REGION.value,
        site=_site(findings.entry(region.organ)),
        version=f"release {findings.release}",
        evaluations=(),
        numbers=(
            (_VOLUME, round(region.volume_ml, DECIMALS), "ml"),
            (own.EXPECTED_ERROR.value, round(region.expected_error_ml, DECIMALS), "ml"),
        ),
        segment=(review_seg.sop_instance_uid, region.rank),
        images=tuple(images[first : last + 1]),
        series=None,
        tracking_uid=None,
    )


def _site(entry: Organ) -> tuple[str, str | None]:
    site, side = entry.site
    return site.value, side.value if side else None


def _evaluations(finding: OrganFinding, demonstration: bool) -> tuple[tuple[str, str], ...]:
    said = [(own.PRESENCE, own.PRESENCES[finding.presence])]
    if finding.flag is not None:
        said.append((own.FLAG, own.FLAGS[finding.flag]))
        said.extend((own.REASON, own.REASONS[Reason(reason)]) for reason in finding.reasons)
    if finding.cut_by_field_of_view:
        said.append((own.FIELD_OF_VIEW, own.CUT))
    if demonstration:
        said.append((own.WEIGHTS, own.DEMONSTRATION))
    return tuple((name.value, value.value) for name, value in said)


def _numbers(finding: OrganFinding) -> tuple[tuple[str, float, str], ...]:
    said = []
    if finding.presence is Presence.FOUND:
        said.append((_VOLUME, round(finding.volume_ml, DECIMALS), "ml"))
    if finding.dsc_lower_bound is not None and finding.confidence is not None:
        said.append((own.DSC_BOUND.value, floored(finding.dsc_lower_bound), "1"))
        said.append((own.CONFIDENCE.value, finding.confidence, "1"))
    if finding.entropy is not None:
        said.append((own.ENTROPY.value, round(finding.entropy, DECIMALS), "1"))
    if finding.disagreement is not None:
        said.append((own.DISAGREEMENT.value, round(finding.disagreement, DECIMALS), "1"))
    if finding.member_disagreement is not None:
        said.append((own.MEMBER_DISAGREEMENT.value, round(finding.member_disagreement, DECIMALS), "1"))
    return tuple(said)


def _statements(dataset: Dataset) -> dict[str, Statement]:
    groups = [item for item in _items(dataset) if item.ValueType == "CONTAINER" and _name(item) == _GROUP]
    said: dict[str, Statement] = {}
    for group in groups:
        (tracking,) = (item.TextValue for item in group.ContentSequence if _name(item) == _TRACKING_ID)
        if tracking in said:
            raise ProofFailed(f"two measurement groups are called {tracking}")
        said[tracking] = _statement(group)
    return said


def _statement(group: Dataset) -> Statement:
    codes = {_name(i): i for i in group.ContentSequence if i.ValueType == "CODE"}
    texts = {_name(i): str(i.TextValue) for i in _items(group) if i.ValueType == "TEXT"}
    site, kind = codes[_FINDING_SITE], _value(codes[_FINDING_TYPE])
    laterality = [_value(item) for item in site.get("ContentSequence", ())]
    pictures = [i.ReferencedSOPSequence[0] for i in group.ContentSequence if i.ValueType == "IMAGE"]
    segments = [i for i in pictures if "ReferencedSegmentNumber" in i]
    if len(segments) > 1 or len(laterality) > 1:
        raise ProofFailed("a measurement group names two segments or two sides")
    return Statement(
        template=group.ContentTemplateSequence[0].TemplateIdentifier,
        category=_value(codes[_FINDING_CATEGORY]),
        type=kind,
        site=(_value(site), laterality[0] if laterality else None),
        version=texts[_ALGORITHM_VERSION],
        evaluations=tuple(
            (_name(item), _value(item))
            for item in group.ContentSequence
            if item.ValueType == "CODE"
            and item.ConceptNameCodeSequence[0].CodingSchemeDesignator == own.SCHEME
        ),
        numbers=tuple(_number(item) for item in group.ContentSequence if item.ValueType == "NUM"),
        segment=(str(segments[0].ReferencedSOPInstanceUID), int(segments[0].ReferencedSegmentNumber))
        if segments
        else None,
        images=tuple(str(i.ReferencedSOPInstanceUID) for i in pictures if "ReferencedSegmentNumber" not in i),
        series=_uid(group, _SOURCE_SERIES),
        # a region's own is not followed from result to result
        tracking_uid=None if kind == SELECTED_REGION.value else _uid(group, _TRACKING_UID),
    )


def _prove_evidence(dataset: Dataset, said: Mapping[str, Statement]) -> None:
    """Compare what the groups refer to with what the report lists as its evidence (PS3.3 C.17.2)."""
    listed = {
        str(instance.ReferencedSOPInstanceUID)
        for study in dataset.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    for name, statement in said.items():
        named = {*statement.images, *([statement.segment[0]] if statement.segment else [])}
        if not named <= listed:
            raise ProofFailed(f"{name} refers to objects that are not in the evidence: {named - listed}")


def _uid(group: Dataset, name: str) -> str | None:
    return next((str(item.UID) for item in group.ContentSequence if _name(item) == name), None)


def _items(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", ()):
        yield child
        yield from _items(child)


def _code(item: Dataset) -> str:
    return str(item.get("CodeValue") or item.LongCodeValue)


def _name(item: Dataset) -> str:
    return _code(item.ConceptNameCodeSequence[0]) if "ConceptNameCodeSequence" in item else ""


def _value(item: Dataset) -> str:
    return _code(item.ConceptCodeSequence[0])


def _number(item: Dataset) -> tuple[str, float, str]:
    (measured,) = item.MeasuredValueSequence
    unit = measured.MeasurementUnitsCodeSequence[0].CodeValue
    return _name(item), float(measured.NumericValue), str(unit)
