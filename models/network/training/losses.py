"""What training minimises: cross entropy and soft Dice, on labelled voxels only."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

PRESENT_VOXELS = 4.0
"""Below this much of an organ in the sample there is no overlap worth rewarding, only cross entropy."""


def segmentation_loss(logits: Tensor, truth: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean over organs of cross entropy plus soft Dice loss.

    Parameters
    ----------
    logits
        Axes (..., organ).
    truth
        Same axes, 0..1; fractions are partial volume.
    weight
        Same axes or broadcast to them, at least 0; 0 where an organ is not labelled. Such voxels are
        left out altogether: unlabelled never means background. In a sample, one over the probability
        with which the voxel was drawn. None = all labelled, all drawn.

    Returns
    -------
    Tensor
        Scalar, float32; 0 where nothing is labelled. An organ without any labelled voxel takes no part.

    Notes
    -----
    Source: Milletari et al., V-Net, 3DV 2016, arXiv:1606.04797, for the Dice term; both terms per
    organ with a sigmoid as in Liu et al., arXiv:2301.00785.
    """
    organs = logits.shape[-1]
    logits = logits.float().reshape(-1, organs)
    truth = truth.float().reshape(-1, organs)
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    probability = torch.sigmoid(logits)
    if weight is None:
        labelled = torch.full((organs,), float(len(truth)), device=logits.device)
        overlap = (probability * truth).sum(0)
        size, area = truth.sum(0), probability.sum(0)
        entropy = entropy.sum(0)
    else:
        weight = weight.float().expand(*weight.shape[:-1], organs).reshape(-1, organs)
        labelled = weight.sum(0)
        overlap = (weight * probability * truth).sum(0)
        size, area = (weight * truth).sum(0), (weight * probability).sum(0)
        entropy = (weight * entropy).sum(0)
    dice = 1 - (2 * overlap + 1) / (size + area + 1)
    dice = torch.where(size >= PRESENT_VOXELS, dice, torch.zeros_like(dice))
    taking_part = labelled > 0
    per_organ = entropy / torch.where(taking_part, labelled, 1.0) + dice
    return (per_organ * taking_part).sum() / taking_part.sum().clamp_min(1)
