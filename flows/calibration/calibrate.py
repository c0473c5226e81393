"""Calibrate a release on the site's own cases: a new release of the same weights, with another calibration.

Nothing in a release ever changes, so what is claimed of it anew is a candidate like any other: it is gated,
approved and promoted before it tells a reader anything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import PlainSerializer

from flows.calibration.cases import untaught, usable
from flows.calibration.measure import fitted, measure_kept
from flows.calibration.proposals import proposed
from flows.candidates import publish_candidate, record_candidate
from flows.progress import Progress, silent
from flows.serving.serve import current
from models.bounds.domain import FEWEST_STUDIES
from models.bounds.proposals import Proposal
from models.calibration import OrganCalibration
from models.errors import Refused
from models.release import Release
from services.records.entries.cases import Case, Purpose
from services.records.events.candidates import CandidateCalibrated
from services.records.port import Records
from services.releases.engine import open_engine
from services.releases.exporter import export_release
from services.stopwatch import Stopwatch
from services.wiring import Services

AsKept = Annotated[OrganCalibration, PlainSerializer(OrganCalibration.to_json)]
"""What is claimed of an organ, in JSON as the release keeps it: without what says nothing."""


@dataclass(frozen=True)
class Calibrated:
    """The document of the `calibrate` verb.

    Parameters
    ----------
    release, digest, parent
        The candidate, and the release that was calibrated.
    profile
        Serving profile it was measured in.
    cases, left_out
        How many count, and how many do not, by why.
    organs
        What is claimed by organ; None where it is uncalibrated.
    proposals
        What the cases propose as target and margin, by organ; nothing of it is in force.
    seconds
        By step.
    """

    release: int
    digest: str
    parent: int
    profile: str
    cases: int
    left_out: Mapping[str, int]
    organs: Mapping[str, AsKept | None]
    proposals: Mapping[str, Proposal]
    seconds: Mapping[str, float]


def calibrate_release(
    services: Services, progress: Progress = silent, parent: Release | None = None
) -> Calibrated:
    """Calibrate a release on the calibration set and publish the candidate that comes of it.

    Only independent truth counts, one case of a patient: a result that a reader edited or accepted says
    how much was wrong with it, not how far it is from what would have been drawn. Nothing was tuned on
    these patients, for a patient is kept for one purpose only, and a case whose very images are kept for
    tuning under another PatientID does not count.

    Parameters
    ----------
    services
        What to work with; nothing is asked of a server.
    progress
        Told each step.
    parent
        Which; None: the incumbent.

    Raises
    ------
    Refused
        `too-few-cases` with the numbers; `other-grid` if a case was kept for another contract;
        `cases-say-nothing` if they do not differ from one another.
    InvalidRelease
        If there is no incumbent, or a file of it is damaged.
    StorageFailed
        If a case or the candidate cannot be read or kept.
    """
    watch = Stopwatch()
    parent = parent or current(services.releases, services.records)
    independent, left_out = usable(services.records.cases(Purpose.CALIBRATION))
    cases = untaught(independent, services.cases, services.records)
    left_out["same_images"] = len(independent) - len(cases)
    if len(cases) < FEWEST_STUDIES:
        raise Refused(
            "too-few-cases",
            f"{len(cases)} patients with independent truth are kept for calibration; "
            f"{FEWEST_STUDIES} are the fewest (`organloop cases add --purpose calibration`)",
            {"patients": len(cases), "fewest": FEWEST_STUDIES, **left_out},
        )
    with watch.step("export"):
        export_release(parent, services.releases, threads=services.settings.threads)
    with watch.step("calibrate"):
        engine = open_engine(parent, services.releases, services.settings.threads)
        kept = (services.cases.read(case) for case in cases)
        try:
            measured = measure_kept(
                parent, engine, kept, lambda done: progress(f"calibration case {done} of {len(cases)}")
            )
            calibration = fitted(parent, engine.profile, measured, services.targets)
        except ValueError as error:
            raise Refused("cases-say-nothing", str(error), {"patients": len(cases)}) from error
    with watch.step("publish"):
        draft = replace(
            parent,
            number=parent.number + 1,
            parent=parent.number,
            calibration=calibration,
            note=f"Release {parent.number} calibrated on {len(cases)} cases.",
        )
        candidate = publish_candidate(draft, services.releases, services.records)
        _record(services.records, candidate, parent, cases)
    progress(f"candidate: release {candidate.number}")
    return Calibrated(
        release=candidate.number,
        digest=candidate.digest,
        parent=parent.number,
        profile=calibration.profile,
        cases=len(cases),
        left_out=left_out,
        organs={organ: calibration.organs.get(organ) for organ in parent.contract.organs},
        proposals=proposed(measured, parent.contract.organs),
        seconds=watch.seconds(),
    )


def _record(records: Records, candidate: Release, parent: Release, cases: Collection[Case]) -> None:
    calibration = candidate.calibration
    if calibration is None:
        raise ValueError(f"release {candidate.number} has no calibration to put on record")
    event = CandidateCalibrated(
        release=candidate.number,
        digest=candidate.digest,
        parent=parent.number,
        organs=tuple(sorted(calibration.organs)),
        cases=tuple(case.case_id for case in cases),
        patients=tuple(sorted(case.patient for case in cases)),
        sites=tuple(sorted({case.site for case in cases if case.site})),
        profile=calibration.profile,
    )
    record_candidate(candidate, event, "calibrate_release", event.key(candidate.digest), records)


def calibration_rows(document: Calibrated) -> list[dict[str, object]]:
    """Return one row per organ: cases, what is subtracted, calibration error, what is certified."""
    return [{"organ": organ, **_row(fitted)} for organ, fitted in document.organs.items()]


def _row(fitted: OrganCalibration | None) -> dict[str, object]:
    if fitted is None:
        names = ("cases", "subtracted", "error as served", "calibrated", "certified")
        return {"state": "uncalibrated"} | dict.fromkeys(names)
    served, calibrated = fitted.calibration_error or (None, None)
    held = fitted.certificate
    return {
        "state": "calibrated",
        "cases": fitted.cases,
        "subtracted": _rounded(fitted.quantile),
        "error as served": _rounded(served),
        "calibrated": _rounded(calibrated),
        "certified": f"{held.under_target} of {held.cases}" if held else None,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
