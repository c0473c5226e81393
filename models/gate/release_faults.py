"""What two releases themselves have against a candidate, before any case is asked."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace

from models.calibration import Calibration
from models.contract import ModelContract
from models.gate.report import Decision, GateReason
from models.organs import KEYS
from models.release import Release


def release_faults(
    incumbent: Release,
    candidate: Release,
    tuned: Collection[str],
    *,
    recalibrated: bool = False,
    retrained: bool = False,
) -> list[GateReason]:
    """Return what the two releases themselves have against the candidate; no case need be asked.

    Parameters
    ----------
    incumbent, candidate
        The two releases.
    tuned
        Organs whose heads were meant to change; those the incumbent lacks are new.
    recalibrated
        Whether it is on record that the calibration, and nothing else, was measured anew: then a person
        agrees to what is claimed from now on.
    retrained
        Whether it is on record that the whole network was trained again: then trunk, heads and what is
        claimed are all others, and a person agrees to that.

    Notes
    -----
    What is on record of a candidate, the organs tuned and the patients learnt from, is told against its
    parent. Against another incumbent nothing is known of what the parent itself had learnt: after a
    rollback, candidates of the release rolled back are refused, and the release itself, whose parent
    serves again, may be promoted again. So a line of releases is gone back and forth step by step.
    """
    faults = {
        "other-parent": (
            candidate.parent != incumbent.number,
            f"It was tuned from release {candidate.parent}; release {incumbent.number} serves.",
        ),
        "trunk-changed": (
            not retrained and candidate.trunk != incumbent.trunk,
            "Tuning must leave the trunk as it is.",
        ),
        "contract-changed": (
            _plain(candidate.contract) != _plain(incumbent.contract)
            and (retrained or not added_organs(incumbent, candidate, tuned)),
            "Tuning must leave the contract as it is, but for organs that are on record as new.",
        ),
        "calibration-changed": (
            not recalibrated
            and not retrained
            and not _calibration_kept(incumbent, candidate, changed_heads(incumbent, candidate, tuned)),
            "Tuning must leave the domain, the profile and every untouched organ's calibration as they are.",
        ),
        "demonstration-changed": (
            incumbent.demonstration and not candidate.demonstration,
            "Tuning does not make demonstration weights fit for clinical use.",
        ),
    }
    found = [GateReason(code, Decision.REFUSE, detail) for code, (is_so, detail) in faults.items() if is_so]
    if recalibrated and candidate.calibration != incumbent.calibration:
        detail = "Bounds and flags are claimed by a new calibration."
        found.append(GateReason("recalibrated", Decision.NEEDS_APPROVAL, detail))
    if retrained and candidate.trunk != incumbent.trunk:
        detail = "The whole network was trained again: every organ is another network, on another trunk."
        found.append(GateReason("retrained", Decision.NEEDS_APPROVAL, detail))
    return found


def added_organs(incumbent: Release, candidate: Release, tuned: Collection[str]) -> tuple[str, ...]:
    """Return the organs a candidate has beyond the incumbent's; none if its contract differs otherwise too.

    They stand behind the incumbent's, and it is on record that a head of each was tuned.
    """
    before, after = incumbent.contract, candidate.contract
    kept, added = after.organs[: len(before.organs)], after.organs[len(before.organs) :]
    thresholds = {organ: value for organ, value in after.thresholds.items() if organ not in added}
    without = json.dumps(
        {**after.to_json(), "organs": before.organs, "thresholds": thresholds}, sort_keys=True
    )
    once = len(set(after.organs)) == len(after.organs)
    only_added = once and kept == before.organs and without == _plain(before)
    return added if only_added and set(added) <= set(tuned) & set(KEYS) else ()


def changed_heads(incumbent: Release, candidate: Release, tuned: Collection[str]) -> frozenset[str]:
    """Return the organs whose heads were meant to change and did."""
    return frozenset(o for o in tuned if incumbent.heads.get(o) != candidate.heads.get(o))


def _calibration_kept(incumbent: Release, candidate: Release, changed: Collection[str]) -> bool:
    """Whether all that is claimed is as it was; a changed head's bound may be dropped or measured anew."""
    before, after = incumbent.calibration, candidate.calibration
    if before is None or after is None:
        return before is after

    def kept(calibration: Calibration) -> Calibration:
        organs = {organ: known for organ, known in calibration.organs.items() if organ not in changed}
        return replace(calibration, organs=organs)

    return kept(before) == kept(after)


def _plain(contract: ModelContract) -> str:
    return json.dumps(contract.to_json(), sort_keys=True)
