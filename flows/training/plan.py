"""What a training run will learn from, decided before anything is computed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum

from flows.serving.serve import current
from models.bounds.domain import FEWEST_STUDIES
from models.corrections.ledger import INDEPENDENT
from models.errors import Refused
from models.network.training.train import TrainingSettings
from models.release import Release, require_no_recipe, sha256_hex
from services.cases.training_evidence import accumulated
from services.cases.tuning_evidence import LabelledCase
from services.inference.engine import serving_profile
from services.records.entries.cases import Case, Purpose
from services.wiring import Services

FEWEST_CASES = 3
"""Cases below which nothing is trained: one study is no cohort."""


class Begin(StrEnum):
    """Which weights a run begins with, and so which labels it may learn from.

    Source: Ma et al., arXiv:2204.06243, for the two words: the igniter learns from few labels, the
    sustainer goes on with all that have come together since.
    """

    SCRATCH = "scratch"
    """Igniter: new weights, readers' labels alone."""
    INCUMBENT = "incumbent"
    """Sustainer: the incumbent's weights; what no reader drew is held by the incumbent's own answer."""


@dataclass(frozen=True)
class TrainingRun:
    """One training run, decided before anything is computed.

    Parameters
    ----------
    parent
        The incumbent: it gives the contract and, to the sustainer, weights and answers.
    begin
        Which weights it begins with.
    labelled
        Every case a reader taught something in, by identifier.
    calibration_cases
        One a patient with independent truth; empty if they are too few to claim a bound.
    settings
        How to train.
    profile
        Serving profile.
    device
        `cpu` or `cuda`: the other gives other bits.
    """

    parent: Release
    begin: Begin
    labelled: tuple[LabelledCase, ...]
    calibration_cases: tuple[Case, ...]
    settings: TrainingSettings
    profile: str
    device: str

    @property
    def key(self) -> str:
        """Digest of everything the candidate depends on; equal runs give equal candidates."""
        document = {
            "incumbent": self.parent.digest,
            "begin": self.begin,
            "learnt from": [(one.case.digest, one.organs, one.correction) for one in self.labelled],
            "calibrated on": [case.digest for case in self.calibration_cases],
            "settings": asdict(self.settings),
            "profile": self.profile,
            "device": self.device,
        }
        return sha256_hex(json.dumps(document, sort_keys=True).encode())


def plan(services: Services, begin: Begin, settings: TrainingSettings) -> TrainingRun:
    """Decide what would be learnt from what, without computing anything.

    Raises
    ------
    Refused
        `too-few-cases` with their number; `recipe` if the network has one.
    InvalidRelease
        If there is no incumbent.
    """
    parent = current(services.releases, services.records)
    require_no_recipe(parent.contract, "trained")
    policy = services.policy
    labelled = accumulated(services.records, services.cases, parent.contract.organs, policy)
    if len(labelled) < FEWEST_CASES:
        raise Refused(
            "too-few-cases",
            f"readers have taught something in {len(labelled)} cases; {FEWEST_CASES} are the fewest",
            {"cases": len(labelled), "fewest": FEWEST_CASES},
        )
    kept = services.records.cases(Purpose.CALIBRATION)
    independent = {case.patient: case for case in reversed(kept) if case.origin == INDEPENDENT}
    enough = len(independent) >= FEWEST_STUDIES
    calibrating = sorted(independent.values(), key=lambda case: case.case_id) if enough else ()
    profile = serving_profile(services.settings.threads)
    return TrainingRun(
        parent, begin, labelled, tuple(calibrating), settings, profile, services.settings.tuning_device
    )
