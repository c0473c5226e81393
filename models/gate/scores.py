"""What one release scores on one case, organ by organ, and the pairs the gate weighs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from models.body import filled_body
from models.bounds.claims import calibration_in, domain_of
from models.bounds.expectation import expected_dsc, signs_of
from models.calibration import OrganCalibration
from models.gate.organ_score import LACKING, OrganScore
from models.gate.paired import PairedScore
from models.geometry import Geometry
from models.inference.question import answered_volume
from models.inference.segmentation import Segmentation
from models.judgement.assess import organ_result
from models.judgement.between_organs import shared_voxels
from models.masks import BoxedMask
from models.metrics.dsc import dsc, outcome
from models.metrics.surface import surface_agreement
from models.release import Release, sha256_hex
from models.resampling import patch_on_ct
from models.volume import Volume

HALF = 0.5
"""Of a voxel: from here on it belongs to a mask that was moved."""


def score_organs(
    answer: Segmentation,
    release: Release,
    asked: Volume,
    ct: Geometry,
    truth: Mapping[str, BoxedMask],
    profile: str,
) -> dict[str, OrganScore]:
    """Score an answer against the truth.

    Parameters
    ----------
    answer
        What the release answered.
    release
        The release that was asked; its contract gives organs and thresholds.
    asked
        The volume that it was asked about.
    ct
        The grid of the truth.
    truth
        Mask of each organ on the CT grid. Of an organ of the contract without one there is only what was
        answered.
    profile
        Serving profile it answered in.

    Returns
    -------
    dict
        By organ, in the contract's order.

    Raises
    ------
    InvalidRelease
        If another release answered.
    """
    answer.require(release)
    organs = release.contract.organs
    model = answered_volume(asked, answer)
    masks = {
        organ: _mask(answer, channel, release.contract.thresholds[organ], asked.geometry, ct)
        for channel, organ in enumerate(organs)
    }
    shared = shared_voxels(masks)
    claimed = _claimed(answer, release, model, ct, profile)
    scores = {}
    for channel, (probability, organ) in enumerate(zip(answer.probability, organs, strict=True)):
        mask = masks[organ]
        digest = sha256_hex(np.ascontiguousarray(probability).tobytes() + b"".join(mask.packed()))
        if organ not in truth:
            scores[organ] = OrganScore(digest, dsc=None, outcome=None, overlaps=shared[organ])
            continue
        ours, theirs = mask.dense(), truth[organ].dense()
        surface = surface_agreement(
            ours, theirs, ct.spacing_mm, release.contract.entry(organ).nsd_tolerance_mm
        )
        scores[organ] = OrganScore(
            digest=digest,
            dsc=dsc(ours, theirs),
            outcome=outcome(predicted=mask.any(), true=truth[organ].any()),
            nsd=surface.nsd if surface else None,
            hd95_mm=surface.hd95_mm if surface else None,
            expected_dsc=_expected(answer, channel, release, claimed),
            overlaps=shared[organ],
        )
    return scores


def _mask(answer: Segmentation, channel: int, threshold: float, asked: Geometry, ct: Geometry) -> BoxedMask:
    """Return the mask of an organ on the grid of the truth."""
    if answer.drawn is None:
        return organ_result(answer.probability[channel], threshold, asked, ct).mask
    drawn = answer.drawn.on_ct[channel]
    if asked.same_grid(ct):
        return drawn
    patch, box = patch_on_ct(drawn.dense(), asked, ct)  # of a further scan: whole voxels off
    return BoxedMask.part(patch >= HALF, box, ct.shape)


def _claimed(
    answer: Segmentation, release: Release, model: Volume, ct: Geometry, profile: str
) -> Mapping[str, OrganCalibration]:
    """Return by organ the calibration a bound would be claimed by for this study."""
    calibration = calibration_in(release, profile)
    if calibration is None:
        return {}
    thresholds = release.contract.thresholds
    served = {
        organ: answer.inside(channel, thresholds[organ])
        for channel, organ in enumerate(release.contract.organs)
    }
    outside, _ = domain_of(calibration, answer.global_feature, model, ct, filled_body(model.hu), served)
    return {} if outside else calibration.organs


def _expected(
    answer: Segmentation, channel: int, release: Release, claimed: Mapping[str, OrganCalibration]
) -> float | None:
    """Return the DSC a bound would be taken from; as `models.judgement.assess`."""
    organ, probability = release.contract.organs[channel], answer.probability[channel]
    if organ not in claimed:
        return None
    mask = answer.inside(channel, release.contract.thresholds[organ])
    members = answer.member_disagreement.get(channel)
    signs = signs_of(probability, mask, claimed[organ].reliability, members)
    return None if signs is None else expected_dsc(signs, claimed[organ].expectation)


def pair(
    incumbent: OrganScore | None,
    candidate: OrganScore,
    *,
    case: str,
    patient: str,
    site: str,
    origin: str,
    groups: Mapping[str, str],
    again: Sequence[OrganScore] = (),
) -> PairedScore:
    """Put both releases' scores side by side; None stands for an incumbent that lacks the organ."""
    return PairedScore(incumbent or LACKING, candidate, case, patient, site, origin, groups, tuple(again))
