"""The demonstration's report: tables for the terminal, one HTML page with pictures for a browser."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from deploy.demo.loop import READER_CORRECTS, Loop
from deploy.demo.outcome import Outcome
from flows.corrections.report import Ingested, NotTaken
from flows.gate.gate_candidate import organ_rows
from models.organs import ORGANS, organ
from models.tuning.document import TuningDocument
from services.pictures import slices as pictures
from services.pictures.gate_plots import differences
from services.pictures.page import Page
from services.pictures.tuning_curves import tuning_curves

NOT_CLINICAL = "DEMO, NOT FOR CLINICAL USE: these weights were trained on phantoms and have seen no patient."
FLAGS = ("clear", "review", "reject")


def mean_dsc(outcomes: Sequence[Outcome], key: str, site: str) -> float | None:
    """Return an organ's mean DSC over a site's studies; None where there is no truth of it."""
    known = [s for one in outcomes if one.site == site and (s := one.scores()[key]) is not None]
    return mean(known) if known else None


def summary(outcomes: Sequence[Outcome]) -> tuple[list[str], list[list[object]]]:
    """Return columns and a row per organ: DSC to truth by site, and how often each flag was raised."""
    sites = sorted({one.site for one in outcomes if one.truth is not None})
    columns = ["organ", *(f"DSC, site {site}" for site in sites), *FLAGS, "reasons"]
    rows: list[list[object]] = []
    for key in ORGANS:
        said = [entry for one in outcomes for entry in one.document.organs if entry.organ == key]
        counts = [sum(entry.flag == flag for entry in said) for flag in FLAGS]
        reasons = ", ".join(sorted({reason for entry in said for reason in entry.reasons}))
        rows.append([organ(key).label, *(mean_dsc(outcomes, key, site) for site in sites), *counts, reasons])
    return columns, rows


def learnt(loop: Loop) -> tuple[list[str], list[list[object]]]:
    """Return columns and a row per organ: DSC on unseen studies before and after, by site."""
    columns = ["organ", "B before", "B after", "B change", "A before", "A after", "A change", "head"]
    rows: list[list[object]] = []
    for key in ORGANS:
        row: list[object] = [organ(key).label]
        for site in ("B", "A"):
            row += _change(mean_dsc(loop.before, key, site), mean_dsc(loop.after, key, site))
        tuned = key in loop.tuning.organs
        untouched = "untouched, same bits" if key in loop.identical else "untouched, OTHER BITS"
        rows.append([*row, "tuned" if tuned else untouched])
    four = [row for row, key in zip(rows, ORGANS, strict=True) if key in READER_CORRECTS]
    rows.append(["mean of the four corrected", *(_mean(four, column) for column in range(1, 7)), ""])
    return columns, rows


def _change(before: float | None, after: float | None) -> list[object]:
    change = None if before is None or after is None else after - before
    return [before, after, change]


def _mean(rows: Sequence[Sequence[object]], column: int) -> float | None:
    values = [value for row in rows if isinstance(value := row[column], float)]
    return mean(values) if values else None


def page_of_study(outcome: Outcome) -> Page:
    """Return the report on a CT of one's own."""
    page = Page("Organloop: what was found")
    page.sentence(NOT_CLINICAL, kind="warning")
    page.picture(pictures.legend(), "Outlines: what was found. Yellow: regions to look at.")
    _study(page, outcome)
    return page


def page_of_loop(loop: Loop) -> Page:
    """Return the report on the whole loop."""
    page = Page("Organloop: one turn of the loop")
    page.sentence(NOT_CLINICAL, kind="warning")
    page.sentence(
        "Phantoms of two synthetic sites went through a real Triton and came back as DICOM. Site A is what "
        "the release was trained on; site B is scanned differently. Every DSC is the overlap of the DICOM "
        "SEG, read back, with the phantom's exact truth, on the CT grid."
    )
    page.heading("What one turn changed, on studies nothing was learnt from")
    page.table(*learnt(loop))
    page.heading(f"What the reader corrected ({len(loop.ledgers)} studies of site B)")
    page.table(*_ledger(loop.ledgers))
    page.heading(f"Tuning: heads of {', '.join(loop.tuning.organs)}")
    page.sentence(_tuning_sentence(loop.tuning))
    page.picture(tuning_curves(loop.tuning.curve), "Loss by step, each organ's head on its own.")
    _gate(page, loop)
    page.heading("Flags of release 1 on the unseen studies")
    page.table(*summary(loop.before))
    page.heading("The unseen studies, before and after")
    page.picture(
        pictures.legend(), "Outlines: what was found. Dotted white: truth. Yellow: regions to look at."
    )
    for before, after in zip(loop.before, loop.after, strict=True):
        page.subheading(before.name)
        k = pictures.best_slice({key: before.masks[key] for key in READER_CORRECTS})
        for outcome, when in ((before, "before"), (after, "after")):
            page.picture(_picture(outcome, k), f"Release {outcome.document.release}, {when}; slice {k + 1}")
    _study(page, loop.after[0])
    return page


def _study(page: Page, outcome: Outcome) -> None:
    page.heading(f"Every organ of {outcome.name}")
    k = pictures.best_slice(outcome.masks)
    page.picture(_picture(outcome, k), f"Slice {k + 1} of {outcome.series.volume.geometry.shape[0]}")
    seconds = outcome.document.seconds
    steps = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items() if name != "total")
    page.sentence(f"{seconds['total']:.1f} s: {steps}")
    scores = outcome.scores()
    columns = ("organ", "presence", "ml", "DSC to truth", "DSC at least", "flag", "reasons")
    page.table(
        columns,
        [
            (
                organ(said.organ).label,
                said.presence,
                round(said.volume_ml),
                scores[said.organ],
                said.dsc_lower_bound,
                said.flag,
                ", ".join(said.reasons),
            )
            for said in outcome.document.organs
        ],
    )


def _picture(outcome: Outcome, k: int) -> bytes:
    return pictures.axial(outcome.series.volume, k, outcome.masks, truth=outcome.truth, review=outcome.review)


def _ledger(ledgers: Sequence[Ingested | NotTaken]) -> tuple[list[str], list[list[object]]]:
    columns = ["organ", "edited in", "ml added", "ml removed", "voxels lost to a neighbour's brush"]
    rows: list[list[object]] = []
    for key in ORGANS:
        entries = [entry for one in ledgers for entry in one.organs if entry.organ == key]
        rows.append(
            [
                organ(key).label,
                sum(entry.state == "edited" for entry in entries),
                round(sum(entry.added_ml for entry in entries)),
                round(sum(entry.removed_ml for entry in entries)),
                sum(entry.by_overpaint_voxels for entry in entries),
            ]
        )
    return columns, rows


def _tuning_sentence(tuning: TuningDocument) -> str:
    seconds = tuning.seconds
    return (
        f"Candidate release {tuning.release} from release {tuning.parent}: {tuning.corrections} "
        f"corrected and {tuning.replayed} older studies, level {tuning.level}, "
        "fixed to save time: `organloop tune` takes the lowest level that does; "
        f"tuning took {seconds['tune']:.0f} s of {seconds['total']:.0f} s."
    )


def _gate(page: Page, loop: Loop) -> None:
    gate = loop.gate
    cases = gate.gate_set.cases if gate.gate_set else 0
    page.heading(f"The gate: {gate.decision}")
    page.sentence(f"Release {gate.release} against release {gate.incumbent_release}, {cases} gate cases.")
    for reason in gate.all_reasons:
        page.sentence(f"{reason.code}: {reason.detail}")
    plot = differences(gate)
    if plot:
        page.picture(plot, "Candidate minus incumbent, a dot for each gate case; only filled dots decide.")
    rows = organ_rows(gate)
    if rows:
        page.table(list(rows[0]), [list(row.values()) for row in rows])
    if loop.promotion:
        promoted, back = loop.promotion, loop.rollback.release if loop.rollback else "—"
        said = f"Promoted by {promoted.approver}: {promoted.reason}."
        page.sentence(f"{said} Rolled back to release {back} and forth again.", kind="good")
    else:
        page.sentence("Not promoted: release 1 still serves.", kind="bad")
