"""The gate's report as one self-contained page: figures, plots, and the worst cases as pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from flows.gate.silent_section import add_silent_results
from flows.gate.views import Views
from models.gate.document import GateDocument
from models.gate.paired import MeanDifference
from models.gate.report import Decision, GateReason, OrganGate
from models.gate.serving_cost import ServingCost
from models.inference.question import asked_mask, told_grid
from models.masks import BoxedMask
from models.organs import name_of
from models.release import Release
from models.resampling import resample
from services.cases.store import CaseContent
from services.inference.port import Segmenter
from services.pictures import slices
from services.pictures.gate_plots import bootstraps, differences
from services.pictures.page import Page
from services.releases.gate_reports import Trial, to_picture

Read = Callable[[str], CaseContent]
"""Reads a gate case by its identifier."""


def page_of(document: GateDocument, trial: Trial, read: Read, segmenter: Segmenter, views: Views) -> bytes:
    """Return the page of a decision.

    Parameters
    ----------
    document
        Of the `gate` verb.
    trial
        What was decided on; both releases are loaded if any case was asked.
    read, segmenter
        Give the worst cases, and what the releases answer to them.
    views
        What was found in the worst cases; where nothing is kept of one, both releases are asked again.
    """
    page = Page(f"Gate: release {document.release}, {document.decision}")
    if trial.candidate.demonstration:
        page.sentence("DEMO, NOT FOR CLINICAL USE: these weights are for demonstration.", kind="warning")
    cases = document.gate_set
    if cases is None:
        raise ValueError("The gate set is not frozen, so the gate asked nothing that a page could show.")
    page.sentence(
        f"Release {document.release} against release {document.incumbent_release} on version "
        f"{cases.version} of the gate set ({cases.cases} cases, {cases.digest[:12]}), served as "
        f"{document.profile}."
    )
    _reasons(page, document)
    _organs(page, document)
    for plot, caption in (
        (differences(document), "Candidate minus incumbent, a dot for each case; only filled dots decide."),
        (bootstraps(document), "Means the bootstrap drew; dashed: the lower bound, red: the margin."),
    ):
        if plot:
            page.picture(plot, caption)
    _groups(page, document)
    add_silent_results(page, document.silent)
    _worst(page, document, trial, read, segmenter, views)
    _fixed(page, document)
    return page.to_bytes()


def _reasons(page: Page, document: GateDocument) -> None:
    page.heading("Reasons")
    rows = [("release", *_words(reason)) for reason in document.reasons]
    rows += [(name_of(one.organ), *_words(reason)) for one in document.organs for reason in one.reasons]
    if rows:
        page.table(("of", "leads to", "code", "what was found", "what to do"), rows)
    else:
        page.sentence("There is none against it.", kind="good")


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


def _organs(page: Page, document: GateDocument) -> None:
    tuned = [one for one in document.organs if one.tuned]
    new = [one for one in document.organs if one.new]
    same = [name_of(one.organ) for one in document.organs if not one.tuned and one not in new]
    if same:
        page.sentence(f"Untouched, compared bit for bit: {', '.join(same)}.")
    if new:
        _new(page, new)
    if not tuned:
        return
    page.heading("Tuned organs: what the means show")
    page.sentence(
        "Mean DSC over patients with independent truth, candidate minus incumbent. At least: its one-sided "
        "95 % lower bound, which must lie above minus the margin; for the gain, on cases of the sites that "
        "were corrected, above 0. Surface: surface DSC at the organ's tolerance."
    )
    page.table(
        (
            "organ", "patients", "incumbent", "candidate", "difference", "at least", "margin",
            "surface", "at least", "gain where corrected", "at least", "patients",
        ),
        [_mean_row(one) for one in tuned],
    )  # fmt: skip
    page.heading("Tuned organs: single cases")
    page.table(
        (
            "organ", "a case may lose", "missed", "hallucinated", "HD95 mm", "bound held",
            "voxels taken from others",
        ),
        [_case_row(one) for one in tuned],
    )  # fmt: skip
    page.heading("By origin of truth")
    page.sentence("Truth edited or accepted from a release favours that release: it is shown, not weighed.")
    page.table(
        ("organ", "origin", "patients", "difference", "at least"),
        [
            (name_of(one.organ), origin, found.patients, _signed(found.mean), _low(found))
            for one in tuned
            for origin, found in one.origins.items()
        ],
    )


def _new(page: Page, findings: Sequence[OrganGate]) -> None:
    page.heading("New organs: nothing to compare with")
    page.sentence(
        "The incumbent lacks them, so a person decides. DSC over patients who have the organ by independent "
        "truth; estimate: tuning's own, by sampled voxels of patients that only judged."
    )
    page.table(
        (
            "organ", "gate cases", "with truth", "patients", "mean DSC", "least DSC", "missed",
            "hallucinated", "target", "estimate", "bound", "voxels taken from others",
        ),
        [_new_row(one) for one in findings],
    )  # fmt: skip


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


def _groups(page: Page, document: GateDocument) -> None:
    rows = [
        (
            name_of(one.organ), fact, group, found.patients, _signed(found.mean), _low(found),
        )
        for one in document.organs
        for fact, groups in {"site": one.sites, **one.groups}.items()
        for group, found in groups.items()
        if len(groups) > 1
    ]  # fmt: skip
    if rows:
        page.heading("Subgroups")
        page.sentence("Facts that are the same of all cases are left out. At least: by Student's t.")
        page.table(("organ", "by", "group", "patients", "difference", "at least"), rows)


def _worst(
    page: Page,
    document: GateDocument,
    trial: Trial,
    read: Read,
    segmenter: Segmenter,
    views: Views,
) -> None:
    shown = [
        (one.organ, case, _score(one, value)) for one in document.organs for case, value in to_picture(one)
    ]
    if not shown:
        return
    page.heading("The worst cases")
    page.picture(
        slices.legend(dict.fromkeys(key for key, _, _ in shown)),
        "Outline: what was found. Dotted white: truth.",
    )
    for case_id in dict.fromkeys(case for _, case, _ in shown):
        content = read(case_id)
        keys = [key for key, case, _ in shown if case == case_id]
        answers = {one.number: _masks(one, keys, case_id, content, segmenter, views) for one in _both(trial)}
        for key, case, score in shown:
            if case == case_id:
                page.subheading(f"{name_of(key)}, case {case[:12]}: {score}")
                for picture, caption in _pictures(key, content, answers):
                    page.picture(picture, caption)


def _score(finding: OrganGate, value: float | None) -> str:
    """Return what is said of a case: the difference, or of a new organ its DSC."""
    if not finding.new:
        return f"DSC {value:+.3f}"
    return "nobody drew it" if value is None else f"DSC {value:.3f}"


def _both(trial: Trial) -> tuple[Release, Release]:
    return trial.incumbent, trial.candidate


def _masks(
    release: Release,
    keys: Sequence[str],
    case: str,
    content: CaseContent,
    segmenter: Segmenter,
    views: Views,
) -> dict[str, BoxedMask]:
    """Return what a release found of those organs that it has in a case, by organ on the kept volume."""
    keys = [key for key in keys if key in release.contract.organs]
    seen = {key: mask for key in keys if (mask := views.mask(key, case, release.number)) is not None}
    if len(seen) == len(keys):
        return seen
    contract = release.contract
    ct = told_grid(content.volume, contract)
    answer = segmenter.segment(content.volume.hu, release.number, ct=ct)
    return {key: asked_mask(answer, contract.organs.index(key), contract.thresholds[key]) for key in keys}


def _pictures(
    key: str, content: CaseContent, answers: Mapping[int, Mapping[str, BoxedMask]]
) -> Iterator[tuple[bytes, str]]:
    """Yield each release's outline on the slice where the candidate, the last, is farthest from the truth.

    Where nobody drew the organ, on the slice with most of it; a release that lacks it has no outline.
    """
    *_, candidate = answers.values()
    found = candidate[key]
    truth, apart = {}, found.by_slice()
    if key in content.labels:
        drawn = resample(content.labels[key].inside.dense(), content.ct, content.volume.geometry, outside=0.0)
        truth = {key: BoxedMask.of(drawn >= 0.5)}
        apart = found.changed_by_slice(truth[key])
    k = int(apart.argmax())
    where = "" if content.volume.geometry.same_grid(content.ct) else " on the model grid"
    for number, masks in answers.items():
        if key in masks:
            picture = slices.axial(content.volume, k, {key: masks[key]}, truth=truth)
            yield picture, f"Release {number}, slice {k + 1} of {len(apart)}{where}"


def _fixed(page: Page, document: GateDocument) -> None:
    page.heading("What was fixed before")
    page.table(("rule", "value"), [(name, str(value)) for name, value in document.policy.items()])
    cost = document.cost
    if isinstance(cost, ServingCost):
        _cost(page, cost)
    elif cost:  # by an earlier version, which only timed a window
        page.heading("What it costs to serve")
        page.table(
            ("release", "seconds a window", "bytes of networks"),
            [
                ("incumbent", f"{cost.incumbent_seconds:.3f}", cost.incumbent_bytes),
                ("candidate", f"{cost.candidate_seconds:.3f}", cost.candidate_bytes),
            ],
        )


def _cost(page: Page, cost: ServingCost) -> None:
    page.heading("What it costs to serve")
    page.sentence(
        f"Counted on the exported graphs, the same on any machine; a study is the mean of the gate set's "
        f"{cost.studies}, {cost.windows} windows together. The seconds, of either release in turn, "
        "decide nothing; processor: of the server, all its threads, where it is known."
    )
    page.table(
        (
            "release", "GFLOP a window", "GFLOP a study", "GB moved a study", "MB alive", "MB of networks",
            "seconds a window", "processor seconds",
        ),
        [
            (
                who,
                f"{of.window_flops / 1e9:.3g}",
                f"{of.study_flops / 1e9:.3g}",
                f"{of.study_moved_bytes / 1e9:.3g}",
                f"{of.live_bytes / 1e6:.3g}",
                f"{of.network_bytes / 1e6:.3g}",
                _seconds(cost.timed[who].wall_seconds),
                _seconds(cost.timed[who].processor_seconds),
            )
            for who, of in (("incumbent", cost.incumbent), ("candidate", cost.candidate))
        ],
    )  # fmt: skip


def _seconds(values: Sequence[float | None]) -> str:
    known = sorted(value for value in values if value is not None)
    return f"{known[0]:.3f} to {known[-1]:.3f}" if known else "—"
