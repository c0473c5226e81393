"""The verbs about truth: `cases add`, `freeze`, `list` and `erase`, and the act `accept`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.acting import Approver, Reader, Reason, acting
from deploy.cli.console import Json, Outcome, answer, progress, table
from models.people import Role
from models.uids import SeriesUid, StudyUid
from services.records.entries.cases import Purpose
from services.settings import Settings

if TYPE_CHECKING:
    from flows.cases.erase import Erased
    from flows.cases.sets import CaseSet

Kept = Annotated[Purpose, typer.Option(help="What the cases are kept for; a patient is kept for one only.")]

cases = typer.Typer(help="Cases with truth: for tuning, for calibration, for the gate.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.add_typer(cases, name="cases")
    app.command()(accept)


@cases.command()
def add(
    source: Annotated[Path, typer.Argument(metavar="CT_FOLDER", help="DICOM files of one CT study.")],
    purpose: Kept,
    truth: Annotated[
        Path, typer.Option(help="truth.npz as `organloop phantom` writes it, or a SEG on this series.")
    ],
    origin: Annotated[
        str,
        typer.Option(
            help="Of the truth: independent (drawn without our result), edited-from-N, accepted-from-N."
        ),
    ],
    site: Annotated[
        str | None, typer.Option(help="Label of scanner and protocol. Default: InstitutionName.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Take a CT with its truth into a set; patient and study are kept under pseudonyms only."""

    def verb() -> Outcome:
        from flows.cases.keep import add_case
        from services.wiring import connect_in_process

        services = connect_in_process(Settings())
        case = add_case(source, truth, purpose, origin, services, site=site, progress=progress)
        return Outcome(case, (f"case {case.case_id[:12]} is kept for {purpose}, site {case.site}",))

    answer(verb, as_json)


@cases.command()
def freeze(purpose: Kept, as_json: Json = False) -> None:
    """Freeze a set, or its next version if it has grown since; decisions name the version's digest."""

    def verb() -> Outcome:
        from flows.cases.sets import freeze_cases
        from services.wiring import connect_in_process

        frozen = freeze_cases(purpose, connect_in_process(Settings()).records)
        line = f"{purpose} set, version {frozen.version}: {frozen.cases} cases, {frozen.digest[:12]}"
        return Outcome(frozen, (line,))

    answer(verb, as_json)


@cases.command("list")
def list_(
    purpose: Annotated[Purpose | None, typer.Option(help="Only this set. Default: all.")] = None,
    as_json: Json = False,
) -> None:
    """List the sets and their cases, and which of them the newest frozen version holds."""

    def verb() -> Outcome:
        from flows.cases.sets import list_cases
        from services.wiring import connect_in_process

        sets = list_cases(connect_in_process(Settings()).records, purpose)
        rows = [
            (one.purpose, _state(one, case.case_id), case.case_id[:12], case.site, case.origin)
            for one in sets
            for case in one.cases
        ]
        lost = [
            f"the {one.purpose} set must be frozen anew: {len(one.lost)} cases of version "
            f"{one.version} were taken out"
            for one in sets
            if one.lost
        ]
        shown = table(dict.fromkeys(("set", "state", "case", "site", "truth"), "left"), rows)
        return Outcome(sets, (shown, *lost))

    answer(verb, as_json)


def _state(one: CaseSet, case: str) -> str:
    return "not frozen" if case in one.pending else f"version {one.version}"


@cases.command()
def erase(
    patient: Annotated[
        str,
        typer.Argument(
            metavar="PATIENT|STUDY",
            help="PatientID (ISSUER\\ID where an issuer is named), or a study of the patient: folder or UID.",
        ),
    ],
    reason: Reason,
    approver: Approver = "",
    as_json: Json = False,
) -> None:
    """Take a patient out of cases, sets and scores, and name the releases that learnt from the patient.

    Exit 3 if another act did it already: what that left is deleted, and whose it was, and why, is said.
    """

    def verb() -> Outcome:
        from flows.cases.erase import erase as run
        from services.wiring import connect_in_process

        settings = Settings()
        act = acting(approver, Role.APPROVER, settings)
        document = run(patient, act.name, reason, act.connected(connect_in_process))
        return Outcome(document, _erased(document))

    answer(verb, as_json)


def _erased(document: Erased) -> tuple[str, ...]:
    names = [str(number) for number in document.releases]
    lines = [
        f"patient {document.patient[:12]}: {len(document.cases)} cases and {document.scores} scores "
        "are deleted",
        f"releases that learnt from the patient: {', '.join(names) or 'none'}",
    ]
    if document.inherited:
        lines.append(f"tuned from these: {', '.join(map(str, document.inherited))}")
    lines += [f"the {name} set must be frozen anew: `organloop cases freeze`" for name in document.sets]
    return tuple(lines)


def accept(
    study: Annotated[str, typer.Argument(help="StudyInstanceUID, or a folder with the study's DICOM files.")],
    organs: Annotated[str, typer.Option(help="Organs accepted as they are, by comma.")],
    reader: Reader = "",
    series: Annotated[
        str | None, typer.Option(help="SeriesInstanceUID of the CT, if several of the study have results.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Record that a reader accepts organs of a CT series' latest result as they are."""

    def verb() -> Outcome:
        from flows.cases.keep import accept as run
        from services.dicom.ct.chosen import choose_series
        from services.dicom.ct.series import read_series
        from services.wiring import connect_in_process

        folder = Path(study)
        uid = choose_series(read_series(folder)).study_uid if folder.is_dir() else StudyUid(study)
        named = [organ.strip() for organ in organs.split(",") if organ.strip()]
        ct = None if series is None else SeriesUid(series)
        settings = Settings()
        act = acting(reader, Role.READER, settings, "--reader")
        services = act.connected(connect_in_process)
        document = run(uid, named, act.name, services.records, services.releases, ct)
        line = f"release {document.release}: accepted are {', '.join(document.organs)}"
        return Outcome(document, (line,))

    answer(verb, as_json)
