"""The segmenter: is the incumbent loaded on every endpoint, and does it answer a study sanely."""

from __future__ import annotations

import time
from collections.abc import Iterator

from deploy.doctor.advisories import unsafe
from deploy.doctor.finding import Finding, State
from flows.serving.proof import unproven
from models.errors import ServingFailed
from models.proof.canary import answer_faults, canary_volume
from models.release import Release
from models.targets import Targets
from services.inference.port import Endpoint
from services.triton.client import TritonSegmenter
from services.wiring import Services

SHARE_OF_DEADLINE = 0.25
"""The canary is a small study: one that takes this share of the deadline leaves nothing for a large one."""


def serving(services: Services) -> Iterator[Finding]:
    """Ask the incumbent on every endpoint, each by itself, then have it answer the canary.

    Raises
    ------
    ServingFailed, InvalidRelease
        If it does not answer, or is damaged.
    """
    warning = unproven(services.settings, services.records)
    if warning:
        remedy = "`make gpu-proofs` in the GPU server's container, or ORGANLOOP_TRITON_TARGET=python."
        yield Finding("GPU target", State.WARNING, warning, remedy)
    number = services.records.incumbent()
    if number is None:
        remedy = (
            "`organloop releases first FILE --serve silently` lets one serve: another site's file, or a "
            "checkpoint. `organloop up` or `organloop prepare --starter` takes in the demonstration release."
        )
        yield Finding("release", State.BAD, "no release is the incumbent yet", remedy)
        return
    release = services.releases.release(number)
    detail = f"release {number}, {len(release.heads)} organs"
    if release.demonstration:
        yield Finding("release", State.WARNING, f"{detail}: for demonstration only", "Not for clinical use.")
    else:
        yield Finding("release", State.GOOD, detail)
    yield judged(release, services.targets)
    asked = [(endpoint, _away(endpoint, number)) for endpoint in services.endpoints]
    away = [why for _, why in asked if why]
    for why in away:
        remedy = "`organloop up` loads it on one machine; in a cluster look at its log and delete its pod."
        yield Finding("segmenter", State.BAD, why, remedy)
    if len(away) == len(services.endpoints):
        return
    there = [endpoint for endpoint, why in asked if not why]
    versions = {one.server_version() for one in there if isinstance(one, TritonSegmenter)}
    for version in sorted(versions):
        yield from unsafe("Triton", version)
    profile = services.segmenter.profile(number)
    loaded = f"release {number} is loaded on {len(there)} of {len(asked)}"
    yield Finding("segmenter", State.GOOD, f"{loaded}: {profile}")
    yield calibrated(profile, release.calibration.profile if release.calibration else None)
    volume = canary_volume(release.contract)
    started = time.perf_counter()
    answer = services.segmenter.segment(volume, number)
    took = time.perf_counter() - started
    measured = {"seconds": round(took, 2)}
    faults = answer_faults(release, answer, volume.shape)
    if faults:
        found = "; ".join(f"{fault}: {', '.join(organs)}" for fault, organs in faults.items())
        remedy = "`organloop rollback` goes back to the release before it; keep the log."
        yield Finding("canary", State.BAD, found, remedy, measured)
        return
    detail = f"answered sanely in {took:.1f} s"
    if took > SHARE_OF_DEADLINE * services.settings.serving_deadline_seconds:
        remedy = "More cores or a GPU for the segmenter, or a longer ORGANLOOP_SERVING_DEADLINE_SECONDS."
        yield Finding("canary", State.WARNING, detail, remedy, measured)
    else:
        yield Finding("canary", State.GOOD, detail, measured=measured)


def _away(endpoint: Endpoint, number: int) -> str:
    """Return why a segmenter does not answer for a release; nothing if it does."""
    try:
        return "" if endpoint.ready(number) else f"release {number} is not loaded on {endpoint.url}"
    except ServingFailed as error:
        return str(error)


def judged(release: Release, targets: Targets) -> Finding:
    """Tell of which organs of a release something may be said: those that have a target."""
    found = targets.dsc_targets(release.contract)
    without = [organ for organ, target in found.items() if target is None]
    measured = {"organs": len(found), "without_target": len(without)}
    if not without:
        return Finding("targets", State.GOOD, "every organ has one", measured=measured)
    detail = f"{len(without)} of {len(found)} organs have none and are not judged: {', '.join(without)}"
    remedy = "`organloop calibrate --propose FILE`; what is agreed to into the file ORGANLOOP_TARGETS names."
    return Finding("targets", State.WARNING, detail, remedy, measured)


def calibrated(served: str, calibrated_in: str | None) -> Finding:
    """Judge whether a bound may be claimed: a calibration holds in the serving profile it was made in."""
    if calibrated_in is None:
        remedy = "`organloop cases add` for calibration, then `organloop calibrate`."
        return Finding("calibration", State.WARNING, "not calibrated: every organ is for review", remedy)
    if served != calibrated_in:
        detail = f"calibrated in {calibrated_in}: no bound is claimed, and the gate has judged it elsewhere"
        remedy = (
            "Serve it as it was calibrated (ORGANLOOP_THREADS, target, engine), or calibrate and gate anew."
        )
        return Finding("calibration", State.WARNING, detail, remedy)
    return Finding("calibration", State.GOOD, "made in the profile that is served")
