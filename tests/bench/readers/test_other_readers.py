"""CT series of every kind, read by us and by three others: right, refused, or wrong without a word.

DICOM2NIFTI_PYTHON names the Python of an environment with dicom2nifti in it; without it, it is left out.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from models.volume import Volume
from tests.bench.readers.inputs import Input, inputs
from tests.bench.readers.programs import PROGRAMS, Answer

SEEDS = range(3)
POINTS = 2000

RIGHT, REFUSED_WRONGLY, WRONG = "right", "refused wrongly", "silently wrong"


def is_the_volume(answer: Answer, truth: Volume) -> bool:
    """Tell whether voxels drawn at random have their HU at their place, and no voxel is more or less."""
    if answer.values.size != truth.hu.size:
        return False
    rng = np.random.default_rng(0)
    picked = rng.integers(0, truth.hu.shape, (POINTS, 3))
    places = truth.geometry.to_lps(picked)
    found = (places - answer.affine[:3, 3]) @ np.linalg.inv(answer.affine[:3, :3]).T
    indices = np.rint(found).astype(int)
    off_mm = np.linalg.norm((found - indices) @ answer.affine[:3, :3].T, axis=1)
    if off_mm.max() > 0.01 or (indices < 0).any() or (indices >= answer.values.shape).any():
        return False
    return bool((answer.values[tuple(indices.T)] == truth.hu[tuple(picked.T)]).all())


def outcome(program: str, one: Input) -> str:
    try:
        answer = PROGRAMS[program](one.folder)
    except Exception:  # each program has its own ways of refusing
        return REFUSED_WRONGLY if one.truth is not None else RIGHT
    if one.truth is None:
        return RIGHT if answer.told else WRONG
    return RIGHT if is_the_volume(answer, one.truth) else WRONG


@pytest.mark.timeout(3600)
def test_what_becomes_of_each_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logging.disable()
    programs = [name for name in PROGRAMS if name != "dicom2nifti" or "DICOM2NIFTI_PYTHON" in os.environ]
    table: dict[tuple[str, str], Counter[str]] = {}
    kinds: dict[tuple[str, str, str], Counter[str]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in SEEDS:
            for one in inputs(tmp_path / str(seed), seed):
                for program in programs:
                    said = outcome(program, one)
                    table.setdefault((one.family, program), Counter())[said] += 1
                    kinds.setdefault((one.family, one.kind, program), Counter())[said] += 1
    logging.disable(logging.NOTSET)
    with capsys.disabled():
        print(f"\n| inputs | program | tried | {RIGHT} | {REFUSED_WRONGLY} | {WRONG} |")
        print("|---|---|---|---|---|---|")
        for (family, program), counts in table.items():
            told = " | ".join(str(counts[said]) for said in (RIGHT, REFUSED_WRONGLY, WRONG))
            print(f"| {family} | {program} | {counts.total()} | {told} |")
        print("\nnot right:")
        for (family, kind, program), counts in kinds.items():
            if counts[RIGHT] < counts.total():
                print(f"  {program}: {family}, {kind}: {dict(counts)}")
    wrong = {kind for (_, kind, program), counts in kinds.items() if program == "Organloop" and counts[WRONG]}
    assert wrong == set()
