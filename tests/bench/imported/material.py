"""What is made once: the copies that were learnt from, the network, CTs to ask it about."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from models.geometry import Geometry, ras_affine
from models.nnunet.turn import Turn
from models.organs import ALIASES
from models.phantom.case import PhantomCase
from models.volume import Volume
from services.dicom.ct.loaded import load
from services.dicom.ct.series import read_series
from tests.conftest import ROOT
from tests.support.ct_files import ACQUISITION
from tests.support.deformed import Labelled, deformed, known_ct

KEPT = ROOT / "build" / "imported"
TOOLS = ROOT / "tests" / "fixtures" / "nnunet"
CLASSES = (
    "spleen", "kidney_right", "kidney_left", "gallbladder", "liver", "stomach", "aorta",
    "inferior_vena_cava", "small_bowel", "duodenum", "colon", "urinary_bladder", "hip_left", "hip_right",
    "iliopsoas_left", "iliopsoas_right",
)  # fmt: skip
"""In the order of the network's outputs; with the background there are 17."""

LEARNT_FROM, STEPS, WINDOW, FEATURES = 12, 1000, 64, 8
THREADS = 2


def genuine_python() -> str:
    """Return the Python that has nnunetv2."""
    python = os.environ.get("NNUNET_PYTHON")
    if python is None:
        pytest.skip("NNUNET_PYTHON names no Python that has nnunetv2")
    return python


def results() -> Path:
    """Return where the network is kept: one that was trained in another way is another one."""
    return KEPT / f"results-{LEARNT_FROM}-copies-{STEPS}-steps-{WINDOW}-voxels-{FEATURES}-features"


def network(organs: Path) -> Path:
    """Return the results folder; the library plans and trains it once.

    Parameters
    ----------
    organs
        Folder of the CT that is bent.
    """
    folder = results()
    if not (folder / "fold_0" / "checkpoint_final.pth").exists():
        raw = KEPT / "Dataset911_copies"
        if not raw.exists():
            _write_raw(known_ct(organs), raw)
        words = [str(word) for word in (raw, folder, STEPS, WINDOW, FEATURES)]
        subprocess.run([genuine_python(), str(TOOLS / "train.py"), *words], check=True)
    return folder


def cts(data: Path) -> dict[str, Path]:
    """Write the CTs that are asked about: another copy, the same finer and noisier, a slab, thick slices."""
    KEPT.mkdir(parents=True, exist_ok=True)
    files = {name: KEPT / f"{name}_0000.nii.gz" for name in ("copy", "finer", "slab", "thick")}
    if not all(path.exists() for path in files.values()):
        copy = deformed(known_ct(data / "ct-organs-nifti"), "A", LEARNT_FROM)
        _write(copy.volume.hu, copy.volume.geometry, files["copy"])
        _write_finer(copy.volume, files["finer"])
        slab = np.ascontiguousarray(copy.volume.hu[60:90])
        affine = np.array(copy.volume.geometry.affine)
        affine[:3, 3] = copy.volume.geometry.to_lps((60, 0, 0))
        _write(slab, Geometry(slab.shape, affine), files["slab"])
        (series,) = read_series(data / "ct-abdomen-series")
        volume = load(series).volume
        turn = Turn.between(volume.geometry, "SAR")
        _write(turn.apply(volume.hu), turn.geometry(volume.geometry), files["thick"])
    return files


def copy_labels(organs: Path) -> NDArray[np.uint8]:
    """Return what is in the CT `copy`, by the network's classes; axes (k, j, i)."""
    return by_class(deformed(known_ct(organs), "A", LEARNT_FROM))


def by_class(copy: Labelled) -> NDArray[np.uint8]:
    """Return a copy's labels by the network's classes."""
    labels = np.zeros(copy.labels.shape, dtype=np.uint8)
    for number, name in enumerate(CLASSES, 1):
        labels[copy.mask(name)] = number
    return labels


def _write_finer(volume: Volume, path: Path) -> None:
    zoom = np.divide(volume.geometry.spacing_mm, (2.5, 1.37, 1.37))
    finer = ndimage.zoom(volume.hu.astype(np.float32), zoom, order=1, mode="nearest", grid_mode=True)
    noise = np.random.default_rng(1).normal(0, 10, finer.shape)
    shrunk = np.divide(volume.hu.shape, finer.shape)
    affine = volume.geometry.affine @ np.diag([*shrunk, 1])
    affine[:3, 3] = volume.geometry.to_lps((shrunk - 1) / 2)
    _write(np.rint(finer + noise).astype(np.int16), Geometry(finer.shape, affine), path)


def _write(values: NDArray[np.int16] | NDArray[np.uint8], geometry: Geometry, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values.T, ras_affine(geometry)[:, [2, 1, 0, 3]]), path)


def _write_raw(known: Labelled, folder: Path) -> None:
    for seed in range(LEARNT_FROM):
        copy = deformed(known, "A", seed)
        _write(copy.volume.hu, copy.volume.geometry, folder / "imagesTr" / f"copy{seed}_0000.nii.gz")
        _write(by_class(copy), copy.volume.geometry, folder / "labelsTr" / f"copy{seed}.nii.gz")
    document = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0} | {name: number for number, name in enumerate(CLASSES, 1)},
        "numTraining": LEARNT_FROM,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(document))


def patient(organs: Path, site: str, seed: int) -> PhantomCase:
    """Return a copy with its truth by the catalogue's keys, as a patient of a site."""
    copy = deformed(known_ct(organs), site, seed)
    truth = {ALIASES.get(name, name): copy.mask(name) for name in CLASSES}
    acquisition = ACQUISITION | {"thickness_mm": copy.volume.geometry.spacing_mm[0]}
    return PhantomCase(copy.volume, truth, site, seed, acquisition)
