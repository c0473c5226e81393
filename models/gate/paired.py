"""Candidate and incumbent on the same cases: differences by patient, and what they prove.

Source: BCa bootstrap, Efron 1987, JASA 82:171, widened for few patients. The mean is tested, not the
median: a rank test lets a model pass that ruins a few cases (`tests/bench/test_gate.py` measures it).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from models.gate.organ_score import OrganScore
from models.metrics.dsc import Outcome


class Metric(StrEnum):
    """What two masks are compared by."""

    DSC = "dsc"
    NSD = "nsd"

    def of(self, score: OrganScore) -> float | None:
        """Return a score by this metric."""
        return score.dsc if self is Metric.DSC else score.nsd


POWER = 0.8
"""Chance of passing an equal candidate that `patients_needed` asks for."""


@dataclass(frozen=True)
class PairedScore:
    """One organ of one case, segmented by both releases in one serving profile.

    Where nobody drew the organ, no score is; where the truth has it not, there is no overlap.

    Parameters
    ----------
    incumbent, candidate
        What either scores; `LACKING` of an incumbent without the organ.
    case
        Identifier of the study.
    patient
        Pseudonym: cases of one patient count as one.
    site
        Where it was scanned.
    origin
        Origin of the truth: `independent`, `edited-from-N` or `accepted-from-N`.
    groups
        What the case belongs to by each acquisition fact that is known, e.g. ``{"kernel": "B30f"}``.
    again
        What the incumbent scores on each further scan of the case (`models.gate.rescan`).
    """

    incumbent: OrganScore
    candidate: OrganScore
    case: str
    patient: str
    site: str
    origin: str
    groups: Mapping[str, str] = field(default_factory=dict)
    again: tuple[OrganScore, ...] = ()

    @property
    def truly_there(self) -> bool:
        """Whether the truth has the organ; where it has not, or nobody drew it, there is no overlap."""
        return self.candidate.outcome in (Outcome.PRESENT, Outcome.MISSED)

    @property
    def taken_voxels(self) -> dict[str, int]:
        """Voxels the candidate shares with another organ beyond those the incumbent shared, by organ."""
        shared = self.incumbent.overlaps
        taken = {organ: count - shared.get(organ, 0) for organ, count in self.candidate.overlaps.items()}
        return {organ: count for organ, count in taken.items() if count > 0}

    def values(self, metric: Metric) -> tuple[float, float] | None:
        """Return incumbent and candidate by a metric; None where the organ is truly absent, or not known."""
        before, after = metric.of(self.incumbent), metric.of(self.candidate)
        return None if not self.truly_there or before is None or after is None else (before, after)

    def change(self, metric: Metric) -> float | None:
        """Candidate minus incumbent; None as `values`."""
        values = self.values(metric)
        return None if values is None else values[1] - values[0]

    @property
    def difference(self) -> float | None:
        """Candidate minus incumbent DSC; None as `values`."""
        return self.change(Metric.DSC)

    def noise(self, metric: Metric) -> tuple[float, ...]:
        """Return the incumbent's differences on further scans of the case; empty if it was not asked."""
        first = metric.of(self.incumbent)
        if first is None or not self.truly_there:
            return ()
        return tuple(value - first for one in self.again if (value := metric.of(one)) is not None)


@dataclass(frozen=True)
class Histogram:
    """How often values fall into bins of equal width.

    Parameters
    ----------
    low, high
        Where the first bin begins and the last ends.
    counts
        Of each bin.
    """

    low: float
    high: float
    counts: tuple[int, ...]

    @classmethod
    def of(cls, values: NDArray[np.float64], bins: int = 40) -> Histogram:
        """Count values."""
        counts, edges = np.histogram(values, bins)
        return cls(float(edges[0]), float(edges[-1]), tuple(int(count) for count in counts))


@dataclass(frozen=True)
class MeanDifference:
    """Mean difference by one metric, candidate minus incumbent, over patients.

    Parameters
    ----------
    patients
        Number of patients.
    incumbent, candidate
        Mean of each, over patients.
    mean
        Mean difference.
    deviation
        Standard deviation of the patients' differences; None for a single patient.
    lower_bound
        One-sided lower confidence bound of the mean; None when so few or such patients allow none.
    drawn
        The means the bootstrap drew; None where it drew none.
    """

    patients: int
    incumbent: float
    candidate: float
    mean: float
    deviation: float | None
    lower_bound: float | None
    drawn: Histogram | None = None

    def plain(self) -> MeanDifference:
        """Return it without what the bootstrap drew."""
        return replace(self, drawn=None)


def by_patient(scores: Iterable[PairedScore], metric: Metric = Metric.DSC) -> NDArray[np.float64]:
    """Return incumbent and candidate of each patient, shape (patient, 2), cases of one averaged.

    Sorted by patient, so that the order of cases does not change what a seed draws. Cases where the organ
    is truly absent are passed over.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for score in scores:
        values = score.values(metric)
        if values is not None:
            found.setdefault(score.patient, []).append(values)
    return np.array([np.mean(found[patient], axis=0) for patient in sorted(found)]).reshape(-1, 2)


def mean_difference(
    scores: Iterable[PairedScore],
    confidence: float,
    resamples: int,
    seed: int,
    metric: Metric = Metric.DSC,
) -> MeanDifference | None:
    """Average by patient and bound the mean.

    Parameters
    ----------
    scores
        Cases of one organ; those where it is truly absent are passed over.
    confidence
        Of the one-sided bound, e.g. 0.95.
    resamples, seed
        Of the bootstrap; without a resample the bound is Student's t, as groups are too small for more.
    metric
        What is compared.

    Returns
    -------
    MeanDifference or None
        None when no case has the organ.
    """
    pairs = by_patient(scores, metric)
    if not len(pairs):
        return None
    differences = pairs[:, 1] - pairs[:, 0]
    bound, means = (
        bootstrap_mean(differences, confidence, resamples, seed)
        if resamples
        else (_bound_by_t(differences, confidence), None)
    )
    return MeanDifference(
        patients=len(differences),
        incumbent=float(pairs[:, 0].mean()),
        candidate=float(pairs[:, 1].mean()),
        mean=float(differences.mean()),
        deviation=float(differences.std(ddof=1)) if len(differences) > 1 else None,
        lower_bound=bound,
        drawn=None if means is None else Histogram.of(means),
    )


def _bound_by_t(values: NDArray[np.float64], confidence: float) -> float | None:
    if len(values) < 2:
        return None
    spread = float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean() - stats.t.ppf(confidence, len(values) - 1) * spread)


def bootstrap_mean(
    values: NDArray[np.float64], confidence: float, resamples: int, seed: int
) -> tuple[float | None, NDArray[np.float64] | None]:
    """Return the one-sided BCa bootstrap lower bound of the mean, and the means that were drawn.

    The bound is the mean itself where all values are equal; None for fewer than two, or where BCa is
    undefined. The means are None where nothing was drawn.
    """
    if len(values) < 2:
        return None, None
    if np.ptp(values) < 1e-12:
        return float(values.mean()), None
    with np.errstate(invalid="ignore", divide="ignore"):  # where BCa is undefined, the bound is no number
        result = stats.bootstrap(
            (values,),
            np.mean,
            n_resamples=resamples,
            confidence_level=_widened(confidence, len(values)),
            alternative="greater",
            method="BCa",
            rng=np.random.default_rng(seed),
        )
    bound = float(result.confidence_interval.low)
    return (bound if math.isfinite(bound) else None), result.bootstrap_distribution


def _widened(confidence: float, count: int) -> float:
    """Return the confidence at which the bootstrap of few values is as wide as Student's t.

    It draws from a sample whose variance is too small by (n-1)/n, and knows no t: of 20 values it would let
    about 7 % pass at 95 % (Hesterberg 2015, Am. Stat. 69:371, expanded percentiles).
    """
    quantile = math.sqrt(count / (count - 1)) * float(stats.t.ppf(confidence, count - 1))
    return float(stats.norm.cdf(quantile))


def patients_needed(deviation: float, margin: float, confidence: float) -> int:
    """Return how many patients prove an equal candidate not worse by the margin, with `POWER`.

    Notes
    -----
    n = ((z_confidence + z_power) deviation / margin)^2, the normal approximation.
    """
    z = stats.norm.ppf(confidence) + stats.norm.ppf(POWER)
    return max(2, math.ceil((z * deviation / margin) ** 2))
