"""A gate's report as tables: what the report's own page and the model owner's pages show, in one wording."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from models.gate.document import GateDocument
from models.gate.paired import MeanDifference
from models.gate.report import Decision, GateReason, OrganGate
from models.organs import name_of


@dataclass(frozen=True)
class Section:
    """A heading, what has to be known to read the table below it, and the table.

    Parameters
    ----------
    heading
        Of the section.
    sentence
        Empty where the table speaks for itself.
    columns, rows
        Of the table; a number is shown with three places, None as a dash.
    """

    heading: str
    sentence: str
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]


def reasons(document: GateDocument) -> Section:
    """Return every reason against a candidate, and what to do about it; no row where there is none."""
    rows = [("release", *_words(reason)) for reason in document.reasons]
    rows += [(name_of(one.organ), *_words(reason)) for one in document.organs for reason in one.reasons]
    columns = ("of", "leads to", "code", "what was found", "what to do")
    return Section("Reasons", "", columns, tuple(rows))


def untouched(document: GateDocument) -> tuple[str, ...]:
    """Return the names of the organs that nobody tuned: their bits were compared."""
    return tuple(name_of(one.organ) for one in document.organs if not one.tuned and not one.new)


def organs(document: GateDocument) -> Iterator[Section]:
    """Yield what was found of new organs, of tuned ones, and by the origin of truth."""
    new = [one for one in document.organs if one.new]
    tuned = [one for one in document.organs if one.tuned]
    if new:
        yield Section(
            "New organs: nothing to compare with",
            "The incumbent lacks them, so a person decides. DSC over patients who have the organ by "
            "independent truth; estimate: tuning's own, by sampled voxels of patients that only judged.",
            (
                "organ", "gate cases", "with truth", "patients", "mean DSC", "least DSC", "missed",
                "hallucinated", "target", "estimate", "bound", "voxels taken from others",
            ),
            tuple(map(_new_row, new)),
        )  # fmt: skip
    if not tuned:
        return
    yield Section(
        "Tuned organs: what the means show",
        "Mean DSC over patients with independent truth, candidate minus incumbent. At least: its one-sided "
        "95 % lower bound, which must lie above minus the margin; for the gain, on cases of the sites that "
        "were corrected, above 0. Surface: surface DSC at the organ's tolerance.",
        (
            "organ", "patients", "incumbent", "candidate", "difference", "at least", "margin",
            "surface", "at least", "gain where corrected", "at least", "patients",
        ),
        tuple(map(_mean_row, tuned)),
    )  # fmt: skip
    yield Section(
        "Tuned organs: single cases",
        "",
        (
            "organ", "a case may lose", "missed", "hallucinated", "HD95 mm", "bound held",
            "voxels taken from others",
        ),
        tuple(map(_case_row, tuned)),
    )  # fmt: skip
    yield Section(
        "By origin of truth",
        "Truth edited or accepted from a release favours that release: it is shown, not weighed.",
        ("organ", "origin", "patients", "difference", "at least"),
        tuple(
            (name_of(one.organ), origin, found.patients, _signed(found.mean), _low(found))
            for one in tuned
            for origin, found in one.origins.items()
        ),
    )


def groups(document: GateDocument) -> Section:
    """Return what was found by site, spacing and other facts of the cases; no row where all are alike."""
    rows = tuple(
        (
            name_of(one.organ), fact, group, found.patients, _signed(found.mean), _low(found),
        )
        for one in document.organs
        for fact, by in {"site": one.sites, **one.groups}.items()
        for group, found in by.items()
        if len(by) > 1
    )  # fmt: skip
    return Section(
        "Subgroups",
        "Facts that are the same of all cases are left out. At least: by Student's t.",
        ("organ", "by", "group", "patients", "difference", "at least"),
        rows,
    )


def _words(reason: GateReason) -> tuple[str, str, str, str]:
    return reason.decision, reason.code, reason.detail, what_to_do(reason)


def what_to_do(reason: GateReason) -> str:
    """Return what helps against a reason, one sentence."""
    return BY_CODE.get(reason.code) or BY_DECISION[reason.decision]


BY_DECISION = {
    Decision.REFUSE: "Correct more studies like the worst below and tune again.",
    Decision.INSUFFICIENT_EVIDENCE: "organloop cases add --purpose gate, cases freeze, then gate again.",
    Decision.NEEDS_APPROVAL: "Look at the worst cases below, then organloop promote or organloop decline.",
    Decision.PROMOTE: "",
}
BY_CODE = {
    "leaked-patient": "Tune again without these patients; they are no judges of it.",
    "other-parent": "Tune again from the release that serves.",
    "new-organ": (
        "Look at what it draws (the page of the report); if nothing else holds it back, organloop promote or "
        "organloop decline."
    ),
    "new-organ-poor": "Have it drawn in more studies and tune it again.",
    "new-organ-unmeasured": (
        "Tune it without --level, so that some patients only judge it, or add gate cases with truth of it "
        "(organloop cases add --purpose gate, cases freeze), then gate again."
    ),
    "no-margin": (
        "Establish a margin: organloop calibrate --propose FILE, then the file that ORGANLOOP_TARGETS names; "
        "gate again."
    ),
    "bound-not-held": "Calibrate on cases like these (organloop calibrate).",
    **dict.fromkeys(
        (
            "untouched-head-changed", "untouched-output-changed", "trunk-changed", "contract-changed",
            "calibration-changed", "demonstration-changed",
        ),
        "Nobody meant this to change: find out how the release was made.",
    ),
    "too-slow": "It was decided by seconds, which an earlier version weighed: organloop gate decides anew.",
    **dict.fromkeys(
        ("too-costly", "too-much-memory", "too-large"), "Tune fewer organs at once, or at a lower level."
    ),
}  # fmt: skip


def _new_row(one: OrganGate) -> tuple[object, ...]:
    new = one.new
    if new is None:
        raise ValueError(f"{one.organ} is not new")
    bound = "claimed" if new.bounded else "none: always for review" if new.target else "none: not judged"
    return (
        name_of(one.organ), new.cases, new.drawn, new.patients, new.mean, new.least, new.missed,
        new.hallucinated, new.target, new.estimate, bound, _taken(one),
    )  # fmt: skip


def _taken(one: OrganGate) -> str:
    taken = sorted(one.taken_voxels.items(), key=lambda item: -item[1])
    return ", ".join(f"{name_of(key)} {count}" for key, count in taken) or "none"


def _signed(value: float | None) -> str:
    return "—" if value is None else f"{value:+.3f}"


def _low(found: MeanDifference | None) -> str:
    return _signed(found.lower_bound) if found else "—"


def _mean_row(one: OrganGate) -> tuple[object, ...]:
    found, surface, target = one.gate_set, one.surface, one.target
    return (
        name_of(one.organ),
        found.patients if found else 0,
        found.incumbent if found else None,
        found.candidate if found else None,
        _signed(found.mean if found else None),
        _low(found),
        one.margin,
        _signed(surface.mean if surface else None),
        _low(surface),
        _signed(target.mean if target else None),
        _low(target),
        target.patients if target else 0,
    )


def _case_row(one: OrganGate) -> tuple[object, ...]:
    before, after = one.presence["incumbent"], one.presence["candidate"]
    distance, bound, noise = one.hd95_mm, one.bound, one.noise
    return (
        name_of(one.organ),
        noise.may_lose if noise else None,
        f"{before.missed} → {after.missed}",
        f"{before.hallucinated} → {after.hallucinated}",
        f"{distance[0]:.1f} → {distance[1]:.1f}" if distance else None,
        f"{bound.held} of {bound.cases}" if bound else None,
        _taken(one),
    )
