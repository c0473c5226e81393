"""A results folder or a checkpoint of nnU-Net v2, as a network in torch with what is done around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor, nn

from models.errors import Refused
from models.network.checkpoints.nnunet.archive import read_archive
from models.network.checkpoints.nnunet.documents import from_checkpoint, typed
from models.network.checkpoints.nnunet.folder import DATASET, PLANS, find
from models.network.checkpoints.nnunet.labels import Labels, read_labels
from models.network.checkpoints.nnunet.plans import Plan, read_plan
from models.network.checkpoints.nnunet.trainers import KNOWN
from models.network.checkpoints.nnunet.weights import build, read_weights
from models.network.nnunet_networks import NnunetTrunk


@dataclass(frozen=True)
class Source:
    """Where a network came from, for the record.

    Parameters
    ----------
    digests
        SHA-256 of every file that was read, by name, in hex.
    trainer
        Class that trained it.
    fold
        Which part of the cases was held out, as the checkpoint has it: ``0`` or ``all``.
    epochs
        How many it was trained for, where the checkpoint says so.
    left_out
        Tensors of deep supervision that are in the file and in no answer.
    """

    digests: Mapping[str, str]
    trainer: str
    fold: str
    epochs: int | None
    left_out: int


@dataclass(frozen=True, eq=False)
class NnunetNetwork:
    """A network of nnU-Net, frozen, float32, with all that its predictor knows of it.

    Parameters
    ----------
    trunk
        Up to the last features.
    head
        The last 1x1x1 convolution: one row for each of `labels.channels`.
    plan
        Grid, windows and intensities.
    labels
        What the channels are.
    mirrored
        The network's axes along which windows may be flipped, and the logits of all flips averaged; empty:
        the network was not trained so.
    source
        Where it came from.
    """

    trunk: NnunetTrunk
    head: nn.Conv3d
    plan: Plan
    labels: Labels
    mirrored: tuple[int, ...]
    source: Source

    def logits(self, windows: Tensor) -> Tensor:
        """Return the logits of normalised windows, equal to nnU-Net's own to the bit.

        Parameters
        ----------
        windows
            Float32, axes (batch, 1, *network's axes); sides are multiples of
            ``plan.architecture.window_multiple``.

        Returns
        -------
        Tensor
            Axes (batch, channel, *network's axes).
        """
        with torch.inference_mode():
            logits: Tensor = self.head(self.trunk(windows))
        return logits


@dataclass(frozen=True)
class _Arguments:
    """Arguments that the trainer was made with, but for its documents."""

    configuration: str
    fold: int | str


@dataclass(frozen=True)
class _Training:
    """What the checkpoint says of the training."""

    trainer_name: str
    inference_allowed_mirroring_axes: tuple[int, ...] | None = None  # as nnU-Net takes older files
    current_epoch: int | None = None


def read_nnunet(path: Path, fold: str | None = None, checkpoint: str | None = None) -> NnunetNetwork:
    """Read a network of nnU-Net v2 exactly, running nothing of its files.

    Parameters
    ----------
    path
        A results folder, which holds ``plans.json``, or one checkpoint file.
    fold
        Which of a folder's folds, ``0`` or ``all``; None: the only one.
    checkpoint
        Name of the file in the fold; None: ``checkpoint_final.pth``.

    Raises
    ------
    Refused
        Of the files: `no-checkpoint`, `several-folds`, `unreadable-checkpoint`, `damaged-checkpoint`,
        `unsafe-checkpoint`, `unreadable-plans`, and `incomplete-checkpoint` if it does not say how it was
        trained. Of what is not read exactly: the codes of `plans.read_plan` and `labels.read_labels`, and
        `not-ct`, `unknown-trainer`. Of contradictions: `contradictory-plans` between checkpoint and folder,
        `contradictory-checkpoint` between names of one tensor, `checkpoint-mismatch` between plans and
        weights. Of weights: `bad-weights`.
    OSError
        If a file cannot be read.
    """
    found = find(path, fold, checkpoint)
    archive = read_archive(found.checkpoint)
    values = archive.values
    given = values.get("init_args")
    if not isinstance(given, Mapping):
        given = {}
    missing = [name for name in ("network_weights", "init_args", "trainer_name") if name not in values]
    missing += [
        f"init_args.{name}"
        for name in ("plans", "configuration", "fold", "dataset_json")
        if name not in given
    ]
    if missing:
        detail = f"the checkpoint is none of nnU-Net v2, or is not whole: it has no {', '.join(missing)}"
        raise Refused("incomplete-checkpoint", detail, {"missing": missing, "has": sorted(values)[:20]})
    arguments = typed(_Arguments, _some(given, _Arguments), "init_args")
    training = typed(_Training, _some(values, _Training), "the checkpoint")
    if training.trainer_name not in KNOWN:
        detail = f"{training.trainer_name} may build another network than its plans say; it is not known here"
        raise Refused("unknown-trainer", detail, {"trainer": training.trainer_name})
    plan = read_plan(from_checkpoint(given["plans"], PLANS), arguments.configuration)
    labels = read_labels(from_checkpoint(given["dataset_json"], DATASET))
    if found.documents is not None:
        _require_equal(PLANS, plan, read_plan(found.documents[PLANS], arguments.configuration))
        _require_equal(DATASET, labels, read_labels(found.documents[DATASET]))
    _require_ct(plan, labels)
    trunk, head, left_out = build(
        plan.architecture, read_weights(values["network_weights"]), len(labels.channels)
    )
    return NnunetNetwork(
        trunk,
        head,
        plan,
        labels,
        _mirrored(training.inference_allowed_mirroring_axes),
        Source(
            {**found.digests, found.checkpoint.name: archive.sha256},
            training.trainer_name,
            str(arguments.fold),
            training.current_epoch,
            left_out,
        ),
    )


def _some(values: Mapping[str, object], kind: type[_Arguments] | type[_Training]) -> Mapping[str, object]:
    """Return the plain values that a kind of document has fields for."""
    named = {one.name: values[one.name] for one in fields(kind) if one.name in values}
    return from_checkpoint(named, f"one of {', '.join(named)}")


def _require_equal(name: str, inside: Plan | Labels, beside: Plan | Labels) -> None:
    """Require that a checkpoint was trained with the document beside it."""
    differing = [one.name for one in fields(inside) if getattr(inside, one.name) != getattr(beside, one.name)]
    if differing:
        detail = (
            f"{name} beside the checkpoint is not the one it was trained with: {', '.join(differing)} differ"
        )
        raise Refused("contradictory-plans", detail, {"file": name, "fields": differing})


def _require_ct(plan: Plan, labels: Labels) -> None:
    """Require a channel by whose name nnU-Net plans this way to normalise; its names have no case."""
    name = labels.channel_name.casefold()
    if name != ("nonorm" if plan.intensity is None else "ct"):
        said = "not at all" if plan.intensity is None else "as a CT"
        detail = f"the network's channel is {labels.channel_name}, and normalised {said}; a CT is served"
        raise Refused("not-ct", detail, {"channel": labels.channel_name})


def _mirrored(axes: tuple[int, ...] | None) -> tuple[int, ...]:
    if axes is None:
        return ()
    if len(set(axes)) != len(axes) or not set(axes) <= {0, 1, 2}:
        raise Refused("unreadable-checkpoint", f"windows are flipped along axes {axes}", {"axes": axes})
    return axes
