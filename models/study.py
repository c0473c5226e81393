"""From the segmenter's answer to what is said about the study.

Masks are exactly the voxels at or above the organ's threshold. Specks are not deleted: a mask silently
tidied is no longer the served result that corrections and the gate compare with, and a speck may be the
very thing to look at. What lies in surplus pieces is told (`fragmented`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.calibration import Calibration
from models.conformal import lower_bound
from models.domain import is_out_of_domain, study_feature
from models.findings import OrganFinding, Presence, ReviewRegion, StudyFindings
from models.flags import flag
from models.geometry import Geometry
from models.organs import ORGANS
from models.quality import Shape, broken_rules, measure
from models.reasons import Reason
from models.regions import organ_regions, rank_regions
from models.release import Release
from models.resampling import patch_on_ct
from models.segmentation import Segmentation
from models.uncertainty import Uncertainty, soft_dice_confidence, uncertainty_near


@dataclass(frozen=True, eq=False)
class OrganResult:
    """One organ as segmented, before anything is judged.

    Parameters
    ----------
    mask
        Axes (k, j, i) on the CT grid, bool.
    shape
        What the quality rules need; None when nothing was found.
    sdc
        Soft Dice confidence on the model grid, so that it does not depend on the CT's slice thickness;
        None when nothing was found.
    """

    mask: NDArray[np.bool_]
    shape: Shape | None
    sdc: float | None


def organ_result(
    probability: NDArray[np.float16], threshold: float, model: Geometry, ct: Geometry
) -> OrganResult:
    """Bring one organ from the model grid to the CT grid and measure it.

    Parameters
    ----------
    probability
        Axes (k, j, i) on the model grid.
    threshold
        Probability at and above which a voxel belongs to the organ.
    model, ct
        The two geometries.
    """
    patch, box = patch_on_ct(probability, model, ct)
    inside = patch >= threshold
    mask = np.zeros(ct.shape, dtype=bool)
    mask[box] = inside
    shape = measure(inside, box, ct)
    sdc = soft_dice_confidence(probability, probability >= threshold) if shape else None
    return OrganResult(mask, shape, sdc)


def assess(
    segmentation: Segmentation,
    model_geometry: Geometry,
    ct_geometry: Geometry,
    release: Release,
    profile: str,
    asked: Collection[str] = ORGANS,
) -> StudyFindings:
    """Say everything that is said about one CT series.

    Parameters
    ----------
    segmentation
        What the release's segmenter answered.
    model_geometry, ct_geometry
        The grid it answered on and the grid the reader sees.
    release
        The release that was asked.
    profile
        The serving profile it answered in: a calibration made in another one claims nothing here.
    asked
        Organs asked for, keys of the catalogue.

    Returns
    -------
    StudyFindings
        Masks on the CT grid, a finding for every organ of the catalogue, review regions of those flagged.

    Raises
    ------
    InvalidRelease
        If another release answered.
    ValueError
        If the release does not know an organ asked for, or the answer does not fit contract and grid.
    """
    segmentation.require(release)
    contract = release.contract
    unknown = sorted(set(asked) - (set(contract.organs) & set(ORGANS)))
    if unknown:
        raise ValueError(f"release {release.number} does not segment {', '.join(unknown)}")
    if segmentation.probability.shape != (len(contract.organs), *model_geometry.shape):
        raise ValueError(f"answer {segmentation.probability.shape} does not fit {model_geometry.shape}")
    channel = {organ: index for index, organ in enumerate(contract.organs)}
    results = {
        organ: organ_result(
            segmentation.probability[channel[organ]], contract.thresholds[organ], model_geometry, ct_geometry
        )
        for organ in ORGANS
        if organ in asked
    }
    unsure = {
        organ: uncertainty_near(
            segmentation.probability[channel[organ]],
            segmentation.disagreement[channel[organ]],
            segmentation.probability[channel[organ]] >= contract.thresholds[organ],
        )
        for organ in results
    }
    broken = broken_rules({organ: result.shape for organ, result in results.items()}, ct_geometry)
    calibration = release.calibration
    if calibration is not None and calibration.profile != profile:
        calibration = None
    strange = calibration is not None and is_out_of_domain(
        study_feature(segmentation.global_feature), calibration.domain
    )
    findings = tuple(
        _finding(organ, results[organ], unsure[organ], broken[organ], strange, calibration)
        if organ in results
        else OrganFinding(organ, Presence.NOT_ASKED, False, 0.0, None, (), None, None, None, None)
        for organ in ORGANS
    )
    regions: list[ReviewRegion] = []
    for finding in findings:
        if finding.flagged:
            index = channel[finding.organ]
            regions += organ_regions(
                finding.organ,
                segmentation.probability[index],
                segmentation.disagreement[index],
                contract.thresholds[finding.organ],
                model_geometry,
                ct_geometry,
            )
    return StudyFindings(
        release=release.number,
        release_digest=release.digest,
        demonstration=release.demonstration,
        geometry=ct_geometry,
        masks={organ: result.mask for organ, result in results.items()},
        organs=findings,
        regions=rank_regions(regions),
    )


def _finding(
    organ: str,
    result: OrganResult,
    unsure: Uncertainty | None,
    broken: tuple[Reason, ...],
    out_of_domain: bool,
    calibrated: Calibration | None,
) -> OrganFinding:
    calibration = calibrated.organs.get(organ) if calibrated else None
    reasons = list(broken)
    if out_of_domain:
        reasons.append(Reason.OUT_OF_DOMAIN)
    if calibration is None:
        reasons.append(Reason.UNCALIBRATED)
    bound = confidence = None
    if result.sdc is not None and calibration is not None and not out_of_domain:
        bound, confidence = lower_bound(result.sdc, calibration), calibration.confidence
    told, ordered = flag(organ, bound, reasons)
    return OrganFinding(
        organ=organ,
        presence=Presence.ABSENT if result.shape is None else Presence.FOUND,
        cut_by_field_of_view=result.shape is not None and result.shape.cut,
        volume_ml=result.shape.volume_ml if result.shape else 0.0,
        flag=told,
        reasons=tuple(reason.value for reason in ordered),
        dsc_lower_bound=bound,
        confidence=confidence,
        entropy=unsure.entropy if result.shape and unsure else None,
        disagreement=unsure.disagreement if result.shape and unsure else None,
    )
