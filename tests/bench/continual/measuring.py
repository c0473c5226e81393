"""What a trunk with its heads answers on studies, and how good that is."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.flop_counter import FlopCounterMode

from models.contract import ModelContract
from models.inference.segmentation import Segmentation
from models.inference.windows import segment_windows
from models.metrics.dsc import dsc
from models.network.heads import Head
from models.network.prediction import torch_predict
from models.network.trunk import Trunk
from tests.bench.continual.cohort import Study


def answer(trunk: Trunk, heads: Mapping[str, Head], contract: ModelContract, study: Study) -> Segmentation:
    """Answer one study as serving does."""
    return segment_windows(study.hu, contract, torch_predict(trunk, heads, contract))


def measure(
    trunk: Trunk, heads: Mapping[str, Head], contract: ModelContract, studies: Sequence[Study]
) -> dict[str, dict[str, Any]]:
    """Return by organ the DSC of each study (None: neither there nor predicted) and digests of all answers.

    Returns
    -------
    dict
        By organ ``dsc`` (list), ``probabilities`` and ``masks`` (SHA-256 over all studies).
    """
    values: dict[str, list[float | None]] = {organ: [] for organ in contract.organs}
    probabilities = {organ: hashlib.sha256() for organ in contract.organs}
    masks = {organ: hashlib.sha256() for organ in contract.organs}
    for study in studies:
        answered = answer(trunk, heads, contract, study)
        for organ, probability in zip(contract.organs, answered.probability, strict=True):
            mask = probability >= contract.thresholds[organ]
            values[organ].append(dsc(mask, study.truth[organ]))
            probabilities[organ].update(np.ascontiguousarray(probability))
            masks[organ].update(np.packbits(mask))
    return {
        organ: {
            "dsc": values[organ],
            "probabilities": probabilities[organ].hexdigest(),
            "masks": masks[organ].hexdigest(),
        }
        for organ in contract.organs
    }


def mean(column: Mapping[str, Any]) -> float:
    """Return the mean DSC of one organ as `measure` gave it."""
    return statistics.fmean(value for value in column["dsc"] if value is not None)


def means(measured: Mapping[str, Mapping[str, Any]], organs: Sequence[str]) -> float:
    """Return the mean over some organs of their mean DSC."""
    return statistics.fmean(mean(measured[organ]) for organ in organs)


@dataclass
class Taken:
    """Time something took.

    Parameters
    ----------
    wall, cpu
        Seconds on the clock, and of the processor; on one thread of a quiet machine they are equal.
    """

    wall: float = 0.0
    cpu: float = 0.0


@contextmanager
def timed() -> Iterator[Taken]:
    """Take the time of a block."""
    taken, wall, cpu = Taken(), time.perf_counter(), time.process_time()
    yield taken
    taken.wall, taken.cpu = time.perf_counter() - wall, time.process_time() - cpu


def flops(work: Callable[[], object]) -> int:
    """Return the floating-point operations of some work by torch's counter (a multiply-add is two)."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()
