"""Calibration of one release: how far its own Dice estimate may be trusted, organ by organ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Reliability:
    """From the served probability of one organ to how often such voxels are truly inside (Platt scaling).

    Parameters
    ----------
    slope, bias
        Calibrated logit = slope x served logit + bias; the slope is positive.
    """

    slope: float = 1.0
    bias: float = 0.0


AS_SERVED = Reliability()
"""Served probabilities taken as they are."""


@dataclass(frozen=True)
class Certificate:
    """What is certified of the organs that the bound does not flag (Learn then Test).

    At most the fraction `alpha` of them has a DSC under `dsc_target`; the calibration shows it with
    confidence 1 - `delta`.

    Parameters
    ----------
    alpha, delta
        As above, 0..1.
    dsc_target
        The organ's target when it was certified.
    cases, under_target
        Calibration cases that the bound does not flag, and how many of them had a DSC under the target.
    """

    alpha: float
    delta: float
    dsc_target: float
    cases: int
    under_target: int


@dataclass(frozen=True)
class Expectation:
    """What DSC is expected by the signs of an outline (`models.bounds.expectation`).

    Parameters
    ----------
    weights
        DSC per unit of each sign, in the order of `models.bounds.expectation.Signs`.
    surest
        Of each sign the value in the calibration cases that speaks most for the outline; no sign counts for
        more.
    intercept
        DSC where every sign is 0.
    """

    weights: tuple[float, ...]
    surest: tuple[float, ...]
    intercept: float


@dataclass(frozen=True)
class OrganCalibration:
    """Calibration of one organ.

    Parameters
    ----------
    quantile
        The amount to subtract from the expected DSC to get a lower bound of DSC.
    confidence
        Probability with which the bound holds for a case exchangeable with the calibration cases.
    cases
        Number of calibration cases with the organ found.
    reliability
        What makes served probabilities frequencies.
    calibration_error
        Expected calibration error near the organ (0..1) as served and with `reliability`; None when not
        measured.
    band_probability
        Served probability at and above which, on average, at least 95 % of the organ lies; None when
        too few cases show it.
    certificate
        What is certified of the organ where the bound does not flag it; None when nothing is.
    expectation
        What DSC is expected; None in releases calibrated before there was any: then it is the soft Dice
        confidence itself.
    """

    quantile: float
    confidence: float
    cases: int
    reliability: Reliability = AS_SERVED
    calibration_error: tuple[float, float] | None = None
    band_probability: float | None = None
    certificate: Certificate | None = None
    expectation: Expectation | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> OrganCalibration:
        """Rebuild from JSON values; what is missing has its default."""
        values = dict(data)
        if "reliability" in values:
            values["reliability"] = Reliability(**values["reliability"])
        if "calibration_error" in values:
            values["calibration_error"] = tuple(values["calibration_error"])
        if "certificate" in values:
            values["certificate"] = Certificate(**values["certificate"])
        if "expectation" in values:
            known = values["expectation"]
            values["expectation"] = Expectation(
                tuple(known["weights"]), tuple(known["surest"]), known["intercept"]
            )
        return cls(**values)

    def to_json(self) -> dict[str, object]:
        """Return plain JSON values without defaults: what says nothing new changes no digest."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        if self.reliability == AS_SERVED:
            del values["reliability"]
        return values


@dataclass(frozen=True)
class DomainReference:
    """Where the global features of the calibration cases lie.

    Parameters
    ----------
    mean
        Length-G mean of the per-study global feature.
    components
        Axes (component, G): principal directions, unit length.
    scale
        Standard deviation along each component.
    residual_scale
        Root mean square of what the components leave over.
    threshold
        Distance above which a study is out of domain (`models.bounds.domain`).
    """

    mean: tuple[float, ...]
    components: tuple[tuple[float, ...], ...]
    scale: tuple[float, ...]
    residual_scale: float
    threshold: float


@dataclass(frozen=True)
class FactsReference:
    """Where the plain acquisition facts of the calibration cases lie (`models.bounds.acquisition_facts`).

    Parameters
    ----------
    names
        Of the facts.
    low, high
        Least and greatest value of each.
    threshold
        Distance from the middle of a fact's range, in halves of the range, above which it is strange.
    """

    names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    threshold: float


@dataclass(frozen=True)
class Calibration:
    """Calibration of a release in one serving profile.

    Parameters
    ----------
    profile
        Serving profile it was measured in, e.g. ``python/openvino-2026.4/cpu/f32/2-threads``.
    organs
        By organ key; an organ not named is uncalibrated and no bound is claimed for it.
    domain
        Reference for the out-of-domain check, by features.
    facts
        The same by acquisition facts; None in releases that were calibrated before there were any.
    """

    profile: str
    organs: Mapping[str, OrganCalibration]
    domain: DomainReference
    facts: FactsReference | None = None

    def to_json(self) -> dict[str, object]:
        """Return plain JSON values."""
        values: dict[str, object] = {
            "profile": self.profile,
            "organs": {organ: one.to_json() for organ, one in self.organs.items()},
            "domain": asdict(self.domain),
        }
        return values if self.facts is None else values | {"facts": asdict(self.facts)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Calibration:
        """Rebuild from `to_json`."""
        domain = dict(data["domain"])
        domain["mean"] = tuple(domain["mean"])
        domain["components"] = tuple(tuple(row) for row in domain["components"])
        domain["scale"] = tuple(domain["scale"])
        facts = data.get("facts")
        if facts is not None:
            listed = {name: tuple(facts[name]) for name in ("names", "low", "high")}
            facts = FactsReference(**listed, threshold=facts["threshold"])
        return cls(
            profile=data["profile"],
            organs={organ: OrganCalibration.from_json(one) for organ, one in data["organs"].items()},
            domain=DomainReference(**domain),
            facts=facts,
        )
