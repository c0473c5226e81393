"""Which older cases are replayed: what the incumbent makes of each is asked once and kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.contract import ModelContract
from models.documents import from_json, to_json
from models.inference.segmentation import Segmentation
from models.judgement.importance import importance_ml
from models.tuning.replay import choose_replay, take_turns
from services.cases.store import CaseContent, CaseStore
from services.cases.tuning_evidence import LabelledCase
from services.files import replace

LOOKED_AT = 4
"""Times the budget: so many older cases are looked at, drawn by their digests, however many there are."""

Ask = Callable[[CaseContent], Segmentation]
"""What the incumbent answers for a case."""


@dataclass(frozen=True)
class Measured:
    """What the incumbent makes of a case.

    Parameters
    ----------
    importance_ml
        By organ, as in `models.judgement.importance`, millilitres.
    feature
        Mean global feature.
    """

    importance_ml: Mapping[str, float]
    feature: tuple[float, ...]


def looked_at(older: Sequence[LabelledCase], budget: int, organs: Sequence[str]) -> tuple[LabelledCase, ...]:
    """Return the older cases among which is chosen: of each organ in turn the first; all, if they are few.

    Parameters
    ----------
    older
        In the order of a draw.
    budget
        How many will be replayed.
    organs
        Those that are tuned.
    """
    if len(older) <= budget:
        return tuple(older)
    teaching = [[n for n, one in enumerate(older) if organ in one.organs] for organ in organs]
    return tuple(older[n] for n in sorted(take_turns(teaching, LOOKED_AT * budget)))


def choose_replayed(
    cases: CaseStore,
    older: Sequence[LabelledCase],
    budget: int,
    organs: Sequence[str],
    contract: ModelContract,
    ask: Ask,
    kept: Path,
) -> tuple[LabelledCase, ...]:
    """Choose older cases for each organ in turn, by importance and diversity among those that teach it.

    So no organ goes without its old site because another has more cases or more voxels. No case is asked
    about where all are replayed.

    Parameters
    ----------
    cases
        Where they lie.
    older
        Those that are looked at.
    budget
        How many to replay.
    organs
        Those that are tuned; of a new one the incumbent knows no importance.
    contract
        The incumbent's.
    ask
        The incumbent.
    kept
        File of what was measured with this very incumbent, by case digest; written anew.

    Raises
    ------
    StorageFailed
        If a case is not whole, or the file cannot be written.
    """
    if len(older) <= budget:
        return tuple(older)
    try:
        known = json.loads(kept.read_bytes())
        measured = {digest: from_json(Measured, one) for digest, one in known.items()}
    except (FileNotFoundError, ValueError):
        measured = {}
    for one in older:
        if one.case.digest not in measured:
            measured[one.case.digest] = _measured(ask(cases.read(one.case)), contract)
            replace(kept, json.dumps(to_json(measured), sort_keys=True).encode())
    found = [measured[one.case.digest] for one in older]
    features = np.array([one.feature for one in found])
    orders = []
    for organ in organs:
        places = [n for n, one in enumerate(older) if organ in one.organs]
        worth = np.array([found[n].importance_ml.get(organ, 0.0) for n in places])
        orders.append([places[n] for n in choose_replay(worth, features[places], budget)])
    return tuple(older[n] for n in sorted(take_turns(orders, budget)))


def _measured(answer: Segmentation, contract: ModelContract) -> Measured:
    inside = np.stack([answer.inside(n, contract.thresholds[o]) for n, o in enumerate(contract.organs)])
    shared = inside.sum(axis=0) > 1
    spacing = contract.spacing_mm if answer.drawn is None else answer.drawn.geometry.spacing_mm
    volumes = {
        organ: importance_ml(answer.probability[n], answer.disagreement[n], inside[n] & shared, spacing)
        for n, organ in enumerate(contract.organs)
    }
    return Measured(volumes, tuple(answer.global_feature.astype(float).mean(axis=0).round(6).tolist()))
