"""Phantom studies answered by the shipped release, kept under ``build/flags`` so that a run can go on.

What is kept is the whole answer, so that every figure is computed again from it and none from an older
program.
"""

from __future__ import annotations

import io
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deploy.preparation import STARTER
from models.geometry import Geometry
from models.inference.segmentation import Segmentation
from models.organs import ORGANS
from models.phantom.case import make_case
from models.resampling import to_model_grid
from models.volume import Volume
from services.releases.store import ReleaseStore
from tests.bench.flags.damage import DAMAGES, damaged
from tests.support.claimed_bounds import starter

BUILD = Path(__file__).resolve().parents[3] / "build" / "flags"
SEEDS = {"A": range(620_000, 620_200), "B": range(620_000, 620_260)}
"""Phantoms of each site; nothing was trained, calibrated or chosen on them. Of site B 60 calibrate."""

DAMAGED_SEEDS = range(630_000, 630_012)
"""Phantoms of site A for each kind of damage."""


@dataclass(frozen=True)
class Study:
    """One study by name: site or kind of damage, and seed."""

    kind: str
    seed: int

    @property
    def path(self) -> Path:
        """Where the shipped weights' answer is kept."""
        return BUILD / "answers" / _weights() / f"{self.kind}-{self.seed}.npz"


@dataclass(frozen=True, eq=False)
class Answered:
    """One study with the release's answer.

    Parameters
    ----------
    study
        Which.
    volume
        Hounsfield units on the model grid.
    ct
        The CT grid.
    truth
        By organ a bool mask on the CT grid, axes (k, j, i).
    answer
        What the release's segmenter answered.
    """

    study: Study
    volume: Volume
    ct: Geometry
    truth: dict[str, NDArray[np.bool_]]
    answer: Segmentation


@cache
def _weights() -> str:
    """Return a name for the weights that are shipped, whatever their calibration."""
    release = ReleaseStore(STARTER).release(1)
    return replace(release, calibration=None).digest[:12]


def sites() -> list[Study]:
    """Return the studies of both sites, one of each in turn."""
    seeds = sorted({seed for own in SEEDS.values() for seed in own})
    return [Study(site, seed) for seed in seeds for site, own in SEEDS.items() if seed in own]


def damages() -> list[Study]:
    """Return the studies that no scanner should have sent, one of each kind in turn."""
    return [Study(kind, seed) for seed in DAMAGED_SEEDS for kind in DAMAGES]


def compute(studies: Iterable[Study], seconds: float = math.inf) -> None:
    """Answer the studies that have no answer yet, as many as fit into the time."""
    began = time.monotonic()
    missing = [study for study in studies if not study.path.exists()]
    if not missing:
        return
    release, engine = starter()
    for done, study in enumerate(missing, 1):
        if time.monotonic() - began > seconds:
            return
        case = make_case(study.kind, study.seed) if study.kind in "AB" else damaged(study.kind, study.seed)
        model = to_model_grid(case.volume, release.contract.spacing_mm)
        answer = engine.segment(model.hu.astype(np.int16, copy=False))
        _write(study.path, model, case.volume.geometry, case.truth, answer)
        print(f"{done}/{len(missing)} {study.kind}-{study.seed}", file=sys.stderr, flush=True)


def _write(
    path: Path, model: Volume, ct: Geometry, truth: dict[str, NDArray[np.bool_]], answer: Segmentation
) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        hu=model.hu,
        model_affine=model.geometry.affine,
        ct_affine=ct.affine,
        ct_shape=ct.shape,
        truth=np.packbits(np.stack([truth[organ] for organ in ORGANS])),
        probability=answer.probability,
        disagreement=answer.disagreement,
        feature=answer.global_feature,
        origin=answer.window_origin,
        member_organ=np.array(list(answer.member_disagreement), dtype=np.int32),
        member_disagreement=np.stack(list(answer.member_disagreement.values())),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}")
    aside.write_bytes(buffer.getvalue())
    aside.rename(path)


def read(study: Study) -> Answered:
    """Read one answer."""
    with np.load(study.path) as kept:
        shape = tuple(int(n) for n in kept["ct_shape"])
        ct = Geometry(shape, kept["ct_affine"])  # type: ignore[arg-type]
        count = len(ORGANS) * int(np.prod(shape))
        masks = np.unpackbits(kept["truth"], count=count).view(np.bool_).reshape(len(ORGANS), *shape)
        hu = kept["hu"]
        return Answered(
            study,
            Volume(hu, Geometry(hu.shape, kept["model_affine"])),
            ct,
            dict(zip(ORGANS, masks, strict=True)),
            Segmentation(
                kept["probability"],
                kept["disagreement"],
                kept["feature"],
                kept["origin"],
                member_disagreement=dict(
                    zip(kept["member_organ"].tolist(), kept["member_disagreement"], strict=True)
                ),
            ),
        )


def answered(studies: Iterable[Study]) -> Iterator[Answered]:
    """Compute what is missing and yield every study in order."""
    studies = list(studies)
    compute(studies)
    for study in studies:
        yield read(study)
