"""Calibration of one release: how far its own Dice estimate may be trusted, organ by organ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class OrganCalibration:
    """Split-conformal calibration of the soft Dice confidence of one organ.

    Parameters
    ----------
    quantile
        The amount to subtract from the soft Dice confidence to get a lower bound of DSC.
    confidence
        Probability with which the bound holds for a case exchangeable with the calibration cases.
    cases
        Number of calibration cases with the organ present.
    """

    quantile: float
    confidence: float
    cases: int


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
        Distance above which a study is out of domain (`models.domain`).
    """

    mean: tuple[float, ...]
    components: tuple[tuple[float, ...], ...]
    scale: tuple[float, ...]
    residual_scale: float
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
        Reference for the out-of-domain check.
    """

    profile: str
    organs: Mapping[str, OrganCalibration]
    domain: DomainReference

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Calibration:
        """Rebuild from `to_json`."""
        domain = dict(data["domain"])
        domain["mean"] = tuple(domain["mean"])
        domain["components"] = tuple(tuple(row) for row in domain["components"])
        domain["scale"] = tuple(domain["scale"])
        return cls(
            profile=data["profile"],
            organs={organ: OrganCalibration(**c) for organ, c in data["organs"].items()},
            domain=DomainReference(**domain),
        )
