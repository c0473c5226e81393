"""What one run of tuning will learn from, decided before anything is computed."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass

from flows.serving import current
from models.conformal import CONFIDENCE, fewest_cases
from models.corrections import INDEPENDENT
from models.network.tuning import TuningSettings
from models.release import Release, sha256_hex
from services.cases.evidence import Evidence, LabelledCase, gather
from services.cases.words import ReadersDisagree
from services.inference.engine import serving_profile
from services.records.port import Case, Purpose
from services.wiring import Services


@dataclass(frozen=True)
class TuningRun:
    """One run of tuning, decided before anything is computed.

    Parameters
    ----------
    parent
        The incumbent that is tuned.
    evidence
        Which organs learn from which cases.
    calibration_cases
        Cases with independent truth that tuned organs are calibrated on; empty if no bound can be claimed.
    settings
        How to tune.
    profile
        Serving profile.
    """

    parent: Release
    evidence: Evidence
    calibration_cases: tuple[Case, ...]
    settings: TuningSettings
    profile: str

    @property
    def labelled(self) -> tuple[LabelledCase, ...]:
        """Every case learnt from: the corrected ones, then those replayed."""
        return self.evidence.corrected + self.evidence.replayed

    @property
    def corrections(self) -> tuple[str, ...]:
        """Names of the corrections learnt from."""
        return tuple(sorted(one.correction for one in self.labelled if one.correction))

    @property
    def key(self) -> str:
        """Digest of everything the candidate depends on; equal runs give equal candidates."""
        document = {
            "incumbent": self.parent.digest,
            "learnt from": [(one.case.digest, one.organs) for one in self.labelled],
            "calibrated on": [case.digest for case in self.calibration_cases],
            "corrections": self.corrections,
            "settings": asdict(self.settings),
            "profile": self.profile,
        }
        return sha256_hex(json.dumps(document, sort_keys=True).encode())


def plan(services: Services, organs: Collection[str] | None, settings: TuningSettings) -> TuningRun:
    """Decide what would be learnt from what, without computing anything.

    Raises
    ------
    ValueError, InvalidRelease
        As `tune`.
    """
    parent = current(services)
    contract = parent.contract
    unknown = sorted(set(organs or ()) - set(contract.organs))
    if unknown:
        raise ValueError(f"no such organ: {', '.join(unknown)}; there are {', '.join(contract.organs)}")
    asked = [organ for organ in contract.organs if organs is None or organ in organs]
    learnt = {uid for release in _lineage(services, parent) for uid in release.corrections}
    profile = serving_profile(services.settings.threads)
    independent = tuple(
        case for case in services.records.cases(Purpose.CALIBRATION) if case.origin == INDEPENDENT
    )
    calibrates = parent.calibration is not None and parent.calibration.profile == profile
    enough = calibrates and len(independent) >= fewest_cases(CONFIDENCE)
    return TuningRun(
        parent=parent,
        evidence=gather(
            services.records,
            services.cases,
            learnt,
            asked,
            ReadersDisagree(services.settings.readers_disagree),
        ),
        calibration_cases=independent if enough else (),
        settings=settings,
        profile=profile,
    )


def _lineage(services: Services, release: Release) -> Iterator[Release]:
    """Yield a release and its ancestors."""
    yield release
    while release.parent is not None:
        release = services.releases.release(release.parent)
        yield release
