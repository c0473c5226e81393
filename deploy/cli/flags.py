"""The verbs about flags: `calibrate` a release on the site's cases, `bounds`: do they hold where audited."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from deploy.cli.console import EXIT_FAILED, Json, Outcome, answer, progress, table
from services.settings import Settings

if TYPE_CHECKING:
    from flows.calibration.calibrate import Calibrated
    from flows.calibration.random_audit import Bounds


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command()(calibrate)
    app.command()(bounds)


def calibrate(
    propose: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A new file for targets and margins that the cases propose; nothing uses it until a person "
            "has signed it.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Calibrate the incumbent on the site's cases into a candidate of the same weights.

    Numbers are in DSC (0 to 1). Exit 3 with fewer than 10 patients with independent truth.
    """
    if propose is not None and (propose.exists() or not propose.parent.is_dir()):
        raise typer.BadParameter(f"{propose} is there already, or has no folder; name a new file")

    def verb() -> Outcome:
        from flows.calibration.calibrate import calibrate_release
        from flows.calibration.proposals import proposal_file
        from services.files import replace
        from services.wiring import connect_in_process

        document = calibrate_release(connect_in_process(Settings()), progress)
        parts: tuple[Table | str, ...] = ()
        if propose is not None:
            text = proposal_file(document.proposals, document.cases, document.parent, document.profile)
            replace(propose, text.encode())
            parts = (_proposal_table(document), f"proposed, not in force: {propose}")
        candidate = (
            f"candidate: release {document.release}, release {document.parent} calibrated on "
            f"{document.cases} cases ({document.seconds['total']:.0f} s)"
        )
        return Outcome(document, (_calibration_table(document), *parts, candidate))

    answer(verb, as_json)


def bounds(as_json: Json = False) -> None:
    """Say how often bounds of DSC held in audited studies, with 90 % intervals; exit 1 if one is broken."""

    def verb() -> Outcome:
        from flows.calibration.random_audit import check_bounds
        from services.wiring import connect_in_process

        services = connect_in_process(Settings())
        document = check_bounds(services.records, services.releases)
        said = [f"{document.drawn} studies drawn, {document.reviewed} reviewed"]
        if document.called_wrong:
            said.append(f"called wrong, without a drawing: {_times(document.called_wrong)}")
        if document.unsent:
            said.append(
                f"{document.unsent} of them were made in silence and not sent: no reader can review them"
            )
        said += [f"waiting: study {one.study_uid}" for one in document.waiting]
        alerts = [f"the bound of {organ} holds less often than promised" for organ in document.alerts]
        return Outcome(document, (_bounds_table(document), *said, *alerts), EXIT_FAILED if alerts else 0)

    answer(verb, as_json)


def _times(by_organ: Mapping[str, int]) -> str:
    return ", ".join(f"{organ} {times} times" for organ, times in by_organ.items())


def _calibration_table(document: Calibrated) -> Table:
    from flows.calibration.calibrate import calibration_rows

    rows = calibration_rows(document)
    sides = {name: "left" if name in ("organ", "state") else "right" for name in rows[0]}
    return table(sides, [tuple(row.values()) for row in rows])


def _proposal_table(document: Calibrated) -> Table:
    from flows.calibration.proposals import proposal_rows

    rows = proposal_rows(document.proposals)
    sides = {name: "left" if name in ("organ", "missing") else "right" for name in rows[0]}
    return table(sides, [tuple(row.values()) for row in rows])


def _bounds_table(document: Bounds) -> Table:
    rows = [
        (
            organ,
            f"{one.held} of {one.looked_at}",
            f"{one.low:.2f} to {one.high:.2f}",
            f"{one.promised:.2f}",
            one.accepted,
        )
        for organ, one in document.organs.items()
    ]
    sides = dict.fromkeys(("held", "interval", "promised", "accepted"), "right")
    return table({"organ": "left"} | sides, rows)
