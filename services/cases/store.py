"""The case store: volumes and labels of pseudonymised studies, as NIfTI on disk.

::

    site.key                          secret of the site, made on first use, readable by its owner only
    <case>/volume.nii.gz              Hounsfield units as a release is asked about them
    <case>/sent/<organ>.nii.gz        the served result on the CT grid, 0 and 1
    <case>/labels/<organ>.nii.gz      the hybrid label on the CT grid: 2 x provenance + inside

Folders are named by a keyed hash, so that neither a patient nor a study can be read off the disk.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import hmac
import secrets
import shutil
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import nibabel
import numpy as np
from numpy.typing import NDArray

from models.contract import ModelContract
from models.corrections.ledger import HybridLabel
from models.errors import Refused, StorageFailed
from models.geometry import Geometry, geometry_from_ras, ras_affine
from models.inference.question import is_asked_grid
from models.masks import BoxedMask
from models.series.acquisition import Acquisition
from models.uids import StudyUid
from models.volume import Volume
from services.files import replace, storage_errors, write_first
from services.records.entries.cases import Case, Purpose
from services.records.port import Records

KEY_BYTES = 32
PAGE_DIGITS = 16
"""Hexadecimal digits of a study's name on the pages: no two of a site meet by chance."""


@dataclass(frozen=True, eq=False)
class CaseContent:
    """What is kept of one case.

    Parameters
    ----------
    volume
        The CT as a release is asked about it (`models.inference.question`).
    ct
        The CT grid.
    sent
        Mask of each organ that was served, on the CT grid; empty for a truth drawn independently.
    labels
        Label of each organ, on the CT grid.
    """

    volume: Volume
    ct: Geometry
    sent: Mapping[str, BoxedMask]
    labels: Mapping[str, HybridLabel]


class CaseStore:
    """A case store in a local folder.

    Parameters
    ----------
    folder
        Made on the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def pseudonym(self, identifier: str) -> str:
        """Return the HMAC-SHA256 of a patient's or an object's identifier under the site's key.

        Returns
        -------
        str
            64 hexadecimal digits, the same for the same identifier at the same site only.

        Raises
        ------
        StorageFailed
            If the key cannot be made or read.
        """
        # Halves of a character pass: two identifiers never become one, nor does one become none.
        return hmac.new(self._key(), identifier.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    def page_of(self, study_uid: StudyUid) -> str:
        """Return a study's name on the pages; raises as `pseudonym`."""
        return self.pseudonym(f"page {study_uid}")[:PAGE_DIGITS]

    def add(
        self,
        records: Records,
        name: str,
        patient: str,
        purpose: Purpose,
        origin: str,
        content: CaseContent,
        site: str = "",
        acquisition: Acquisition | None = None,
    ) -> Case:
        """Take a case into the set of its purpose, and keep its volume and labels.

        The row goes first: a patient who leaks between sets leaves nothing on disk. Killed in between,
        the same call completes the files.

        Parameters
        ----------
        records
            Holds the sets.
        name
            What the case is known by outside, e.g. the SOP Instance UID of the correction.
        patient
            PatientID; only its HMAC is kept.
        purpose, origin
            What it is kept for, and where its truth comes from.
        content
            What is kept.
        site
            Where it was scanned; empty if not known.
        acquisition
            How it was scanned; None if not known.

        Raises
        ------
        Refused
            As `Records.add_case`: `patient-leak`, `patient-erased`, `case-changed`.
        StorageFailed
            If the disk is full or not writable.
        """
        files = _encode(content)
        case = Case(
            case_id=self.pseudonym(name),
            purpose=purpose,
            patient=self.pseudonym(patient),
            origin=origin,
            digest=_digest(files),
            site=site,
            acquisition=acquisition or Acquisition(),
        )
        records.add_case(case)
        for path, data in files.items():
            target = self.folder / case.case_id / path
            with _storage_failures():
                target.parent.mkdir(parents=True, exist_ok=True)
            replace(target, data)
        if records.erased(case.patient):  # while the files were written
            self.erase(case.case_id)
            raise Refused("patient-erased", "the patient was taken out, and is kept for nothing again")
        return case

    def erase(self, case_id: str) -> None:
        """Delete all that is kept of a case; what is not there is no error.

        Raises
        ------
        StorageFailed
            If a file cannot be deleted.
        """
        with _storage_failures(), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.folder / case_id)

    def read(self, case: Case, organ: str | None = None) -> CaseContent:
        """Return what is kept of a case.

        Parameters
        ----------
        case
            Which.
        organ
            Whose masks and labels are wanted; None: every organ's, which take much more memory.

        Raises
        ------
        StorageFailed
            If it cannot be read, or is not what the case's digest was taken of: a file is missing,
            changed, or one too many. If it holds no label of the organ.
        """
        files = self._files(case)
        if _digest(files) != case.digest:
            raise StorageFailed(
                f"case {case.case_id} is not what was kept: add it, or ingest its correction, again"
            )
        hu, grid = _decode(files["volume.nii.gz"])
        sent = {key: BoxedMask.of(array > 0) for key, array, _ in _organs(files, "sent", organ)}
        labels = [
            (key, HybridLabel.of((array & 1).astype(bool), (array >> 1).astype(np.uint8)), geometry)
            for key, array, geometry in _organs(files, "labels", organ)
        ]
        if not labels:
            raise StorageFailed(f"case {case.case_id} holds no label of {organ or 'any organ'}")
        *_, ct = labels[0]
        return CaseContent(
            volume=Volume(hu, grid), ct=ct, sent=sent, labels={key: label for key, label, _ in labels}
        )

    def is_whole(self, case: Case) -> bool:
        """Tell whether a case's files are what its digest was taken of.

        Raises
        ------
        StorageFailed
            If they cannot be read.
        """
        return _digest(self._files(case)) == case.digest

    def volume_digest(self, case: Case) -> str | None:
        """Return the SHA-256 of a case's volume as it lies there, None if it does not.

        The same images are the same volume, under whatever patient they are kept.

        Raises
        ------
        StorageFailed
            If it cannot be read.
        """
        with _storage_failures(), contextlib.suppress(FileNotFoundError):
            return hashlib.sha256((self.folder / case.case_id / "volume.nii.gz").read_bytes()).hexdigest()
        return None

    def other_grid(self, case: Case, contract: ModelContract) -> Geometry | None:
        """Return the grid of a case's volume, by its header, if a release is asked about volumes on another.

        Parameters
        ----------
        case
            What was kept, maybe for a release that is asked on another grid.
        contract
            Of the release.

        Returns
        -------
        Geometry or None
            None where it is the grid, and where `read` says what is wrong.
        """
        folder = self.folder / case.case_id
        try:
            kept, ct = _grid(folder / "volume.nii.gz"), _grid(min((folder / "labels").glob("*.nii.gz")))
        except (OSError, EOFError, ValueError, zlib.error, nibabel.filebasedimages.ImageFileError):
            return None
        return None if is_asked_grid(kept, ct, contract) else kept

    def _files(self, case: Case) -> dict[str, bytes]:
        folder = self.folder / case.case_id
        with _storage_failures():
            return {
                path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.nii.gz")
            }

    def _key(self) -> bytes:
        path = self.folder / "site.key"
        with _storage_failures():
            with contextlib.suppress(FileNotFoundError):
                return _whole_key(path)
            write_first(path, secrets.token_bytes(KEY_BYTES), mode=0o600)
            return _whole_key(path)  # of another process, where that was first


def _whole_key(path: Path) -> bytes:
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise StorageFailed(
            f"{path.name} is not a key of {KEY_BYTES} bytes; restore it from the site's backup"
        )
    return key


def _encode(content: CaseContent) -> dict[str, bytes]:
    """Return the bytes of each file of a case, by its path in the case's folder."""
    files = {"volume.nii.gz": _nifti(content.volume.hu, content.volume.geometry)}
    for organ, mask in content.sent.items():
        files[f"sent/{organ}.nii.gz"] = _nifti(_as_drawn(mask), content.ct)
    for organ, label in content.labels.items():
        files[f"labels/{organ}.nii.gz"] = _nifti(_as_labelled(label), content.ct)
    return files


def _as_drawn(mask: BoxedMask) -> NDArray[np.uint8]:
    array = np.zeros(
        mask.shape, dtype=np.uint8, order="F"
    )  # as NIfTI lays it: turned later, it takes seconds
    array[mask.box] = mask.inside
    return array


def _as_labelled(label: HybridLabel) -> NDArray[np.uint8]:
    array = np.full(label.inside.shape, label.ground << 1, dtype=np.uint8, order="F")
    for kind, mask in label.others.items():
        array[mask.box][mask.inside] = kind << 1
    array[label.inside.box] |= label.inside.inside
    return array


def _nifti(array: NDArray, geometry: Geometry) -> bytes:
    """Return a NIfTI-1 file, axes (k, j, i), gzipped without a time: the same array is the same bytes."""
    image = nibabel.Nifti1Image(array, ras_affine(geometry), dtype=array.dtype)
    return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)


def _decode(data: bytes) -> tuple[NDArray, Geometry]:
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(data))
    array = np.asanyarray(image.dataobj)
    return array, geometry_from_ras(array.shape, image.affine)


def _grid(path: Path) -> Geometry:
    """Return the grid of an image, by its header."""
    image = nibabel.Nifti1Image.from_filename(path)
    k, j, i = image.shape
    return geometry_from_ras((k, j, i), image.affine)


def _organs(
    files: Mapping[str, bytes], folder: str, organ: str | None
) -> Iterator[tuple[str, NDArray, Geometry]]:
    """Yield organ by organ what a folder holds, or one organ's: all of them at once would be gigabytes."""
    for path, data in sorted(files.items()):
        key = PurePosixPath(path).name.removesuffix(".nii.gz")
        if path.startswith(f"{folder}/") and organ in (None, key):
            yield (key, *_decode(data))


def _digest(files: Mapping[str, bytes]) -> str:
    """Return the SHA-256 over the path and the SHA-256 of each file of a case."""
    digest = hashlib.sha256()
    for path, data in sorted(files.items()):
        digest.update(f"{path} {hashlib.sha256(data).hexdigest()}\n".encode())
    return digest.hexdigest()


_storage_failures = partial(storage_errors, "the case store", "cannot be read or written")
