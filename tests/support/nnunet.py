"""Results folders that nnU-Net itself wrote (``tests/fixtures/nnunet``), and ways to change them."""

from __future__ import annotations

import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from models.network.checkpoints.nnunet.reading import NnunetNetwork
from tests.conftest import ROOT

ARCHIVE = ROOT / "tests" / "fixtures" / "nnunet" / "2.8.1.tar.xz"
KINDS = ("plain", "residual", "old", "regions", "anisotropic")
CONFIGURATION = "3d_fullres"
FINAL = Path("fold_0", "checkpoint_final.pth")
Change = Callable[[dict[str, Any]], object]


def unpacked(folder: Path) -> Path:
    """Unpack what nnU-Net wrote; nobody changes what lies there."""
    with tarfile.open(ARCHIVE) as packed:
        packed.extractall(folder, filter="data")
    return folder


def document(folder: Path, name: str = "plans.json") -> dict[str, Any]:
    """Return a document of a results folder."""
    said: dict[str, Any] = json.loads((folder / name).read_text())
    return said


def saved_values(folder: Path) -> dict[str, Any]:
    """Return what a checkpoint holds, as nnU-Net reads it: it is ours, and may run what it asks for."""
    values: dict[str, Any] = torch.load(folder / FINAL, weights_only=False)
    return values


def changed_copy(
    folder: Path,
    to: Path,
    checkpoint: Change | None = None,
    plans: Change | None = None,
    dataset: Change | None = None,
) -> Path:
    """Copy a results folder and change it; plans and labels are changed beside the checkpoint and in it."""
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("*.npz"))
    values = saved_values(folder)
    for change, name, inside in ((plans, "plans.json", "plans"), (dataset, "dataset.json", "dataset_json")):
        if change is not None:
            said = document(folder, name)
            change(said)
            (to / name).write_text(json.dumps(said))
            change(values["init_args"][inside])
    if checkpoint is not None:
        checkpoint(values)
    torch.save(values, to / FINAL)
    return to


def repacked(content: bytes, change: Callable[[str, bytes], bytes | None]) -> bytes:
    """Return an archive whose members were changed, each with its right checksum; None leaves one out."""
    out = BytesIO()
    with zipfile.ZipFile(BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for member in old.infolist():
            made = change(member.filename, old.read(member))
            if made is not None:
                new.writestr(member.filename, made)
    return out.getvalue()


def said(network: NnunetNetwork) -> tuple[object, ...]:
    """Return all that an answer depends on."""
    weights = {**network.trunk.state_dict(), **network.head.state_dict()}
    bits = {name: tensor.numpy().tobytes() for name, tensor in weights.items()}
    return network.plan, network.labels, network.mirrored, bits
