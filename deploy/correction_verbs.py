"""The verbs about corrections on record: `corrections` sums them up, `withdraw` takes one back."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from deploy.console import Json, Outcome, answer, table
from models.uids import SopUid
from services.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command()(corrections)
    app.command()(withdraw)


def corrections(as_json: Json = False) -> None:
    """Sum up what readers corrected: by organ, reader and release, in millilitres, millimetres and hours."""

    def verb() -> Outcome:
        from flows.correction_sums import sums
        from services.cases.words import ReadersDisagree
        from services.records.store import open_records

        settings = Settings()
        document = sums(open_records(settings.records_url), ReadersDisagree(settings.readers_disagree))
        return Outcome(document, _text(document))

    answer(verb, as_json)


def withdraw(
    sop_instance_uid: Annotated[str, typer.Argument(metavar="SOP_UID", help="Of the correction.")],
    reader: Annotated[str, typer.Option(help="Name of the person whose act this is; kept on record.")],
    reason: Annotated[str, typer.Option(help="Why; kept on record.")],
    as_json: Json = False,
) -> None:
    """Take a correction out of all tuning to come; nothing is deleted."""

    def verb() -> Outcome:
        from flows.take_back import withdraw as run
        from services.cases.words import ReadersDisagree
        from services.records.store import open_records
        from services.releases.store import ReleaseStore

        settings = Settings()
        releases = ReleaseStore(settings.release_store)
        policy = ReadersDisagree(settings.readers_disagree)
        uid, records = SopUid(sop_instance_uid), open_records(settings.records_url)
        document = run(uid, reader, reason, records, releases, policy)
        learnt = [str(number) for number in (*document["releases"], *document["inherited"])]
        return Outcome(
            document,
            (
                f"withdrawn: {sop_instance_uid} ({', '.join(document['organs']) or 'no organ edited'})",
                f"releases that learnt from it: {', '.join(learnt) or 'none'}",
                *(f"{one['organ']}: {one['correction']} counts now" for one in document["instead"]),
            ),
        )

    answer(verb, as_json)


def _text(document: dict[str, Any]) -> tuple[str | Table, ...]:
    organs = {"organ": "left"} | dict.fromkeys(
        ("edited", "accepted", "ml changed", "surface mm", "readers", "disagree"), "right"
    )
    rows = [
        (
            one["organ"], one["edited"], one["accepted"], one["changed_ml"], one["surface_mm"],
            one["readers"], one["disagreements"],
        )
        for one in document["organs"]
    ]  # fmt: skip
    shown: list[str | Table] = [
        f"{document['corrections']} corrections count; studies and medians:", table(organs, rows)
    ]  # fmt: skip
    for name in ("reader", "release"):
        columns = {name: "left"} | dict.fromkeys(
            ("corrections", "organs edited", "ml changed", "hours to save"), "right"
        )
        groups = [
            (one[name], one["corrections"], one["edited_organs"], one["changed_ml"], one["hours_to_save"])
            for one in document[f"{name}s"]
        ]
        shown.append(table(columns, groups))
    shown += [
        f"readers disagree on {one['organ']} of series {one['series_uid']}: DSC {one['dsc']}"
        for one in document["disagreements"]
    ]
    shown += [f"open questions: {name} ({len(asked)})" for name, asked in document["questions"].items()]
    return tuple(shown)
