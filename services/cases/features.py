"""The features kept while serving: what tuning would otherwise have to extract again.

::

    features/<patient>/<series>-<trunk>-<volume>.npz

Patient and series are keyed hashes, as everywhere in the case store; the trunk is named by the start of the
SHA-256 of its digest, window and Hounsfield window, the volume by that of its Hounsfield units on the model
grid: features of another trunk, of other windows or of other voxels are not found.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import StorageFailed
from models.inference.kept_features import KeptFeatures
from models.release import Release
from models.uids import SeriesUid
from services.cases.store import CaseStore
from services.files import appear, folder_aside, replace, storage_errors

NAMED_BY = 24
"""Hexadecimal digits of a digest in a file's name: no two meet by chance."""

SECONDS_A_DAY = 86400.0

_log = logging.getLogger(__name__)


class FeatureStore:
    """Kept features in the folder of a case store.

    Parameters
    ----------
    cases
        Gives the folder and the keyed hashes.
    folder
        Where they lie, if not there.
    """

    def __init__(self, cases: CaseStore, folder: Path | None = None) -> None:
        self._cases = cases
        self._folder = folder or cases.folder / "features"

    def keep(
        self,
        patient: str,
        series_uid: SeriesUid,
        release: Release,
        hu: NDArray[np.int16] | NDArray[np.float32],
        kept: KeptFeatures,
    ) -> None:
        """Keep the features of a served series.

        Parameters
        ----------
        patient
            PatientID; only its HMAC is kept.
        series_uid
            SeriesInstanceUID of the CT; only its HMAC is kept.
        release
            Which served: its trunk made the features.
        hu
            Axes (k, j, i): the Hounsfield units that the release was asked about.
        kept
            The features.

        Raises
        ------
        StorageFailed
            If the disk is full or not writable.
        """
        path = self._path(self._cases.pseudonym(patient), series_uid, release, hu)
        with storage_errors("kept features"):
            path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, kept.to_bytes())

    def find(
        self,
        patient: str,
        series_uid: SeriesUid,
        release: Release,
        hu: NDArray[np.int16] | NDArray[np.float32],
    ) -> KeptFeatures | None:
        """Return what was kept of a series; None if nothing was, or not by this trunk on these voxels.

        A file that is damaged is told in the log and stands for nothing: features can be made again.

        Parameters
        ----------
        patient
            The HMAC, as cases bear it.
        series_uid, release, hu
            As given to `keep`.

        Raises
        ------
        StorageFailed
            If there is a file that the disk does not give.
        """
        path = self._path(patient, series_uid, release, hu)
        with storage_errors("kept features", "cannot be read"):
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                return None
        try:
            kept = KeptFeatures.from_bytes(content)
        except StorageFailed:
            _log.warning("%s is damaged: the study goes through the trunk again", path.name)
            return None
        return kept if kept.fits(release.contract) else None

    def held(self, series: Iterable[tuple[str, SeriesUid]], folder: Path) -> FeatureStore:
        """Return what was kept of some series when this was asked first, whatever is forgotten since.

        A run that is taken up again sees what it began with. Files are linked, not copied.

        Parameters
        ----------
        series
            HMAC of the patient, as cases bear it, and SeriesInstanceUID.
        folder
            Where to hold them, in the same file system; deleted by who asked.

        Raises
        ------
        StorageFailed
            If the disk is full or not writable.
        """
        if not folder.exists():
            name = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
            with storage_errors("kept features", "cannot be held"), folder_aside(name) as aside:
                for patient, series_uid in sorted(set(series)):
                    (aside / patient).mkdir(exist_ok=True)
                    for path in (self._folder / patient).glob(f"{self._named(series_uid)}-*.npz"):
                        with contextlib.suppress(FileNotFoundError):  # forgotten at this moment
                            os.link(path, aside / patient / path.name)
                appear(aside, folder)  # two may begin the same run
        return FeatureStore(self._cases, folder)

    def erase(self, patient: str) -> int:
        """Delete what was kept of a patient, by its HMAC; return how many files."""
        folder = self._folder / patient
        files = len(list(folder.glob("*.npz")))
        with storage_errors("kept features", "cannot be deleted"):
            try:
                shutil.rmtree(folder)
            except FileNotFoundError:
                return 0
        return files

    def forget(self, older_than_days: float) -> int:
        """Delete what was kept longer ago than so many days; return how many files.

        What a killed process wrote by half goes after as long, and is not counted.
        """
        oldest = time.time() - older_than_days * SECONDS_A_DAY
        gone = 0
        for path in self._folder.glob("*/*"):
            try:
                if path.stat().st_mtime < oldest:
                    path.unlink()
                    gone += path.suffix == ".npz"
            except FileNotFoundError:
                continue  # another process was first
        return gone

    def _path(
        self,
        patient: str,
        series_uid: SeriesUid,
        release: Release,
        hu: NDArray[np.int16] | NDArray[np.float32],
    ) -> Path:
        voxels = hashlib.sha256(repr(hu.shape).encode() + np.ascontiguousarray(hu).tobytes()).hexdigest()
        contract = release.contract
        seen = [release.trunk, *map(int, contract.window_shape), *map(float, contract.hu_window)]
        if contract.recipe is not None:  # where windows lie, and what is seen in them
            recipe = {k: v for k, v in contract.recipe.to_json().items() if k not in ("classes", "imported")}
            seen += [contract.spacing_mm, recipe]
        trunk = hashlib.sha256(repr(seen).encode()).hexdigest()
        name = f"{self._named(series_uid)}-{trunk[:NAMED_BY]}-{voxels[:NAMED_BY]}.npz"
        return self._folder / patient / name

    def _named(self, series_uid: SeriesUid) -> str:
        return self._cases.pseudonym(series_uid)[:NAMED_BY]
