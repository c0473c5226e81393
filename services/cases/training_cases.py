"""Kept cases as training reads them: prepared once, then read from disk one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import overload
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from models.body import body_mask
from models.errors import Refused, StorageFailed
from models.masks import bounding_box
from models.network.training.train import TrainingCase
from models.network.tuning.samples import TuningStudy
from services.files import replacing, storage_errors

HELD_WEIGHT = 64
"""255 x the weight of a voxel whose label is the incumbent's own answer: it keeps what is known, and
gives way where a reader drew."""


def training_case(
    study: TuningStudy, organs: Sequence[str], held: Mapping[str, NDArray[np.uint8]] | None = None
) -> TrainingCase:
    """Lay readers' labels side by side, and under them what the incumbent answers.

    Parameters
    ----------
    study
        Readers' labels on the model grid.
    organs
        The contract's, in its order.
    held
        By organ, axes (k, j, i), uint8: 255 x the probability the incumbent gives; counts at
        `HELD_WEIGHT` where no reader's label does. None: what no reader drew teaches nothing.

    Raises
    ------
    Refused
        `no-body` if the volume shows none.
    """
    truth = np.zeros((len(organs), *study.hu.shape), np.uint8)
    weight = np.zeros_like(truth)
    for number, organ in enumerate(organs):
        if organ in study.truth:
            truth[number] = study.truth[organ]
            weight[number] = study.weight.get(organ, 255)
        if held is not None:
            unsaid = weight[number] == 0
            truth[number][unsaid] = held[organ][unsaid]
            weight[number][unsaid] = HELD_WEIGHT
    body = bounding_box(body_mask(study.hu))
    if body is None:
        raise Refused("no-body", "the volume shows no body")
    return TrainingCase(study.hu, truth, body, weight)


class PreparedCases(Sequence[TrainingCase]):
    """Training cases in a folder, a file each: more of them than memory holds.

    Compressed, since a case has two bytes for each voxel and organ, of which most are 0: of 32 organs at
    1.5 mm that would be a gigabyte and more.

    Parameters
    ----------
    folder
        Where they lie; made on the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names: list[str] = []

    def add(self, name: str, case: TrainingCase) -> None:
        """Keep a case, whole or not at all, and take it in as the next.

        Raises
        ------
        StorageFailed
            If the disk is full or not writable.
        """
        body = np.array([(side.start, side.stop) for side in case.body])
        weight = np.full_like(case.truth, 255) if case.weight is None else case.weight
        with storage_errors("a training case", "cannot be kept"), replacing(self._path(name)) as file:
            np.savez_compressed(file, hu=case.hu, truth=case.truth, weight=weight, body=body)
        self._names.append(name)

    def take(self, name: str) -> bool:
        """Take a case in as the next if it is there already; tell whether it is."""
        there = self._path(name).exists()
        if there:
            self._names.append(name)
        return there

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npz"

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, number: int) -> TrainingCase: ...

    @overload
    def __getitem__(self, number: slice) -> Sequence[TrainingCase]: ...

    def __getitem__(self, number: int | slice) -> TrainingCase | Sequence[TrainingCase]:
        if isinstance(number, slice):
            return [self[n] for n in range(len(self))[number]]
        try:
            with np.load(self._path(self._names[number])) as kept:
                k, j, i = (slice(int(a), int(b)) for a, b in kept["body"])
                return TrainingCase(kept["hu"], kept["truth"], (k, j, i), kept["weight"])
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise StorageFailed(
                f"a prepared training case cannot be read; delete {self.folder} to prepare it again"
            ) from error
