"""From the segmenter's answer to what is said about the study.

Masks are exactly the voxels at or above the organ's threshold. Specks are not deleted: a mask silently
tidied is no longer the served result that corrections and the gate compare with, and a speck may be the
very thing to look at. What lies in surplus pieces is told (`fragmented`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.body import BODY_HU, filled_body
from models.bounds.claims import calibration_in, domain_of
from models.bounds.conformal import lower_bound
from models.bounds.expectation import expected_dsc, signs_of
from models.bounds.reliability import calibrated
from models.bounds.uncertainty import Uncertainty, uncertainty_near
from models.calibration import AS_SERVED, OrganCalibration
from models.findings import OrganFinding, Presence, ReviewRegion, StudyFindings
from models.geometry import Geometry
from models.inference.segmentation import Segmentation
from models.judgement.between_organs import broken_relations, disputed_voxels, relate, shared_voxels
from models.judgement.figures import Seen, figures
from models.judgement.flags import flag
from models.judgement.importance import importance_ml
from models.judgement.reasons import NO_BOUND, Reason
from models.judgement.review_regions import organ_regions, rank_regions
from models.judgement.shape_and_side import Shape, beyond, broken_rules, measure
from models.masks import BoxedMask
from models.organs import ORGANS
from models.release import Release
from models.resampling import patch_on_ct
from models.targets import FROM_THE_CATALOGUE, Targets
from models.volume import Volume


@dataclass(frozen=True, eq=False)
class OrganResult:
    """One organ as segmented, before anything is judged.

    Parameters
    ----------
    mask
        On the CT grid.
    shape
        What the quality rules need; None when nothing was found.
    band_ml
        Volume beside the mask in which a voxel's served probability is at least the band's,
        millilitres; None without a band.
    """

    mask: BoxedMask
    shape: Shape | None
    band_ml: float | None


@dataclass(frozen=True, eq=False)
class OrganDoubt:
    """How sure the release is of one organ, on the model grid.

    Parameters
    ----------
    mask
        The voxels served as organ, axes (k, j, i).
    expected
        DSC that is expected; taken here so that it does not depend on the CT's slice thickness. None
        when nothing was found.
    near
        In and near the organ; None when nothing was found.
    importance_ml
        What it weighs in a work list, millilitres.
    """

    mask: NDArray[np.bool_]
    expected: float | None
    near: Uncertainty | None
    importance_ml: float


def organ_result(
    probability: NDArray[np.float16],
    threshold: float,
    model: Geometry,
    ct: Geometry,
    band_probability: float | None = None,
    drawn: BoxedMask | None = None,
) -> OrganResult:
    """Bring one organ from the model grid to the CT grid and measure it.

    Parameters
    ----------
    probability
        Axes (k, j, i) on the model grid, as served.
    threshold
        Probability at and above which a voxel belongs to the organ.
    model, ct
        The two geometries.
    band_probability
        `models.calibration.OrganCalibration.band_probability`.
    drawn
        Its mask on the CT grid, where that does not follow from the threshold.
    """
    if drawn is not None and band_probability is None:
        return OrganResult(drawn, measure(drawn.inside, drawn.box, ct), None)
    patch, box = patch_on_ct(probability, model, ct)
    inside = patch >= threshold if drawn is None else drawn.within(box)
    band = None
    if band_probability is not None:  # slice by slice: a patch may be as large as the CT
        beside = (slice_ >= band_probability for slice_ in patch)
        voxels = sum(np.count_nonzero(near & ~own) for near, own in zip(beside, inside, strict=True))
        band = voxels * ct.voxel_ml
    del patch  # what is measured takes as much again
    if drawn is not None:
        return OrganResult(drawn, measure(drawn.inside, drawn.box, ct), band)
    return OrganResult(BoxedMask.part(inside, box, ct.shape), measure(inside, box, ct), band)


def organ_doubt(
    probability: NDArray[np.float16],
    disagreement: NDArray[np.float16],
    mask: NDArray[np.bool_],
    overlap: NDArray[np.bool_],
    model: Geometry,
    calibration: OrganCalibration | None,
    members: NDArray[np.float16] | None = None,
) -> OrganDoubt:
    """Say how sure the release is of one organ.

    Parameters
    ----------
    probability, disagreement
        Axes (k, j, i) on the model grid, as served.
    mask, overlap
        Same axes: the voxels served as organ, and those that another organ claims too.
    model
        The model grid.
    calibration
        None where the organ is uncalibrated.
    members
        Disagreement of the head's members, same axes, as served; None for a head of one.
    """
    reliability, expectation = AS_SERVED, None
    if calibration is not None:
        reliability, expectation = calibration.reliability, calibration.expectation
    frequency = calibrated(probability, reliability)
    signs = signs_of(probability, mask, reliability, members)
    return OrganDoubt(
        mask=mask,
        expected=None if signs is None else expected_dsc(signs, expectation),
        near=uncertainty_near(frequency, disagreement, mask, members),
        importance_ml=importance_ml(frequency, _widest(disagreement, members), overlap, model.spacing_mm),
    )


def assess(
    segmentation: Segmentation,
    model: Volume,
    ct_geometry: Geometry,
    release: Release,
    profile: str,
    asked: Collection[str] | None = None,
    audited: bool = False,
    doubted: Sequence[int] = (),
    targets: Targets = FROM_THE_CATALOGUE,
) -> StudyFindings:
    """Say everything that is said about one CT series.

    Parameters
    ----------
    segmentation
        What the release's segmenter answered.
    model
        The CT on the grid it answered on.
    ct_geometry
        The grid the reader sees.
    release
        The release that was asked.
    profile
        The serving profile it answered in: a calibration made in another one claims nothing here.
    asked
        Organs asked for, by key; None: all that the release segments.
    audited
        Whether the study was drawn at random: then every organ is for review, whatever its flag says.
    doubted
        Slices of the CT, from 0 in k order, that may not be of their place.
    targets
        What the site has established.

    Returns
    -------
    StudyFindings
        Masks on the CT grid, a finding for each of the nine organs and of the release's further ones,
        review regions of those flagged.

    Raises
    ------
    InvalidRelease
        If another release answered.
    ValueError
        If the release does not know an organ asked for, or the answer does not fit contract and grid.
    """
    segmentation.require(release)
    contract = release.contract
    asked = contract.organs if asked is None else asked
    unknown = sorted(set(asked) - (set(contract.organs) & set(contract.known)))
    if unknown:
        raise ValueError(f"release {release.number} does not segment {', '.join(unknown)}")
    if segmentation.probability.shape != (len(contract.organs), *model.geometry.shape):
        raise ValueError(f"answer {segmentation.probability.shape} does not fit {model.geometry.shape}")
    calibration = calibration_in(release, profile)
    known = calibration.organs if calibration else {}
    organs = [organ for organ in contract.known if organ in asked]
    channel = {organ: contract.organs.index(organ) for organ in organs}
    results = {
        organ: organ_result(
            segmentation.probability[channel[organ]],
            contract.thresholds[organ],
            model.geometry,
            ct_geometry,
            known[organ].band_probability if organ in known else None,
            None if segmentation.drawn is None else segmentation.drawn.on_ct[channel[organ]],
        )
        for organ in organs
    }
    doubts = _doubts(segmentation, model.geometry, contract.thresholds, channel, known)
    # What little of a patient a CT shows may be too small for the model grid to show.
    seen = model.hu.max() > BODY_HU
    body = filled_body(model.hu) if seen else np.zeros(model.hu.shape, dtype=np.bool_)
    shapes = {organ: result.shape for organ, result in results.items()}
    broken = broken_rules(shapes, ct_geometry)
    served = {organ: doubt.mask for organ, doubt in doubts.items()}
    relations = relate(served, body, model.geometry)
    beside = broken_relations(relations)
    shared = shared_voxels({organ: result.mask for organ, result in results.items()})
    outside, strange = domain_of(calibration, segmentation.global_feature, model, ct_geometry, body, served)
    findings = []
    for organ in (organ for organ in contract.known if organ in ORGANS or organ in contract.organs):
        if organ not in results:
            findings.append(
                OrganFinding(organ, Presence.NOT_ASKED, False, 0.0, None, (), None, None, None, None)
            )
            continue
        reasons = [*broken[organ], *beside.get(organ, ())]
        reasons += [Reason.OUT_OF_DOMAIN] * outside + [Reason.RANDOM_AUDIT] * audited
        in_doubt = _in_doubt(results[organ].mask, doubted, ct_geometry, model.geometry)
        reasons += [Reason.DOUBTFUL_SLICES] * (in_doubt > 0)
        seen_of = Seen(
            shapes,
            relations.get(organ),
            beyond(organ, shapes, ct_geometry),
            {other: voxels * ct_geometry.voxel_ml for other, voxels in shared[organ].items()},
            in_doubt,
            target=targets.required(organ, contract).dsc_target,
            strange=strange,
        )
        findings.append(_finding(organ, seen_of, results[organ], doubts[organ], reasons, known.get(organ)))
    regions: list[ReviewRegion] = []
    for finding in findings:
        if finding.flagged:
            organ, n = finding.organ, channel[finding.organ]
            spread = _widest(segmentation.disagreement[n], segmentation.member_disagreement.get(n))
            reliability = known[organ].reliability if organ in known else AS_SERVED
            # Made again, of one organ at a time: that of all would take more memory than the answer.
            frequency = calibrated(segmentation.probability[n], reliability)
            regions += organ_regions(
                organ, frequency, spread, doubts[organ].mask, model.geometry, ct_geometry
            )
    return StudyFindings(
        release=release.number,
        release_digest=release.digest,
        demonstration=release.demonstration,
        geometry=ct_geometry,
        masks={organ: result.mask for organ, result in results.items()},
        organs=tuple(findings),
        regions=rank_regions(regions),
        audited=audited,
        strange=strange,
        targets=targets.digest_for(contract),
        further=() if contract.further is None else contract.further.organs,
        weights=contract.weights,
        shared_voxels=shared,
    )


def _in_doubt(mask: BoxedMask, doubted: Sequence[int], ct: Geometry, model: Geometry) -> int:
    """Return how many slices are doubted from an organ's first to its last, or a voxel of the model beside.

    An organ that has a hole in a doubted slice, or ends beside one, may do so because of it.
    """
    held = np.flatnonzero(mask.by_slice())
    if not held.size:
        return 0
    reach = max(1, math.ceil(max(model.spacing_mm) / ct.spacing_mm[0]))
    return sum(bool(held[0] - reach <= k <= held[-1] + reach) for k in doubted)


def _doubts(
    segmentation: Segmentation,
    model: Geometry,
    thresholds: Mapping[str, float],
    channel: Mapping[str, int],
    known: Mapping[str, OrganCalibration],
) -> dict[str, OrganDoubt]:
    masks = {organ: segmentation.inside(n, thresholds[organ]) for organ, n in channel.items()}
    disputed = disputed_voxels(masks)
    return {
        organ: organ_doubt(
            segmentation.probability[n],
            segmentation.disagreement[n],
            masks[organ],
            disputed[organ],
            model,
            known.get(organ),
            segmentation.member_disagreement.get(n),
        )
        for organ, n in channel.items()
    }


def _widest(windows: NDArray[np.float16], members: NDArray[np.float16] | None) -> NDArray[np.float16]:
    """Return the greater of two disagreements at each voxel: either is reason enough to look."""
    return windows if members is None else np.maximum(windows, members)


def _finding(
    organ: str,
    seen: Seen,
    result: OrganResult,
    doubt: OrganDoubt,
    reasons: list[Reason],
    calibration: OrganCalibration | None,
) -> OrganFinding:
    if calibration is None:
        reasons.append(Reason.UNCALIBRATED)
    bound = confidence = None
    found = result.shape is not None  # what lies between two slices of the CT is on the model grid alone
    claimable = seen.target is not None and not NO_BOUND & set(reasons)
    if found and doubt.expected is not None and calibration is not None and claimable:
        bound, confidence = lower_bound(doubt.expected, calibration), calibration.confidence
    told, ordered = flag(seen.target, bound, reasons)
    return OrganFinding(
        organ=organ,
        presence=Presence.FOUND if found else Presence.ABSENT,
        cut_by_field_of_view=result.shape is not None and result.shape.cut,
        volume_ml=result.shape.volume_ml if result.shape else 0.0,
        flag=told,
        reasons=tuple(reason.value for reason in ordered),
        dsc_lower_bound=bound,
        confidence=confidence,
        entropy=doubt.near.entropy if found and doubt.near else None,
        disagreement=doubt.near.disagreement if found and doubt.near else None,
        member_disagreement=doubt.near.members if found and doubt.near else None,
        importance_ml=doubt.importance_ml if found else None,
        band_ml=result.band_ml if found else None,
        figures=figures(organ, ordered, replace(seen, bound=bound)),
    )
