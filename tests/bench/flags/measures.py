"""What is measured of each answered study, kept by the digest of the program that measured it."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import models
from flows.calibration.measure import study_case
from models.bounds.fit import StudyCase
from models.bounds.uncertainty import NEAR_VOXELS
from models.findings import Presence, ReviewRegion, StudyFindings
from models.judgement.assess import assess
from models.judgement.reasons import Reason
from models.masks import BoxedMask
from models.metrics.dsc import dsc
from models.release import Release
from services.inference.engine import serving_profile
from services.releases.store import ReleaseStore
from tests.bench.flags.cohort import (
    BUILD,
    STARTER,
    Answered,
    Study,
    read,
)
from tests.support.claimed_bounds import THREADS

TOP = (1, 2, 5)
"""How many regions a reader corrects."""

RANDOM_DRAWS = 10
"""Random places each region is compared with."""

GAIN_SEEDS = 60
"""Studies of each site on which regions are corrected."""


PROGRAM = ("*.py", "bounds/*.py", "inference/*.py", "judgement/*.py", "metrics/*.py")
"""What of `models` decides a measure."""


@dataclass(frozen=True)
class OrganRow:
    """One organ of one study.

    Parameters
    ----------
    dsc
        Against the truth on the CT grid; None when neither has the organ.
    present
        Whether it is truly there.
    found
        Whether it was found.
    reasons
        Of the flag; empty when clear.
    bound
        Lower bound of DSC by the shipped calibration; None when none is claimed.
    entropy, disagreement, importance_ml, members
        As in the finding; None when not found.
    """

    dsc: float | None
    present: bool
    found: bool
    reasons: tuple[str, ...]
    bound: float | None
    entropy: float | None
    disagreement: float | None
    importance_ml: float | None
    members: float | None


@dataclass(frozen=True)
class Gain:
    """What correcting the top k regions is worth, in summed DSC of the organs, and the millilitres it takes.

    Parameters
    ----------
    ours, ours_ml
        The k regions with the largest expected error.
    random, random_ml
        Regions of the same shapes at random places near the same organs, mean over draws.
    """

    ours: float
    ours_ml: float
    random: float
    random_ml: float


@dataclass(frozen=True, eq=False)
class Measured:
    """One study: its calibration case, what was said of it, and what correcting its regions is worth."""

    study: Study
    case: StudyCase
    organs: dict[str, OrganRow]
    out_of_domain: bool
    strange: tuple[str, ...]
    gains: dict[int, Gain]


def shipped() -> Release:
    """Return the release that is shipped, with its calibration."""
    return ReleaseStore(STARTER).release(1)


def measured(studies: Iterable[Study], release: Release) -> Iterator[Measured]:
    """Measure answered studies, or read what this program measured of them before."""
    folder = BUILD / "measures" / f"{_claims(release)[:12]}-{_program()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    for study in studies:
        path = folder / f"{study.kind}-{study.seed}.pickle"
        if not path.exists():
            found = measure(read(study), release)
            aside = path.with_suffix(f".{os.getpid()}")
            aside.write_bytes(pickle.dumps(found))
            aside.rename(path)
        yield pickle.loads(path.read_bytes())


def measure(answered: Answered, release: Release) -> Measured:
    """Measure one study."""
    answer = replace(answered.answer, release_digest=release.digest)
    findings = assess(
        answer, answered.volume, answered.ct, release, serving_profile(THREADS), audited=True
    )  # audited, so that every organ has its regions; the reason is taken away again
    rows = {}
    for finding in findings.organs:
        rows[finding.organ] = OrganRow(
            dsc=dsc(findings.masks[finding.organ].dense(), answered.truth[finding.organ]),
            present=bool(answered.truth[finding.organ].any()),
            found=finding.presence is Presence.FOUND,
            reasons=tuple(reason for reason in finding.reasons if reason != Reason.RANDOM_AUDIT),
            bound=finding.dsc_lower_bound,
            entropy=finding.entropy,
            disagreement=finding.disagreement,
            importance_ml=finding.importance_ml,
            members=finding.member_disagreement,
        )
    truth = {organ: BoxedMask.of(mask) for organ, mask in answered.truth.items()}
    some = answered.study.kind in "AB" and answered.study.seed % 1000 < GAIN_SEEDS
    return Measured(
        answered.study,
        study_case(answer, answered.volume, answered.ct, truth, release.contract),
        rows,
        any(Reason.OUT_OF_DOMAIN in row.reasons for row in rows.values()),
        tuple(fact.name for fact in findings.strange),
        gains(findings, answered) if some else {},
    )


def gains(findings: StudyFindings, answered: Answered) -> dict[int, Gain]:
    """Let a reader correct the top regions, and regions of the same shapes at random places."""
    rng = np.random.default_rng(answered.study.seed)
    found = {}
    for k in TOP:
        top = findings.regions[:k]
        ours = _corrected(findings, answered, [(region.organ, region.mask.dense()) for region in top])
        draws = [
            _corrected(findings, answered, [(r.organ, _moved(r, findings, rng)) for r in top])
            for _ in range(RANDOM_DRAWS)
        ]
        random, random_ml = np.mean(draws, axis=0).tolist() if top else (0.0, 0.0)
        found[k] = Gain(*ours, random, random_ml)
    return found


def _corrected(
    findings: StudyFindings, answered: Answered, places: list[tuple[str, NDArray[np.bool_]]]
) -> tuple[float, float]:
    """Return the DSC gained by making places true, summed over organs, and their millilitres."""
    gained = 0.0
    for organ in {organ for organ, _ in places}:
        mask, truth = findings.masks[organ].dense(), answered.truth[organ]
        place = np.logical_or.reduce([region for name, region in places if name == organ])
        corrected = np.where(place, truth, mask)
        gained += (dsc(corrected, truth) or 0.0) - (dsc(mask, truth) or 0.0)
    voxels = sum(np.count_nonzero(region) for _, region in places)
    return gained, voxels * findings.geometry.voxel_ml


def _moved(region: ReviewRegion, findings: StudyFindings, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return the region's shape with its middle at a random voxel in or near its organ, inside the CT."""
    voxels = np.argwhere(region.mask.dense())
    reach = np.ceil(NEAR_VOXELS * 4.0 / np.array(findings.geometry.spacing_mm)).astype(int)
    inside = np.argwhere(findings.masks[region.organ].dense())
    moved = np.zeros(region.mask.shape, dtype=bool)
    if not len(inside):
        inside = voxels
    centre = inside[rng.integers(len(inside))] + rng.integers(-reach, reach + 1)
    target = voxels - voxels.mean(axis=0).round().astype(int) + centre
    target = target[((target >= 0) & (target < moved.shape)).all(axis=1)]
    moved[tuple(target.T)] = True
    return moved


def _claims(release: Release) -> str:
    """Return the digest of the release without its certificates, which no measure depends on."""
    assert release.calibration is not None
    organs = {
        organ: replace(fitted, certificate=None) for organ, fitted in release.calibration.organs.items()
    }
    return replace(release, calibration=replace(release.calibration, organs=organs)).digest


def _program() -> str:
    """Return the SHA-256 of what decides a measure: this file, the calibrator and the core."""
    root = Path(models.__file__).parent
    files = sorted(file for pattern in PROGRAM for file in root.glob(pattern))
    files += [Path(__file__), root.parent / "flows" / "calibration" / "measure.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
