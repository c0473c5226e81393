"""Which checkpoint of a results folder is meant, and the documents beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from models.errors import Refused
from models.network.checkpoints.nnunet.documents import Document, read_document

FINAL = "checkpoint_final.pth"
"""The checkpoint that nnU-Net's predictor takes where none is named."""

PLANS, DATASET = "plans.json", "dataset.json"
_FOLD = "fold_"


@dataclass(frozen=True)
class Found:
    """A checkpoint, and what lies beside it.

    Parameters
    ----------
    checkpoint
        The file.
    documents
        `PLANS` and `DATASET` of its folder; None for a checkpoint alone, which holds both itself.
    digests
        SHA-256 of the documents' files by name, in hex.
    """

    checkpoint: Path
    documents: Mapping[str, Document] | None
    digests: Mapping[str, str]


def find(path: Path, fold: str | None = None, checkpoint: str | None = None) -> Found:
    """Find a checkpoint and the documents that belong to it.

    Parameters
    ----------
    path
        A results folder, which holds ``plans.json``, or one checkpoint file.
    fold
        Which of its folds, ``0`` or ``all``; None: the only one.
    checkpoint
        Name of the file in the fold; None: `FINAL`.

    Raises
    ------
    Refused
        `several-folds` if none is named and there are several; `no-checkpoint` if there is none of these
        names; `unreadable-plans`.
    OSError
        If a file cannot be read.
    """
    if path.is_file():
        if fold is not None or checkpoint is not None:
            detail = f"{path.name} is a file; a fold and a checkpoint are named in a results folder"
            raise Refused("no-checkpoint", detail)
        return Found(path, None, {})
    missing = [name for name in (PLANS, DATASET) if not (path / name).is_file()]
    if missing:
        detail = f"{path.name} has no {' and no '.join(missing)}; name a results folder, or a checkpoint file"
        raise Refused("no-checkpoint", detail, {"missing": missing})
    name = checkpoint or FINAL
    if Path(name).name != name:
        raise Refused("no-checkpoint", f"{name} is no name of a file in a fold", {"checkpoint": name})
    there = {
        folder.name.removeprefix(_FOLD): folder / name
        for folder in sorted(path.glob(f"{_FOLD}*"))
        if (folder / name).is_file()
    }
    found = _chosen(there, fold, name, path)
    read = {document: read_document(path / document) for document in (PLANS, DATASET)}
    return Found(
        found,
        {document: said for document, (said, _) in read.items()},
        {document: hashlib.sha256(content).hexdigest() for document, (_, content) in read.items()},
    )


def _chosen(there: Mapping[str, Path], fold: str | None, name: str, path: Path) -> Path:
    if fold is not None and fold in there:
        return there[fold]
    if fold is None and len(there) == 1:
        return next(iter(there.values()))
    if fold is None and there:
        detail = f"there are {len(there)} folds with {name}: {', '.join(there)}; name one, each is a network"
        raise Refused("several-folds", detail, {"folds": list(there)})
    others = sorted(f"{file.parent.name}/{file.name}" for file in path.glob(f"{_FOLD}*/*.pth"))
    wanted = f"{_FOLD}{fold if fold is not None else '*'}/{name}"
    detail = f"there is no {wanted}; there is {', '.join(others) or 'no checkpoint at all'}"
    raise Refused("no-checkpoint", detail, {"folds": list(there), "checkpoints": others})
