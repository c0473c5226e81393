"""What viewers show as plain text: series and segment descriptions, in ASCII for every character set."""

from __future__ import annotations

import math
from collections.abc import Sequence

from models.findings import Flag, OrganFinding, Presence, ReviewRegion, StudyFindings
from models.judgement.reasons import Reason
from models.series.verdict import GeometryVerdict
from services.dicom.ct.headers import tell_apart

SERIES_DESCRIPTION_LENGTH = 64  # VR LO, PS3.5 6.2
SEGMENT_DESCRIPTION_LENGTH = 1024  # VR ST, PS3.5 6.2
SHOWN_IN_A_LIST = 23
"""Characters of a SeriesDescription that are read at the first look: OHIF's list of series cuts the rest."""

DEMONSTRATION = "DEMO NOT FOR CLINICAL USE"

SHORT_NAMES = {
    "postcava": "IVC",
    "right_adrenal_gland": "right adrenal",
    "left_adrenal_gland": "left adrenal",
    "right_femoral_head": "right femur head",
}
"""Of organs whose own name would not fit such a list."""


def organs_description(findings: StudyFindings) -> str:
    """Return the SeriesDescription of the organ SEG, at most 64 characters: what matters most comes first.

    Within the first `SHOWN_IN_A_LIST` characters stands what is unusable, else what to look at:
    ``STOP stomach; check 2``, ``CHECK stomach, aorta``, ``CHECK spleen +8`` (eight more are for review).
    A study drawn for the random audit says ``CHECK all``, behind what is unusable. Without a flag it is
    ``No flag on 9 organs``. Behind that stand the mark of a demonstration, how many organs are not judged,
    and, where there is room for it, the release.
    """
    unjudged = sum(finding.flag is Flag.NOT_JUDGED for finding in findings.organs)
    tail = f"; {unjudged} not judged" if unjudged else ""
    room = min(SHOWN_IN_A_LIST, SERIES_DESCRIPTION_LENGTH - len(_marked(findings, tail)))
    rejected, review = (
        [_listed_name(findings, finding.organ) for finding in findings.organs if finding.flag is flag]
        for flag in (Flag.REJECT, Flag.REVIEW)
    )
    if rejected:
        return _series_description(findings, _stop(rejected, review, findings.audited, room), tail)
    if findings.audited and review:
        return _series_description(findings, "CHECK all", tail)
    if review:
        return _series_description(findings, _naming("CHECK", review, room), tail)
    clear = sum(finding.flag is Flag.CLEAR for finding in findings.organs)
    if clear:
        return _series_description(findings, f"No flag on {_organs(clear)}", tail)
    return _series_description(findings, f"{_organs(unjudged)} not judged")


def review_description(findings: StudyFindings) -> str:
    """Return the SeriesDescription of the review SEG, at most 64 characters, organs by rank."""
    names = list(dict.fromkeys(_listed_name(findings, region.organ) for region in findings.regions))
    return _series_description(findings, _naming("Regions:", names, SHOWN_IN_A_LIST))


def report_description(findings: StudyFindings) -> str:
    """Return the SeriesDescription of the SR, at most 64 characters."""
    return _series_description(findings, "Organ report")


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
    if not tell_apart(instance_numbers):
        ends, word = [k + 1 for k in slices], "slices"
    first, last = ends
    return f"{word} {first}-{last}"


def floored(fraction: float) -> float:
    """Return a lower bound with two decimals, never above the bound itself."""
    return math.floor(round(fraction * 100, 6)) / 100


def _series_description(findings: StudyFindings, lead: str, tail: str = "") -> str:
    text = lead + _marked(findings, tail)
    named = f"{text}; r{findings.release}"
    return named if len(named) <= SERIES_DESCRIPTION_LENGTH else text


def _marked(findings: StudyFindings, tail: str) -> str:
    return f"; {DEMONSTRATION}{tail}" if findings.demonstration else tail


def _stop(rejected: Sequence[str], review: Sequence[str], audited: bool, room: int) -> str:
    """Return what is unusable, and behind it what to look at: by name, else by number."""
    if audited:
        tails = ["; check all"]
    else:
        tails = [f"; check {', '.join(review)}", f"; check {len(review)}"] if review else [""]
    for tail in tails[:-1]:
        text = f"STOP {', '.join(rejected)}{tail}"
        if len(text) <= room:
            return text
    return _naming("STOP", rejected, room - len(tails[-1])) + tails[-1]


def _naming(word: str, names: Sequence[str], room: int) -> str:
    """Return a word and the names, or as many of them as fit and how many more there are."""
    named = [f"{word} {', '.join(names)}"]
    named += [f"{word} {', '.join(names[:n])} +{len(names) - n}" for n in range(len(names) - 1, 0, -1)]
    if len(names) > 1:
        named += [f"{word} {name} +{len(names) - 1}" for name in names]
    named.append(f"{word} {_organs(len(names))}")
    return next((text for text in named if len(text) <= room), f"{word} {len(names)}")


def _listed_name(findings: StudyFindings, organ: str) -> str:
    return SHORT_NAMES.get(organ, findings.entry(organ).label.lower())


def _organs(count: int) -> str:
    return f"{count} organ" if count == 1 else f"{count} organs"


def _segment_description(said: list[str], findings: StudyFindings, repair: str = "") -> str:
    origin = f"{repair}; release {findings.release}" if repair else f"release {findings.release}"
    if findings.demonstration:
        origin += ", demonstration weights, not for clinical use"
    text = "; ".join([*said, origin])
    if len(text) <= SEGMENT_DESCRIPTION_LENGTH:
        return text
    room = SEGMENT_DESCRIPTION_LENGTH - len("...; " + origin)
    return f"{'; '.join(said)[:room]}...; {origin}"
