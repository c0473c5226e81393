"""The proof of an import: a network that was brought in gives the labels that its owner's program gave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import Refused
from models.metrics.dsc import dsc

LEAST_DSC = 0.999
"""Of every class that counts."""

COUNTED_VOXELS = 2_000
"""A class of fewer in the reference proves nothing: one voxel of its border is too much of it."""


@dataclass(frozen=True)
class Compared:
    """One class in both label maps.

    Parameters
    ----------
    voxels
        Of the reference.
    dsc
        None where neither has it.
    """

    voxels: int
    dsc: float | None


@dataclass(frozen=True)
class Agreement:
    """How labels agree with a reference.

    Parameters
    ----------
    identical
        Whether not one voxel differs.
    differing, voxels
        Voxels that do, of all.
    classes
        By name of the class, background left out.
    unproven
        Classes that the reference has too little of, or not at all.
    """

    identical: bool
    differing: int
    voxels: int
    classes: Mapping[str, Compared]
    unproven: tuple[str, ...]


def require_agreement(
    found: NDArray[np.integer], reference: NDArray[np.integer], names: Mapping[int, str]
) -> Agreement:
    """Require that label maps agree.

    Parameters
    ----------
    found, reference
        Axes (k, j, i) of one grid: numbers of classes.
    names
        The classes by number, background left out.

    Returns
    -------
    Agreement
        How far they do.

    Raises
    ------
    Refused
        `other-labels` if the reference has numbers that are no class's; `empty-reference` if it has no class
        that counts; `wrong-axes` if where the reference has a class another one is found more often: the CT
        was turned or mirrored, or labels have other numbers; `reference-differs` if the DSC of a class that
        counts is under `LEAST_DSC`.
    """
    counts = dict(zip(*(column.tolist() for column in np.unique(reference, return_counts=True)), strict=True))
    unknown = sorted(set(counts) - set(names) - {0})
    if unknown:
        detail = f"the reference has labels {unknown[:10]}, which the network has no class of"
        raise Refused("other-labels", detail, {"labels": unknown})
    classes = {}
    for number, name in names.items():
        theirs = reference == number
        ours = found == number
        here = bool(theirs.any() or ours.any())
        classes[name] = Compared(counts.get(number, 0), dsc(ours, theirs) if here else None)
    counted = {number: name for number, name in names.items() if counts.get(number, 0) > COUNTED_VOXELS}
    if not counted:
        raise Refused(
            "empty-reference",
            f"no class of the reference has more than {COUNTED_VOXELS} voxels; give a CT that shows organs",
            {"counted_voxels": COUNTED_VOXELS},
        )
    _require_diagonal(found, reference, names, counted)
    worst = sorted((classes[name].dsc or 0.0, name) for name in counted.values())
    if worst[0][0] < LEAST_DSC:
        told = ", ".join(f"{name} {value:.4f}" for value, name in worst[:5])
        raise Refused(
            "reference-differs",
            f"the network does not give the labels of the reference: DSC {told}; {LEAST_DSC} is the least",
            {"dsc": {name: round(value, 5) for value, name in worst}, "least_dsc": LEAST_DSC},
        )
    differing = int(np.count_nonzero(found != reference))
    unproven = tuple(name for number, name in names.items() if number not in counted)
    return Agreement(differing == 0, differing, found.size, classes, unproven)


def _require_diagonal(
    found: NDArray[np.integer],
    reference: NDArray[np.integer],
    names: Mapping[int, str],
    counted: Mapping[int, str],
) -> None:
    """Require that each class is found where it is, more than any other class but the background."""
    swapped = {}
    for number, name in counted.items():
        numbers, counts = np.unique(found[reference == number], return_counts=True)
        there = {int(n): int(c) for n, c in zip(numbers, counts, strict=True) if n != 0}
        most = max(there, key=lambda n: there[n], default=0)
        if most != number:
            swapped[name] = names.get(most, "nothing")
    if swapped:
        told = ", ".join(f"{other} where {name} is" for name, other in list(swapped.items())[:5])
        raise Refused(
            "wrong-axes",
            f"the network finds {told}; say with --axes how the files lie that it was trained on",
            {"found_instead": swapped},
        )
