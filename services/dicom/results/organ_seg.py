"""The organ SEG: one segment per organ asked for, in catalogue order, its flag in its description."""

from __future__ import annotations

from models.findings import OrganFinding, Presence, StudyFindings
from models.organs import Organ
from models.series.verdict import GeometryVerdict
from services.dicom.identity import Identity
from services.dicom.results.seg_writer import Segment
from services.dicom.results.wording import organ_description
from services.dicom.seg.names import marked_label

KIND = "organ-seg"


def organs_asked(findings: StudyFindings) -> tuple[str, ...]:
    """Return the keys of the organs asked for, in catalogue order: the segments from number 1 on.

    Raises
    ------
    ValueError
        If none was asked for, or masks and findings do not name the same organs.
    """
    asked = tuple(f.organ for f in findings.organs if f.presence is not Presence.NOT_ASKED)
    if not asked or set(asked) != set(findings.masks):
        raise ValueError(f"organs asked for {asked} must be the organs with a mask {tuple(findings.masks)}")
    return asked


def organ_label(entry: Organ, finding: OrganFinding, *, flags_in_labels: bool) -> str:
    """Return an organ's SegmentLabel."""
    return marked_label(entry.label, finding.flag) if flags_in_labels else entry.label


def organ_segments(
    findings: StudyFindings, identity: Identity, verdict: GeometryVerdict, *, flags_in_labels: bool = False
) -> tuple[Segment, ...]:
    """Return the segments of the organ SEG; an absent organ is one with an empty mask.

    Labels bear the marks of flags where the receiver is told them there too (`marked_label`).

    Raises
    ------
    ValueError
        As `organs_asked`, or if an organ is said to be found and has no voxels, or the reverse.
    """
    said = {finding.organ: finding for finding in findings.organs}
    for key, mask in findings.masks.items():
        if mask.any() != (said[key].presence is Presence.FOUND):
            raise ValueError(f"{key} is said to be {said[key].presence} against its mask")
    return tuple(
        Segment(
            label=organ_label(findings.entry(key), said[key], flags_in_labels=flags_in_labels),
            description=organ_description(said[key], findings, verdict),
            category=findings.entry(key).category,
            type=findings.entry(key).type,
            laterality=findings.entry(key).laterality,
            site=findings.entry(key).site if findings.entry(key).region else None,
            cielab=findings.entry(key).cielab,
            tracking_id=key,
            tracking_uid=identity.tracking_uid(key),
            mask=findings.masks[key],
        )
        for key in organs_asked(findings)
    )
