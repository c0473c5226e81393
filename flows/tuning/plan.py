"""What one run of tuning will learn from, decided before anything is computed."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace

from flows.calibration.cases import usable
from flows.lineage import lineage
from flows.serving.serve import current
from models.bounds.conformal import CONFIDENCE, fewest_cases
from models.contract import ModelContract
from models.errors import Refused
from models.organs import KEYS
from models.organs import organ as catalogue_entry
from models.release import Release, require_no_recipe, sha256_hex
from models.targets import Targets
from models.tuning.document import NoCost, TuningDocument, TuningReport
from models.tuning.ladder import ANY_TARGET
from models.tuning.settings import Level, TuningSettings
from services.cases.disagreements import Policy, teaching_words
from services.cases.from_pictures import words_that_teach
from services.cases.tuning_evidence import Evidence, LabelledCase, gather
from services.inference.engine import serving_profile
from services.records.entries.cases import Case, Purpose
from services.records.entries.releases import ReleaseState
from services.records.events.candidates import CandidateTrained, CandidateTuned, TuningDeclined
from services.records.port import Log, Records
from services.releases.store import ReleaseStore
from services.settings import Settings
from services.wiring import Services

AUTO = "auto"
"""The ladder: the lowest level that does."""


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
    new_organs
        Organs that the incumbent does not have, each to get a head from readers' masks alone.
    """

    parent: Release
    evidence: Evidence
    calibration_cases: tuple[Case, ...]
    settings: TuningSettings
    profile: str
    new_organs: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Digest of everything the candidate depends on but the device: who waits for it may not have one."""
        document = {
            "incumbent": self.parent.digest,
            "learnt from": [(one.case.digest, one.organs, one.correction) for one in self.evidence.corrected],
            "replayed of": [(one.case.digest, one.organs, one.correction) for one in self.evidence.older],
            "budget": self.evidence.budget,
            "calibrated on": [case.digest for case in self.calibration_cases],
            "settings": {k: v for k, v in asdict(self.settings).items() if k != "device"},
            "profile": self.profile,
            **({"new organs": self.new_organs} if self.new_organs else {}),
        }
        return sha256_hex(json.dumps(document, sort_keys=True).encode())


def known(run: TuningRun, records: Records, store: ReleaseStore) -> TuningDocument | None:
    """Return the document of a run that needs no computing: nothing to learn, or learnt before.

    Returns
    -------
    TuningDocument or None
        None if there is something to do.
    """
    if not run.evidence.organs:
        return document(run, None, TuningReport(left_out=run.evidence.left_out), {"total": 0.0})
    tuned = records.last(CandidateTuned, run=run.key)
    if tuned is not None:
        release = store.release(tuned.said.release)
        state = records.release_states().get(release.number, ReleaseState.CANDIDATE)
        return replace(document(run, release, tuned.said.report, tuned.said.seconds), state=state)
    declined = records.last(TuningDeclined, run=run.key)
    if declined is None:
        return None
    return document(run, None, declined.said.report, declined.said.seconds)


def document(
    run: TuningRun, candidate: Release | None, report: TuningReport, seconds: Mapping[str, float]
) -> TuningDocument:
    """Return the document of the `tune` verb.

    Parameters
    ----------
    run
        What was decided.
    candidate
        What came of it.
    report
        What is known beside that; what is missing is empty.
    seconds
        By step.
    """
    return TuningDocument(
        release=candidate.number if candidate else None,
        digest=candidate.digest if candidate else None,
        state=ReleaseState.CANDIDATE if candidate else None,
        parent=run.parent.number,
        level=run.settings.level or AUTO,
        organs=report.organs,
        left_out=report.left_out,
        corrections=report.corrections,
        replayed=report.replayed,
        studies=report.studies,
        levels=report.levels or {},
        ladders=report.ladders or {},
        doubts=report.doubts,
        curve=report.curve or {},
        cost=report.cost or NoCost(),
        device=report.device,
        image=report.image,
        seconds=seconds,
    )


def tuning_settings(level: str, settings: Settings) -> TuningSettings:
    """Return how to tune at a level, or up the ladder, on the device of the settings."""
    return TuningSettings(None if level == AUTO else Level(level), device=settings.tuning_device)


def plan(
    services: Services,
    organs: Collection[str] | None,
    settings: TuningSettings,
    new_organs: Collection[str] = (),
) -> TuningRun:
    """Decide what would be learnt from what, without computing anything.

    Parameters
    ----------
    services, settings
        As `tune`.
    organs
        Organs that may be tuned; None: every one of the contract, or, with new organs, only these.
    new_organs
        Organs of the catalogue that the contract lacks.

    Raises
    ------
    ValueError, InvalidRelease
        As `tune`.
    Refused
        `recipe` if a network with a recipe is to get a new organ: its classes are what it was taught.
    """
    parent = current(services.releases, services.records)
    contract = parent.contract
    if new_organs:
        require_no_recipe(contract, "given a new organ")
    unknown = sorted(set(organs or ()) - set(contract.organs))
    if unknown:
        raise ValueError(f"no such organ: {', '.join(unknown)}; there are {', '.join(contract.organs)}")
    had = [organ for organ in new_organs if organ in contract.organs or organ not in KEYS]
    if had:
        raise ValueError(f"no new organ of the catalogue: {', '.join(had)}; tuning is for those there are")
    new = tuple(dict.fromkeys(new_organs))
    every = organs is None and not new
    asked = [organ for organ in contract.organs if every or organ in (organs or ())] + list(new)
    learnt = set(_learnt(parent, services.releases, services.records))
    profile = serving_profile(services.settings.threads)
    independent, _ = usable(services.records.cases(Purpose.CALIBRATION))
    calibrates = parent.calibration is not None and parent.calibration.profile == profile
    enough = calibrates and len(independent) >= fewest_cases(CONFIDENCE)
    return TuningRun(
        parent=parent,
        evidence=gather(
            services.records,
            services.cases,
            learnt,
            asked,
            services.policy,
        ),
        calibration_cases=tuple(independent) if enough else (),
        settings=replace(settings, targets=_aims(services.targets, contract, asked) | dict(settings.targets)),
        profile=profile,
        new_organs=new,
    )


def _aims(targets: Targets, contract: ModelContract, organs: Collection[str]) -> dict[str, float]:
    """Return the DSC at which the ladder stops, of organs for which that is not the catalogue's.

    What is as it always was is not said, so that a run of a site without a file keeps its key.
    """
    aims = {}
    for organ in organs:
        required = targets.required(organ, contract).dsc_target
        aim = ANY_TARGET if required is None else required
        known = catalogue_entry(organ).dsc_target if organ in KEYS else None
        if aim != (ANY_TARGET if known is None else known):
            aims[organ] = aim
    return aims


def refuse_taken_back(learnt_from: Collection[LabelledCase], records: Records, policy: Policy) -> None:
    """Refuse a candidate that has learnt what no longer teaches: nobody is to learn it after all.

    Raises
    ------
    Refused
        `correction-taken-back` with the number of words that were withdrawn, said anew or put in doubt
        by another reader since the run began.
    """
    said_words = words_that_teach(records.corrections(), policy, records)
    words, _ = teaching_words(said_words, records.agreements(), policy)
    standing = {(word.correction.name, organ) for (_, organ), word in words.items()}
    said = {(one.correction, organ) for one in learnt_from if one.correction for organ in one.organs}
    gone = len(said - standing)
    if gone:
        detail = f"{gone} of the words learnt from were taken back or replaced meanwhile; start again"
        raise Refused("correction-taken-back", detail, {"words": gone})


def _learnt(release: Release, store: ReleaseStore, log: Log) -> Iterator[tuple[str, str]]:
    """Yield what a release and its ancestors have learnt: the correction, and each organ it changed."""
    taught = taught_on_record(log)
    line = tuple(lineage(release, store))
    for one, before in zip(line, (*line[1:], None), strict=True):
        yield from learnt_anew(one, before, taught.get(one.digest))


def taught_on_record(log: Log) -> Mapping[str, Mapping[str, Collection[str]]]:
    """Return by digest of a release which organs each correction taught; only of those where it is known."""
    made = (one.said for one in log.all(CandidateTuned, CandidateTrained))
    return {one.digest: one.taught for one in made if one.digest and one.taught is not None}


def learnt_anew(
    release: Release, parent: Release | None, taught: Mapping[str, Collection[str]] | None
) -> Iterator[tuple[str, str]]:
    """Yield what a release has learnt that its parent has not: the correction, and each organ it changed.

    What was refused or in dispute taught nothing. A release of which it is not on record what each
    correction taught is taken to have learnt every organ it changed from all of them.
    """
    for organ, head in release.heads.items():
        if parent is None or parent.trunk != release.trunk or parent.heads.get(organ) != head:
            for name in release.corrections:
                if taught is None or organ in taught.get(name, ()):
                    yield name, organ
