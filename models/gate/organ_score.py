"""What one release scores on one organ of one case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from models.metrics.dsc import Outcome


@dataclass(frozen=True)
class OrganScore:
    """One organ of one case, as one release answered in one serving profile.

    Parameters
    ----------
    digest
        SHA-256 of the served probability (model grid, float16) and the mask on the CT grid.
    dsc
        Against the truth on the CT grid, 0..1; None when both are empty, or nobody drew the organ.
    outcome
        Agreement about presence; None where nobody drew the organ.
    nsd
        Surface DSC at the organ's tolerance, 0..1; 0 when one mask is empty, None when both are.
    hd95_mm
        95th percentile of the surfaces' distance, millimetres; None as `nsd`.
    expected_dsc
        What a bound of DSC is taken from, where the release claims one; None where it claims none: the
        organ is uncalibrated or was not found, the study is out of domain, the profile another.
    overlaps
        CT voxels shared with each other organ's mask, by organ; those that share none are left out.
    """

    digest: str
    dsc: float | None
    outcome: Outcome | None
    nsd: float | None = None
    hd95_mm: float | None = None
    expected_dsc: float | None = None
    overlaps: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Return plain JSON values."""
        return {"sdc" if name == "expected_dsc" else name: value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> OrganScore:
        """Rebuild from `to_json`."""
        known = dict(data)
        told, expected = known.pop("outcome"), known.pop("sdc", None)
        return cls(**known, outcome=None if told is None else Outcome(told), expected_dsc=expected)


LACKING = OrganScore("", dsc=None, outcome=None)
"""Of a release that lacks the organ: nothing is known of it."""
