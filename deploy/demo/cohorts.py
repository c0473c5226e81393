"""The phantom studies of the demonstration, written as DICOM; every person appears in one cohort only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType

from models.masks import BoxedMask
from models.phantom.case import make_case
from services.dicom.ct.phantom_series import read_truth, write_phantom_series, write_truth

Masks = dict[str, BoxedMask]
"""By organ key, on the CT grid."""


@dataclass(frozen=True)
class Cohort:
    """Phantoms for one use.

    Parameters
    ----------
    name
        What they are for.
    site
        Synthetic site.
    seeds
        One person each.
    """

    name: str
    site: str
    seeds: range


CORRECTED = Cohort("corrected by the reader", "B", range(710_000, 710_012))
REPLAYED = Cohort("older studies, replayed", "A", range(720_000, 720_012))
GATE = (Cohort("gate set", "B", range(730_000, 730_008)), Cohort("gate set", "A", range(740_000, 740_006)))
"""Not many more than the gate takes: not everybody has every organ where it can be scored."""

UNSEEN = (Cohort("unseen", "B", range(750_000, 750_005)), Cohort("unseen", "A", range(760_000, 760_003)))
EVERY = (*GATE, REPLAYED, CORRECTED, *UNSEEN)
"""In the order in which they are wanted."""


@dataclass(frozen=True)
class Study:
    """One phantom study on disk.

    Parameters
    ----------
    site, seed
        What it was made from.
    ct
        Folder with its CT series.
    truth_file
        Its exact truth.
    """

    site: str
    seed: int
    ct: Path
    truth_file: Path

    @property
    def name(self) -> str:
        """Short name, e.g. ``B-710003``."""
        return f"{self.site}-{self.seed}"

    def truth(self) -> Masks:
        """Return the exact truth on the CT grid."""
        return read_truth(self.truth_file)[0]


class Phantoms:
    """The studies of every cohort, made on both cores from the moment it is entered.

    Parameters
    ----------
    folder
        Each study gets a folder in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pool = ProcessPoolExecutor(2, mp_context=get_context("spawn"))

    def __enter__(self) -> Phantoms:
        """Begin to make them."""
        self._making = {
            (cohort, seed): self._pool.submit(_write, cohort.site, seed, self._folder)
            for cohort in EVERY
            for seed in cohort.seeds
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def of(self, *cohorts: Cohort, progress: Callable[[str], None]) -> Iterator[Study]:
        """Yield the studies of cohorts in order, each as soon as it is there."""
        people = [(cohort, seed) for cohort in cohorts for seed in cohort.seeds]
        for number, (cohort, seed) in enumerate(people, 1):
            study = self._making[cohort, seed].result()
            progress(f"  phantom {number} of {len(people)} of site {cohort.site} ({cohort.name})")
            yield study


def _write(site: str, seed: int, folder: Path) -> Study:
    place = folder / f"{site}-{seed}"
    case = make_case(site, seed)
    write_phantom_series(case, place / "ct")
    write_truth(case, place / "truth.npz")
    return Study(site, seed, place / "ct", place / "truth.npz")
