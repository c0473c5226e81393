"""Whether results go to the archive, and how good they are: `speak`, `silence`, `compared`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.table import Table

from deploy.cli.acting import Approver, Reason, acting
from deploy.cli.console import Json, Outcome, answer, progress, table
from models.people import Role
from services.settings import Settings

if TYPE_CHECKING:
    from flows.speech.speech import Speech
    from models.gate.silent_results import SilentResults


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    for verb in (speak, silence, compared):
        app.command()(verb)


def speak(reason: Reason, approver: Approver = "", as_json: Json = False) -> None:
    """Have results sent to the archive from now on; a new site is silent until then.

    What was made in silence is not sent by this: `organloop segment STUDY` makes and sends one. Exit 3 if the
    site speaks already by another act: whose, and why, is said.
    """

    def verb() -> Outcome:
        from flows.speech import speech
        from services.records.store import open_records

        settings = Settings()
        act = acting(approver, Role.APPROVER, settings)
        records = act.in_records(open_records(settings.records_url))
        return _changed(speech.speak(act.name, reason, records))

    answer(verb, as_json)


def silence(reason: Reason, approver: Approver = "", as_json: Json = False) -> None:
    """Have results kept in the home from now on, and none sent to the archive.

    For a new network before it is promoted. What is being stored at this moment may still arrive. Exit 3 if
    the site is silent already by another act: whose, and why, is said.
    """

    def verb() -> Outcome:
        from flows.speech import speech
        from services.records.store import open_records

        settings = Settings()
        act = acting(approver, Role.APPROVER, settings)
        return _changed(
            speech.be_silent(act.name, reason, act.in_records(open_records(settings.records_url)))
        )

    answer(verb, as_json)


def _changed(found: Speech) -> Outcome:
    unsent = f"studies made in silence and not sent: {found.unsent}; `organloop segment STUDY` sends one"
    return Outcome(found, (found.words, *((unsent,) if found.speaks and found.unsent else ())))


def compared(as_json: Json = False) -> None:
    """Compare what was made in silence with the labels that the site gave (`cases add`), organ by organ.

    DSC (0 to 1) and the 95th percentile of the surfaces' distance, on the CT's grid, by independent truth
    only. It decides nothing; the gate's page shows the same while the site is silent.
    """

    def verb() -> Outcome:
        from flows.speech.compared import compared as run
        from services.cases.store import CaseStore
        from services.pacs.unsent import UnsentResults
        from services.records.store import open_records

        settings = Settings()
        records = open_records(settings.records_url)
        found = run(records, CaseStore(settings.case_store), UnsentResults(settings.unsent_store), progress)
        left = [f"not compared, {one.code}: case {one.case[:12]}: {one.detail}" for one in found.not_compared]
        line = f"{found.studies} results compared with labels, {len(left)} cases not"
        return Outcome(found, (*_table(found), line, *left))

    answer(verb, as_json)


def _table(found: SilentResults) -> list[Table]:
    sides = {"release": "right", "organ": "left"} | dict.fromkeys(
        ("studies", "median DSC", "worst DSC", "median HD95 mm", "missed", "hallucinated"), "right"
    )
    rows = [
        (
            one.release, one.organ, one.studies, f"{one.median_dsc:.3f}", f"{one.worst[0].dsc:.3f}",
            f"{one.median_hd95_mm:.1f}", one.missed, one.hallucinated, one.worst[0].case[:12],
        )
        for one in found.organs
    ]  # fmt: skip
    return [table(sides | {"worst case": "left"}, rows)] if rows else []
