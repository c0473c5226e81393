"""The verbs that learn: `ingest` a correction, `tune` heads from corrections; `tonight`: what would be."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from deploy.cli.acting import Reader, acting
from deploy.cli.console import EXIT_REFUSED, Json, Outcome, answer, progress, table
from models.organs import KEYS
from models.people import Role
from models.tuning.document import Climb, NoCost, TuningDocument
from services.settings import Settings

if TYPE_CHECKING:
    from flows.corrections.report import Ingested
    from flows.tuning.tonight import Tonight
    from services.records.entries.corrections import OpenQuestion

SCOPES = ("organ", "slices", "regions")
"""Values of `models.corrections.scopes.Scope`, known before numpy is loaded."""

LEVELS = ("auto", "head", "coarse", "neighbourhood", "block")
"""`auto`, and the values of `models.tuning.settings.Level`."""


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command()(ingest)
    app.command()(tune)
    app.command()(tonight)


def ingest(
    source: Annotated[
        str, typer.Argument(help="The SEG that came in: a file, a folder with one, or its SOP Instance UID.")
    ],
    study: Annotated[
        Path | None, typer.Option(help="Folder with the CT study's DICOM files. Default: from the archive.")
    ] = None,
    sent: Annotated[
        Path | None,
        typer.Option(
            help="The SEG that was sent, file or folder. Default: found among the results on record."
        ),
    ] = None,
    answers: Annotated[
        list[str] | None,
        typer.Option(
            "--as",
            metavar="ANSWER",
            help="Answer to a question: SEGMENT=ORGAN, SEGMENT=none, ORGAN=deleted or ORGAN=not-reviewed.",
        ),
    ] = None,
    reader: Reader = "",
    scope: Annotated[
        str | None,
        typer.Option(help=f"Where it is truth: {', '.join(SCOPES)}. Default: as on record, at first organ."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell what a returned SEG is, organ by organ, and keep what the reader meant by it.

    Which of two saves came later, their arrival in the archive says; a file comes when it is put on record
    first. No clock of a viewer is asked.
    """
    if scope is not None and scope not in SCOPES:
        raise typer.BadParameter(f"no such scope: {scope}; there are {', '.join(SCOPES)}")

    def verb() -> Outcome:
        from flows.corrections.ingest import Said, memory_of
        from flows.corrections.ingest import ingest as run
        from flows.corrections.report import NotTaken
        from models.corrections.scopes import Scope
        from services.dicom.returned.answers import WrongAnswer

        settings = Settings()
        if answers and settings.token is None and not reader.strip():
            detail = "an answer is an act with a name: --reader, or a token in ORGANLOOP_TOKEN"
            raise typer.BadParameter(detail)
        memory, name = memory_of(settings), reader
        if answers:
            act = acting(reader, Role.READER, settings, "--reader")
            memory = memory and replace(memory, records=act.in_records(memory.records))
            name = act.name
        said = Said(tuple(answers or ()), name, None if scope is None else Scope(scope))
        try:
            document = run(source, study, sent, memory, said=said)
        except WrongAnswer as error:
            raise typer.BadParameter(str(error)) from error
        if isinstance(document, NotTaken):
            return Outcome(document, (f"refused: {document.why}",), EXIT_REFUSED)
        return Outcome(document, _ledger(document))

    answer(verb, as_json)


def tune(
    organs: Annotated[
        str | None,
        typer.Option(help="Organs that may be tuned, by comma. Default: all with enough corrections."),
    ] = None,
    level: Annotated[
        str,
        typer.Option(
            help=f"What is free in a head: {', '.join(LEVELS[1:])}; auto: the lowest that meets the target."
        ),
    ] = "auto",
    new_organ: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORGAN",
            help="Organ of the catalogue that the incumbent lacks: gets a head from readers' masks alone.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Tune the heads of corrected organs into a candidate release; nothing else changes."""
    asked = None if organs is None else [organ.strip() for organ in organs.split(",")]
    unknown = sorted(set(new_organ or ()) - set(KEYS))
    if unknown:
        raise typer.BadParameter(f"no such organ: {', '.join(unknown)}; there are {', '.join(KEYS)}")
    if level not in LEVELS:
        raise typer.BadParameter(f"no such level: {level}; there are {', '.join(LEVELS)}")

    def verb() -> Outcome:
        from flows.serving.serve import current
        from flows.tuning.plan import tuning_settings
        from flows.tuning.tune import tune as run
        from services.wiring import connect_in_process

        settings = Settings()
        services, how = connect_in_process(settings), tuning_settings(level, settings)
        serves = services.records.incumbent() is not None
        there = current(services.releases, services.records).contract.organs if serves else KEYS
        if unknown := sorted(set(asked or ()) - set(there)):
            raise typer.BadParameter(f"no such organ: {', '.join(unknown)}; there are {', '.join(there)}")
        had = set(new_organ or ()) & set(there)
        if had:
            raise typer.BadParameter(f"not new: {', '.join(sorted(had))}; tune it by --organs")
        document = run(services, asked, how, progress, new_organ or ())
        return Outcome(document, _candidate(document))

    answer(verb, as_json)


def tonight(as_json: Json = False) -> None:
    """Say what the next night would learn from which cases, what it leaves out, and why; nothing is changed.

    Labels are read and judged as `organloop tune` does, about a second a case; nothing is fitted.
    """

    def verb() -> Outcome:
        from flows.tuning.plan import AUTO, tuning_settings
        from flows.tuning.tonight import tonight as run
        from services.wiring import connect_in_process

        settings = Settings()
        found = run(connect_in_process(settings), tuning_settings(AUTO, settings), progress)
        return Outcome(asdict(found), _night(found))

    answer(verb, as_json)


def _night(found: Tonight) -> tuple[str | Table, ...]:
    says = {
        "tunes": f"the next night tunes the heads of release {found.incumbent}",
        "nothing-to-learn": "the next night finds nothing to learn",
        "learnt-already": f"release {found.release} has learnt this already; the gate looks at it again",
        "no-better": "this was tried, and no head was better: the next night does nothing",
    }
    rows = [
        (
            one.organ,
            "learns" if one.learns else one.code,
            one.studies or None,
            one.patients or None,
            one.detail,
        )
        for one in found.organs
    ]
    sides = {"organ": "left", "": "left", "studies": "right", "patients": "right", "why not": "left"}
    cases = [
        f"{'replayed' if one.replayed else 'corrected'}: case {one.case[:12]}"
        f"{f' ({one.correction})' if one.correction else ''}: {', '.join(one.organs)}"
        for one in found.cases
    ]
    chosen = f"{found.replayed_at_most} of {found.older} older cases are replayed"
    refused = [
        f"not believed: {one.organ} of case {one.case[:12]}: {one.code} ({one.detail})"
        for one in found.refused
    ]
    return (f"{found.night}: {says[found.night]}", table(sides, rows), *cases, chosen, *refused)


def _ledger(document: Ingested) -> tuple[str | Table, ...]:
    rows = [
        (
            one.organ,
            one.state,
            one.added_voxels,
            one.removed_voxels,
            one.by_overpaint_voxels or None,
            f"{one.added_ml - one.removed_ml:+.2f}",
            None if one.surface_mm is None else f"{one.surface_mm:.2f}",
        )
        for one in document.organs
    ]
    numbers = dict.fromkeys(("added", "removed", "by overpaint", "ml", "surface mm"), "right")
    questions = [_asked(one) for one in document.questions]
    apart = [
        f"readers disagree on {one.organ}: DSC {one.dsc if one.dsc is not None else 'not measured'} "
        f"between {', '.join(one.corrections)}"
        for one in document.disagreements
    ]
    kept = f"not kept for tuning: {document.why}"
    if document.kept:
        kept = f"kept for tuning; teaches {', '.join(document.teaches) or 'nothing now'}"
    shown = table({"organ": "left", "state": "left"} | numbers, rows)
    return (document.status, shown, *questions, *apart, kept)


def _asked(question: OpenQuestion) -> str:
    if question.segment is None:
        organ = question.candidates[0]
        said = f"{organ} did not come back"
        return f"question: {said}; answer --as {organ}=deleted or --as {organ}=not-reviewed"
    may_be = " or ".join(question.candidates) or "any organ"
    called = f" {question.label!r}" if question.label else ""
    said = f"segment {question.segment}{called} ({question.why}): is it {may_be}?"
    return f"question: {said} answer --as {question.segment}=ORGAN or --as {question.segment}=none"


def _candidate(document: TuningDocument) -> tuple[str | Table, ...]:
    rows = [
        (organ, document.levels[organ], climb.end, *_scores(climb, document.levels[organ]))
        for organ, climb in document.ladders.items()
    ]
    rows += [(organ, "", why, *[None] * 5) for organ, why in document.left_out.items()]
    numbers = dict.fromkeys(("target", "new before", "new", "old before", "old"), "right")
    shown = table({"organ": "left", "level": "left", "": "left"} | numbers, rows)
    doubts = [f"{one.organ} of case {one.case[:12]}: {one.code} ({one.detail})" for one in document.doubts]
    if document.release is None and document.ladders:
        return (shown, *doubts, "no candidate: no head would be better than the one that serves")
    if document.release is None:
        return (shown, *doubts, "nothing to learn yet: no candidate")
    cost, seconds = document.cost, document.seconds["total"]
    windows = (
        "none"
        if isinstance(cost, NoCost)
        else f"{cost.windows_extracted}, kept while serving: {cost.windows_warm}"
    )
    return (
        shown,
        *doubts,
        f"DSC on patients that only judged, by sampled voxels; windows extracted: {windows}",
        f"{document.state}: release {document.release}, tuned from release {document.parent} on "
        f"{document.corrections} corrected and {document.replayed} older studies ({seconds:.0f} s)",
    )


def _scores(climb: Climb, level: str) -> tuple[str | None, ...]:
    """Return the target, and the DSC of incumbent and chosen level on new and old studies."""
    before, kept = climb.rungs[0], climb.kept(level)
    values = (climb.target, before.new_dsc, kept.new_dsc, before.old_dsc, kept.old_dsc)
    return tuple(None if value is None else f"{value:.3f}" for value in values)
