"""The verbs about corrections on record: `corrections`, their sum and fate, `withdraw` takes one back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from deploy.cli.acting import Reader, Reason, acting
from deploy.cli.console import Json, Outcome, answer, progress, table
from models.people import Role
from models.uids import SopUid
from services.settings import Settings

if TYPE_CHECKING:
    from flows.corrections.fate import Fate
    from flows.corrections.sums import Sums


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command()(corrections)
    app.command()(withdraw)


def corrections(
    uid: Annotated[
        str | None,
        typer.Argument(
            metavar="UID",
            help="SOP Instance UID of a correction, or the UID of a study or series: what became of it.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Sum up what readers corrected, in millilitres, millimetres and hours; with a UID: what became of it.

    Of each organ that a correction speaks of: the releases that learnt it and how far they have come,
    `tonight`, or why it is not learnt. Nothing is changed; cases that wait to be learnt are read, about a
    second each. Exit 3 if nothing of that UID came in.

    Hours run from our result to the time that the viewer wrote; what cannot be is left out.
    """

    def verb() -> Outcome:
        return _sums() if uid is None else _fates(uid)

    answer(verb, as_json)


def _sums() -> Outcome:
    from flows.corrections.sums import sums
    from services.records.store import open_records
    from services.wiring import policy_of

    settings = Settings()
    document = sums(open_records(settings.records_url), policy_of(settings))
    return Outcome(document, _text(document))


def _fates(uid: str) -> Outcome:
    from flows.corrections.fate import fates
    from flows.tuning.plan import AUTO, tuning_settings
    from services.wiring import connect_in_process

    settings = Settings()
    found = fates(uid, connect_in_process(settings), tuning_settings(AUTO, settings), progress)
    return Outcome(found, [part for one in found for part in _fate(one)])


def _fate(one: Fate) -> tuple[str | Table, ...]:
    whose = f" by {one.reader}" if one.reader else ""
    name = one.correction or f"{one.sop_instance_uid} (not taken)"
    head = f"{name}{whose}, study {one.study_uid}: {one.code}: {one.detail}"
    if not one.organs:
        return (head,)
    rows = [(each.organ, each.said, each.code, each.detail) for each in one.organs]
    return (head, table(dict.fromkeys(("organ", "said", "became", "which, or why"), "left"), rows))


def withdraw(
    sop_instance_uid: Annotated[str, typer.Argument(metavar="SOP_UID", help="Of the correction.")],
    reason: Reason,
    reader: Reader = "",
    as_json: Json = False,
) -> None:
    """Take a correction out of all tuning to come; nothing is deleted.

    Exit 3 if it is withdrawn already by another act: whose, and why, is said.
    """

    def verb() -> Outcome:
        from flows.corrections.withdraw import withdraw as run
        from services.records.store import open_records
        from services.releases.store import ReleaseStore
        from services.wiring import policy_of

        settings = Settings()
        releases = ReleaseStore(settings.release_store)
        policy = policy_of(settings)
        act = acting(reader, Role.READER, settings, "--reader")
        uid, records = SopUid(sop_instance_uid), act.in_records(open_records(settings.records_url))
        document = run(uid, act.name, reason, records, releases, policy)
        learnt = [str(number) for number in (*document.releases, *document.inherited)]
        return Outcome(
            document,
            (
                f"withdrawn: {sop_instance_uid} ({', '.join(document.organs) or 'no organ edited'})",
                f"releases that learnt from it: {', '.join(learnt) or 'none'}",
                *(f"{one.organ}: {one.correction} counts now" for one in document.instead),
            ),
        )

    answer(verb, as_json)


def _text(document: Sums) -> tuple[str | Table, ...]:
    organs = {"organ": "left"} | dict.fromkeys(
        ("edited", "accepted", "ml changed", "surface mm", "readers", "disagree"), "right"
    )
    rows = [
        (
            one.organ, one.edited, one.accepted, one.changed_ml, one.surface_mm, one.readers,
            one.disagreements,
        )
        for one in document.organs
    ]  # fmt: skip
    shown: list[str | Table] = [
        f"{document.corrections} corrections count; studies and medians:", table(organs, rows)
    ]  # fmt: skip
    costs = ("corrections", "organs edited", "ml changed", "hours to save")
    by_reader = [(one.reader, one) for one in document.readers]
    by_release = [(one.release, one) for one in document.releases]
    for name, groups in (("reader", by_reader), ("release", by_release)):
        of_group = [
            (group, one.corrections, one.edited_organs, one.changed_ml, one.hours_to_save)
            for group, one in groups
        ]
        shown.append(table({name: "left"} | dict.fromkeys(costs, "right"), of_group))
    if document.reading:
        opened = ("readings", "median seconds", "seconds together")
        times = [
            (one.week, one.site, one.flag, one.readings, one.median_seconds, one.seconds)
            for one in document.reading
        ]
        sides = dict.fromkeys(("week", "site", "told"), "left") | dict.fromkeys(opened, "right")
        shown.append(table(sides, times))
    shown += [
        f"readers disagree on {one.organ} of series {one.series_uid}: DSC {one.dsc}"
        for one in document.disagreements
    ]
    shown += [f"open questions: {name} ({len(asked)})" for name, asked in document.questions.items()]
    shown += [
        f"not taken: {one.uid} of study {one.study_uid}: {one.code}: {one.detail}"
        for one in document.not_taken
    ]
    shown += [f"not kept: {one.correction}: {one.code}: {one.detail}" for one in document.not_kept]
    return tuple(shown)
