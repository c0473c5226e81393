"""The shipped release asked in process, and whether the bounds that it claims hold against a known truth."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deploy.preparation import STARTER
from flows.calibration.measure import calibrate
from models.findings import Flag
from models.judgement.assess import assess
from models.masks import BoxedMask
from models.metrics.dsc import dsc
from models.organs import ORGANS
from models.phantom.case import PhantomCase
from models.release import Release
from models.resampling import to_model_grid
from services.dicom.ct.loaded import CTSeries
from services.dicom.results.wording import floored
from services.inference.engine import OpenVinoEngine
from services.releases.engine import open_engine
from services.releases.exporter import export_release
from services.releases.store import ReleaseStore

THREADS = 2
"""As in the serving profile the shipped calibration belongs to."""

Masks = Mapping[str, NDArray[np.bool_]]
"""By organ, axes (k, j, i) on the CT grid."""


@dataclass(frozen=True)
class Claim:
    """What is said of one organ, and what is true of it.

    Parameters
    ----------
    clear
        Whether the reader is not asked to look.
    reasons
        Why he is.
    bound
        Lower bound of DSC; None where none is claimed.
    dsc
        Against the truth; None where neither has the organ.
    slices
        Where the truth or what was found has it, shape (k,).
    """

    clear: bool
    reasons: tuple[str, ...]
    bound: float | None
    dsc: float | None
    slices: NDArray[np.bool_]

    def __str__(self) -> str:
        bound, true = ("none" if one is None else f"{one:.4f}" for one in (self.bound, self.dsc))
        return f"bound {bound}, DSC {true}"

    @property
    def holds(self) -> bool:
        """Whether nothing is said that is not true: in words a bound has two decimals, rounded down."""
        return self.bound is None or (self.dsc is not None and self.dsc >= floored(self.bound))

    @property
    def holds_exactly(self) -> bool:
        """Whether the bound holds as it was computed; the SR bears four decimals of it."""
        return self.bound is None or (self.dsc is not None and self.dsc >= self.bound)


def starter() -> tuple[Release, OpenVinoEngine]:
    """Return the shipped release and its engine, in the serving profile."""
    shipped = ReleaseStore(STARTER)
    release = shipped.release(1)
    with tempfile.TemporaryDirectory() as folder:
        store = ReleaseStore(Path(folder))
        store.add_trunk(shipped.trunk(release.trunk))
        for digest in release.heads.values():
            store.add_head(shipped.head(digest))
        export_release(release, store, threads=THREADS)
        return release, open_engine(release, store, THREADS)


def calibrated_on(release: Release, engine: OpenVinoEngine, cases: Iterable[PhantomCase]) -> Release:
    """Return the release with a calibration on phantoms of another site."""
    pairs = (
        (case.volume, {organ: BoxedMask.of(mask) for organ, mask in case.truth.items()}) for case in cases
    )
    return replace(release, calibration=calibrate(release, engine, pairs))


def claims_of(series: CTSeries, release: Release, engine: OpenVinoEngine, truth: Masks) -> dict[str, Claim]:
    """Segment and assess a series as `organloop segment` does; return what is said of each organ."""
    contract, grid = release.contract, series.volume.geometry
    model = to_model_grid(series.volume, contract.spacing_mm, contract.antialias)
    answer = replace(engine.segment(model.hu.astype(np.int16, copy=False)), release_digest=release.digest)
    findings = assess(answer, model, grid, release, engine.profile, doubted=series.verdict.doubted)
    claims = {}
    for finding in findings.organs:
        if finding.organ in ORGANS:
            found, true = findings.masks[finding.organ], truth[finding.organ]
            claims[finding.organ] = Claim(
                finding.flag is Flag.CLEAR,
                finding.reasons,
                finding.dsc_lower_bound,
                dsc(found.dense(), true),
                true.any(axis=(1, 2)) | (found.by_slice() > 0),
            )
    return claims
