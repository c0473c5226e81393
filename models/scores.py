"""What one release scores on one case, organ by organ, and the pairs the gate weighs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.dsc import Outcome, dsc, outcome
from models.geometry import Geometry
from models.paired import PairedScore
from models.release import Release, sha256_hex
from models.segmentation import Segmentation
from models.study import organ_result


@dataclass(frozen=True)
class OrganScore:
    """One organ of one case, as one release answered in one serving profile.

    Parameters
    ----------
    digest
        SHA-256 of the served probability (model grid, float16) and the mask on the CT grid.
    dsc
        Against the truth on the CT grid, 0..1; None when both are empty.
    outcome
        Agreement about presence.
    """

    digest: str
    dsc: float | None
    outcome: Outcome

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> OrganScore:
        """Rebuild from `to_json`."""
        return cls(**{**data, "outcome": Outcome(data["outcome"])})


def score_organs(
    answer: Segmentation,
    release: Release,
    model: Geometry,
    ct: Geometry,
    truth: Mapping[str, NDArray[np.bool_]],
) -> dict[str, OrganScore]:
    """Score an answer against the truth.

    Parameters
    ----------
    answer
        What the release answered.
    release
        The release that was asked; its contract gives organs and thresholds.
    model, ct
        The grid it answered on and the grid of the truth.
    truth
        Mask of every organ of the contract on the CT grid, axes (k, j, i).

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
    scores = {}
    for probability, organ in zip(answer.probability, release.contract.organs, strict=True):
        mask = organ_result(probability, release.contract.thresholds[organ], model, ct).mask
        scores[organ] = OrganScore(
            digest=sha256_hex(np.ascontiguousarray(probability).tobytes() + np.packbits(mask).tobytes()),
            dsc=dsc(mask, truth[organ]),
            outcome=outcome(predicted=bool(mask.any()), true=bool(truth[organ].any())),
        )
    return scores


def pair(
    incumbent: OrganScore, candidate: OrganScore, *, case: str, patient: str, site: str, origin: str
) -> PairedScore:
    """Put both releases' scores of one organ of one case side by side; words as in `PairedScore`."""
    return PairedScore(
        case=case,
        patient=patient,
        site=site,
        origin=origin,
        incumbent_digest=incumbent.digest,
        candidate_digest=candidate.digest,
        incumbent_dsc=incumbent.dsc,
        candidate_dsc=candidate.dsc,
        incumbent_outcome=incumbent.outcome,
        candidate_outcome=candidate.outcome,
    )
