"""Candidate and incumbent on the same cases: differences by patient, and what they prove.

Source: BCa bootstrap, Efron 1987, JASA 82:171. The mean is tested, not the median: a rank test lets a
model pass that ruins a few cases (measured: Wilcoxon at n = 40 passes 86 % of such models).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from models.dsc import Outcome

POWER = 0.8
"""Chance of passing an equal candidate that `patients_needed` asks for."""


@dataclass(frozen=True)
class PairedScore:
    """One organ of one case, segmented by both releases in one serving profile.

    Parameters
    ----------
    case
        Identifier of the study.
    patient
        Pseudonym: cases of one patient count as one.
    site
        Where it was scanned.
    origin
        Origin of the truth: `independent`, `edited-from-N` or `accepted-from-N`.
    incumbent_digest, candidate_digest
        SHA-256 of the organ's served probability and mask.
    incumbent_dsc, candidate_dsc
        `models.dsc.dsc` against the truth on the CT grid; None when both masks are empty.
    incumbent_outcome, candidate_outcome
        Agreement about presence.
    """

    case: str
    patient: str
    site: str
    origin: str
    incumbent_digest: str
    candidate_digest: str
    incumbent_dsc: float | None
    candidate_dsc: float | None
    incumbent_outcome: Outcome
    candidate_outcome: Outcome

    @property
    def difference(self) -> float | None:
        """Candidate minus incumbent DSC; None where the organ is truly absent (a matter of presence)."""
        if self.incumbent_dsc is None or self.candidate_dsc is None:
            return None
        if self.candidate_outcome in (Outcome.ABSENT, Outcome.HALLUCINATED):
            return None
        return self.candidate_dsc - self.incumbent_dsc


@dataclass(frozen=True)
class MeanDifference:
    """Mean DSC difference, candidate minus incumbent, over patients.

    Parameters
    ----------
    patients
        Number of patients.
    incumbent, candidate
        Mean DSC of each, over patients.
    mean
        Mean difference.
    deviation
        Standard deviation of the patients' differences; None for a single patient.
    lower_bound
        One-sided lower confidence bound of the mean; None when so few or such patients allow none.
    """

    patients: int
    incumbent: float
    candidate: float
    mean: float
    deviation: float | None
    lower_bound: float | None


def mean_difference(
    scores: Iterable[PairedScore], confidence: float, resamples: int, seed: int
) -> MeanDifference | None:
    """Average by patient and bound the mean.

    Parameters
    ----------
    scores
        Cases of one organ; those where it is truly absent are passed over.
    confidence
        Of the one-sided bound, e.g. 0.95.
    resamples, seed
        Of the bootstrap.

    Returns
    -------
    MeanDifference or None
        None when no case has the organ.
    """
    by_patient: dict[str, list[tuple[float, float]]] = {}
    for score in scores:
        if (
            score.difference is not None
            and score.incumbent_dsc is not None
            and score.candidate_dsc is not None
        ):
            by_patient.setdefault(score.patient, []).append((score.incumbent_dsc, score.candidate_dsc))
    if not by_patient:
        return None
    # Sorted, so that the order of cases does not change what the seed draws.
    pairs = np.array([np.mean(by_patient[patient], axis=0) for patient in sorted(by_patient)])
    differences = pairs[:, 1] - pairs[:, 0]
    return MeanDifference(
        patients=len(differences),
        incumbent=float(pairs[:, 0].mean()),
        candidate=float(pairs[:, 1].mean()),
        mean=float(differences.mean()),
        deviation=float(differences.std(ddof=1)) if len(differences) > 1 else None,
        lower_bound=lower_bound_of_mean(differences, confidence, resamples, seed),
    )


def lower_bound_of_mean(
    values: NDArray[np.float64], confidence: float, resamples: int, seed: int
) -> float | None:
    """Return the one-sided BCa bootstrap lower bound of the mean.

    Returns
    -------
    float or None
        The mean itself where all values are equal; None for fewer than two, or where BCa is undefined.
    """
    if len(values) < 2:
        return None
    if np.ptp(values) < 1e-12:
        return float(values.mean())
    result = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        confidence_level=confidence,
        alternative="greater",
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    bound = float(result.confidence_interval.low)
    return bound if math.isfinite(bound) else None


def patients_needed(deviation: float, margin: float, confidence: float) -> int:
    """Return how many patients prove an equal candidate not worse by the margin, with `POWER`.

    Notes
    -----
    n = ((z_confidence + z_power) deviation / margin)^2, the normal approximation.
    """
    z = stats.norm.ppf(confidence) + stats.norm.ppf(POWER)
    return max(2, math.ceil((z * deviation / margin) ** 2))
