"""The gate's report as one self-contained page: figures, plots, and the worst cases as pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from flows.gate import sections
from flows.gate.sections import Section
from flows.gate.silent_section import add_silent_results
from flows.gate.views import Views
from models.gate.document import GateDocument
from models.gate.report import OrganGate
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
    found = sections.reasons(document)
    if found.rows:
        _add(page, found)
    else:
        page.heading(found.heading)
        page.sentence("There is none against it.", kind="good")


def _organs(page: Page, document: GateDocument) -> None:
    same = sections.untouched(document)
    if same:
        page.sentence(f"Untouched, compared bit for bit: {', '.join(same)}.")
    for found in sections.organs(document):
        _add(page, found)


def _groups(page: Page, document: GateDocument) -> None:
    found = sections.groups(document)
    if found.rows:
        _add(page, found)


def _add(page: Page, section: Section) -> None:
    page.heading(section.heading)
    if section.sentence:
        page.sentence(section.sentence)
    page.table(section.columns, section.rows)


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
