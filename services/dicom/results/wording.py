"""What viewers show as plain text: series and segment descriptions, in ASCII for every character set."""

from __future__ import annotations

import math
from collections.abc import Sequence

from models.findings import Flag, OrganFinding, Presence, ReviewRegion, StudyFindings
from models.judgement.reasons import Reason
from models.series.verdict import GeometryVerdict

SERIES_DESCRIPTION_LENGTH = 64  # VR LO, PS3.5 6.2
SEGMENT_DESCRIPTION_LENGTH = 1024  # VR ST, PS3.5 6.2
DEMONSTRATION = "DEMO NOT FOR CLINICAL USE"


def organs_description(findings: StudyFindings) -> str:
    """Return the SeriesDescription of the organ SEG, at most 64 characters.

    All flagged organs are named, rejected ones first; where the names do not fit, their number and
    as many names as fit: ``Organs r2: check 5 organs: liver, stomach, ...``. All is clear only where
    every organ was asked for; else those that are clear are named. Of a study drawn for the random audit
    every organ is for review; named are those with a reason of their own: ``Organs r2 audit: check all``.
    Those that are not judged are counted: ``Organs r2: check liver; 9 not judged``.
    """
    flagged = sorted(
        (finding for finding in findings.organs if finding.flagged),
        key=lambda finding: finding.flag is not Flag.REJECT,
    )
    unjudged = sum(finding.flag is Flag.NOT_JUDGED for finding in findings.organs)
    tail = f"; {unjudged} not judged" if unjudged else ""
    head = f"Organs r{findings.release}: "
    if findings.audited:
        head = f"Organs r{findings.release} audit: "
        flagged = [finding for finding in flagged if finding.reasons != (Reason.RANDOM_AUDIT,)]
        if not flagged:
            return _series_description(findings, head + "check all" + tail)
    clear = [finding for finding in findings.organs if finding.flag is Flag.CLEAR]
    if not flagged and clear and len(clear) == len(findings.organs):
        return _series_description(findings, head + "all clear")
    if not flagged and not clear:
        return _series_description(findings, f"{head}{unjudged} not judged")
    word, named = ("check ", flagged) if flagged else ("clear ", clear)
    return _fitting_list(findings, head + word, [findings.entry(f.organ).label.lower() for f in named], tail)


def review_description(findings: StudyFindings) -> str:
    """Return the SeriesDescription of the review SEG, at most 64 characters, organs by rank."""
    names = list(dict.fromkeys(findings.entry(region.organ).label.lower() for region in findings.regions))
    return _fitting_list(findings, f"Check r{findings.release}: ", names)


def report_description(findings: StudyFindings) -> str:
    """Return the SeriesDescription of the SR, at most 64 characters."""
    return _series_description(findings, f"Organ report r{findings.release}")


def repair_notice(verdict: GeometryVerdict) -> str:
    """Return what the segments of a repaired series say of it, as ``series repaired: gantry-tilt``; or ""."""
    return "" if verdict.code is None else f"series repaired: {verdict.code}"


def organ_description(finding: OrganFinding, findings: StudyFindings, verdict: GeometryVerdict) -> str:
    """Return the SegmentDescription of one organ: flag, reasons, bound, volume; at most 1024 characters.

    Parameters
    ----------
    finding
        What is said about the organ.
    findings
        The study's findings, for the release.
    verdict
        The verdict on the series, for its repair.

    Raises
    ------
    ValueError
        If the organ was not asked for.
    """
    if finding.flag is None:
        raise ValueError(f"{finding.organ} was not asked for and is no segment")
    said = [": ".join(filter(None, (finding.flag.upper(), ", ".join(finding.reasons))))]
    if finding.dsc_lower_bound is not None and finding.confidence is not None:
        said.append(
            f"DSC at least {floored(finding.dsc_lower_bound):.2f} "
            f"with {100 * finding.confidence:.0f} % confidence"
        )
    else:
        said.append("no DSC bound is claimed")
    if finding.presence is Presence.ABSENT:
        said.append("organ not found")
    else:
        said.append(f"{finding.volume_ml:.1f} ml")
    if finding.cut_by_field_of_view:
        said.append("cut by the field of view")
    if Reason.OUT_OF_DOMAIN in finding.reasons and findings.strange:
        said.append(f"unusual: {', '.join(fact.words for fact in findings.strange)}")
    elif finding.band_ml is not None:
        said.append(f"on average 95 % of it lies in the outline and {finding.band_ml:.0f} ml round it")
    return _segment_description(said, findings, repair_notice(verdict))


def region_description(region: ReviewRegion, images: str, findings: StudyFindings) -> str:
    """Return the SegmentDescription of one review region; at most 1024 characters.

    Parameters
    ----------
    region
        The region.
    images
        The images it lies on, as `image_range` says them.
    findings
        The study's findings, for the release.
    """
    said = [
        f"{findings.entry(region.organ).label}: expected error {region.expected_error_ml:.1f} ml "
        f"in {region.volume_ml:.1f} ml",
        images,
        f"rank {region.rank}",
    ]
    return _segment_description(said, findings)


def image_range(slices: tuple[int, int], instance_numbers: Sequence[int | None]) -> str:
    """Return how a reader finds a range of slices: by InstanceNumber, or counted where images have none.

    Parameters
    ----------
    slices
        First and last k, inclusive.
    instance_numbers
        InstanceNumber of each slice, in order of k.
    """
    ends = [instance_numbers[k] for k in slices]
    word = "images"
    if None in instance_numbers or len(set(instance_numbers)) < len(instance_numbers):
        ends, word = [k + 1 for k in slices], "slices"
    first, last = ends
    return f"{word} {first}-{last}"


def floored(fraction: float) -> float:
    """Return a lower bound with two decimals, never above the bound itself."""
    return math.floor(round(fraction * 100, 6)) / 100


def _series_description(findings: StudyFindings, text: str) -> str:
    return f"{DEMONSTRATION} {text}" if findings.demonstration else text


def _fitting_list(findings: StudyFindings, head: str, names: list[str], tail: str = "") -> str:
    whole = _series_description(findings, head + ", ".join(names) + tail)
    if len(whole) <= SERIES_DESCRIPTION_LENGTH:
        return whole
    count = f"{head.rstrip()} {len(names)} organs"
    for shown in range(len(names) - 1, 0, -1):
        text = _series_description(findings, f"{count}: {', '.join(names[:shown])}, ...{tail}")
        if len(text) <= SERIES_DESCRIPTION_LENGTH:
            return text
    for text in (count + tail, f"{head.rstrip()} {len(names)}{tail}"):
        if len(whole := _series_description(findings, text)) <= SERIES_DESCRIPTION_LENGTH:
            return whole
    return _series_description(findings, count)


def _segment_description(said: list[str], findings: StudyFindings, repair: str = "") -> str:
    origin = f"{repair}; release {findings.release}" if repair else f"release {findings.release}"
    if findings.demonstration:
        origin += ", demonstration weights, not for clinical use"
    text = "; ".join([*said, origin])
    if len(text) <= SEGMENT_DESCRIPTION_LENGTH:
        return text
    room = SEGMENT_DESCRIPTION_LENGTH - len("...; " + origin)
    return f"{'; '.join(said)[:room]}...; {origin}"
