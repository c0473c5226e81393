"""Real CTs by the genuine nnU-Net and by its networks brought in here: the labels are the same.

``NNUNET_PYTHON=<python with nnunetv2 2.8.1> ORGANLOOP_TEST_DATA=<folder> make proofs NAMES=genuine_nnunet``
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from scipy import ndimage

from models.geometry import ras_affine
from models.network.checkpoints.nnunet.reading import read_nnunet
from models.network.checkpoints.nnunet.release import Asked, take_apart
from models.nnunet.turn import Turn
from models.nnunet.whole import evaluate
from services.dicom.ct.loaded import load
from services.dicom.ct.series import read_series
from services.releases.reference_files import read_reference
from tests.conftest import ROOT
from tests.support.nnunet import KINDS, unpacked

PREDICT = ROOT / "tests" / "fixtures" / "nnunet" / "predict.py"


@pytest.fixture(scope="module")
def cts(test_data, tmp_path_factory) -> dict[str, Path]:
    """Return four CTs as RAS files: whole, thinner than a window, finer with noise, thick slices."""
    folder = tmp_path_factory.mktemp("cts")
    known = test_data("ct-organs-nifti", "a real torso of 3 mm")
    files = {"3 mm": known / "example_ct.nii.gz", "30 slices": known / "example_ct_sm.nii.gz"}
    whole = nibabel.load(files["3 mm"])
    zoom = np.divide(3, (1.37, 1.37, 2.5))
    finer = ndimage.zoom(np.asarray(whole.dataobj, dtype=np.float32)[:, :, 30:80], zoom, order=1)
    noise = np.random.default_rng(1).normal(0, 10, finer.shape)
    affine = whole.affine @ np.diag([*(1 / zoom), 1])
    files["1.4 x 1.4 x 2.5 mm"] = folder / "finer.nii.gz"
    nibabel.save(
        nibabel.Nifti1Image(np.rint(finer + noise).astype(np.int16), affine), files["1.4 x 1.4 x 2.5 mm"]
    )
    (series,) = read_series(test_data("ct-abdomen-series", "an abdomen of 5 mm"))
    volume = load(series).volume
    turn = Turn.between(volume.geometry, "SAR")
    columns = ras_affine(turn.geometry(volume.geometry))[:, [2, 1, 0, 3]]
    files["0.8 x 0.8 x 5 mm"] = folder / "thick.nii.gz"
    nibabel.save(nibabel.Nifti1Image(turn.apply(volume.hu).T, columns), files["0.8 x 0.8 x 5 mm"])
    return files


@pytest.mark.timeout(0)
@pytest.mark.parametrize("kind", KINDS)
def test_every_label_of_real_cts_is_that_of_the_genuine_predictor(kind, cts, tmp_path, capsys):
    python = os.environ.get("NNUNET_PYTHON")
    if python is None:
        pytest.skip("NNUNET_PYTHON names no Python that has nnunetv2")
    folder = unpacked(tmp_path / "results") / kind
    outs = {name: tmp_path / f"{n}.npy" for n, name in enumerate(cts)}
    words = [str(word) for name, ct in cts.items() for word in (ct, outs[name])]
    subprocess.run([python, str(PREDICT), str(folder), *words], check=True, capture_output=True)
    network = read_nnunet(folder)
    organs = ["-"] * sum(channel.name != "background" for channel in network.labels.channels)
    apart = take_apart(network, Asked("RAS"), ["liver", *organs[1:]])
    contract, channels = apart.contract, len(network.labels.channels)
    recipe = replace(contract.recipe, classes=tuple(str(n) for n in range(channels)))

    @torch.inference_mode()
    def in_torch(window):
        return apart.trunk(torch.from_numpy(window)).frozen[0].numpy()

    for name, ct in cts.items():
        given, theirs = read_reference(ct), np.load(outs[name])
        found = evaluate(
            given.values,
            given.geometry,
            recipe,
            recipe.along(contract.spacing_mm),
            contract.window_shape,
            in_torch,
        )
        labels = np.zeros(theirs.shape, dtype=np.uint8)
        for number, mask in found.masks().items():  # of regions a later one covers an earlier
            labels[mask.dense()] = network.labels.painted[number] if network.labels.painted else number
        differing = np.count_nonzero(labels != theirs)
        with capsys.disabled():
            print(
                f"\n{kind}, {name}: {differing} of {theirs.size} voxels differ; {np.bincount(theirs.ravel())}"
            )
        assert differing == 0
