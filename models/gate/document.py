"""The document of the `gate` verb, as it lies on disk beside the release and as a page reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated

from models.documents import LEFT_OUT
from models.gate.report import Decision, GateReason, GateReport, OrganGate
from models.gate.serving_cost import ServingCost
from models.gate.silent_results import SilentResults


@dataclass(frozen=True)
class GateSet:
    """The version of the gate set that was asked about, and how many cases it has."""

    version: int
    digest: str
    cases: int


@dataclass(frozen=True)
class TimedCost:
    """What serving costs as an earlier version told it: seconds a window, and bytes of the networks."""

    incumbent_seconds: float
    candidate_seconds: float
    incumbent_bytes: int
    candidate_bytes: int


@dataclass(frozen=True)
class GateDocument:
    """The gate's decision on one candidate, with the numbers of the releases.

    Parameters
    ----------
    release, incumbent_release
        Numbers of candidate and incumbent.
    incumbent, candidate, profile, decision, reasons, organs, cost
        As `models.gate.report.GateReport`.
    policy
        What was fixed before, rule by rule, as the version that decided knew it.
    gate_set
        The set that was asked about; None while it is not frozen.
    program
        Which program decided; left out where nothing was asked.
    targets
        SHA-256 of what the site has established (`models.targets`); left out where the catalogue alone
        counts.
    silent
        What the site's labels said of results made in silence, when it was decided; left out if it spoke.
    """

    release: int
    incumbent_release: int
    incumbent: str
    candidate: str
    profile: str
    policy: Mapping[str, bool | int | float]
    decision: Decision
    reasons: tuple[GateReason, ...]
    organs: tuple[OrganGate, ...]
    cost: ServingCost | TimedCost | None = None
    gate_set: GateSet | None = None
    program: Annotated[Mapping[str, object] | None, LEFT_OUT] = None
    targets: Annotated[str | None, LEFT_OUT] = None
    silent: Annotated[SilentResults | None, LEFT_OUT] = None

    @classmethod
    def of(
        cls,
        report: GateReport,
        numbers: tuple[int, int],
        gate_set: GateSet | None,
        program: Mapping[str, object] | None = None,
        targets: str | None = None,
    ) -> GateDocument:
        """Return the document of a report; the numbers are candidate's and incumbent's."""
        return cls(
            release=numbers[0],
            incumbent_release=numbers[1],
            incumbent=report.incumbent,
            candidate=report.candidate,
            profile=report.profile,
            policy=asdict(report.policy),
            decision=report.decision,
            reasons=report.reasons,
            organs=report.organs,
            cost=report.cost,
            gate_set=gate_set,
            program=program,
            targets=targets,
        )

    @property
    def all_reasons(self) -> tuple[GateReason, ...]:
        """The reasons of the release as a whole and of every organ."""
        return (*self.reasons, *(reason for organ in self.organs for reason in organ.reasons))
