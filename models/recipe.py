"""What lies round a network, as data of the release: how it wants a volume, how its answer becomes labels.

There are two recipes. A contract that names none has this product's own: Hounsfield units on a grid of head,
posterior and left, windows over the body, probabilities blended, a threshold an organ. The other is that of
nnU-Net.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

NNUNET = "nnunet"

Rule = Literal["softmax", "regions"]
"""The one class of the largest logit; or each region where its own logit is over 0."""

Wrapping = Literal["none", "totalsegmentator"]
"""nnU-Net alone; or what TotalSegmentator does round it: `models.nnunet.totalsegmentator`."""

Conflicts = Literal["overlap", "yield"]
"""What becomes of a voxel that a tuned organ claims and the imported network gave to another organ: both have
it; or the tuned organ leaves it. The other organ never loses it, so that only a tuned organ's bits change."""

DIRECTIONS = {"R": (0, -1), "L": (0, 1), "A": (1, -1), "P": (1, 1), "I": (2, -1), "S": (2, 1)}
"""Where an axis leads: the axis of LPS, and which way along it."""


@dataclass(frozen=True)
class Intensity:
    """CTNormalization: Hounsfield units are clipped, then (HU - mean) / deviation.

    Parameters
    ----------
    clip_hu
        Lower and upper Hounsfield units.
    mean_hu, deviation_hu
        Of the foreground the network was planned on.
    """

    clip_hu: tuple[float, float]
    mean_hu: float
    deviation_hu: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in (*self.clip_hu, self.mean_hu, self.deviation_hu)):
            raise ValueError("an intensity holds finite numbers")
        if self.clip_hu[0] >= self.clip_hu[1] or self.deviation_hu <= 0:
            raise ValueError("bounds must be ordered, lower first, and the deviation over 0")


@dataclass(frozen=True)
class NnunetRecipe:
    """In which of nnU-Net's ways a network was taught; done by `models.nnunet`.

    What is not here is the same for all of them: the crop to what is not 0, zeros round a small volume,
    Gaussian weights, logits summed as float16, and labels decided from logits brought to the CT's grid.

    Parameters
    ----------
    axes
        Where each axis of the network's arrays leads, three letters of RLAPIS: ``SAR`` runs to the head, to
        the front and to the patient's right. No file of nnU-Net says it.
    intensity
        None: Hounsfield units go in as they are (NoNormalization).
    classes
        Of each channel: the key of its organ, or None for background and what the release does not show.
    rule
        How labels follow from logits.
    step
        Share of a window from one to the next, over 0, at most 1.
    mirrored
        Axes along which windows are mirrored too, and the logits averaged; empty: none are.
    wrapping
        What is done round nnU-Net.
    imported
        SHA-256 of each organ's head as it was imported: such a head answers with the network's own logit.
    conflicts
        What becomes of a voxel that a tuned organ claims, and another had at import. Two tuned organs may
        share what neither had. Recipes that do not say it are those of ``overlap``.
    """

    axes: str
    intensity: Intensity | None
    classes: tuple[str | None, ...]
    rule: Rule = "softmax"
    step: float = 0.5
    mirrored: tuple[int, ...] = ()
    wrapping: Wrapping = "none"
    imported: Mapping[str, str] = field(default_factory=dict)
    conflicts: Conflicts = "overlap"

    def __post_init__(self) -> None:
        known = [DIRECTIONS[letter][0] for letter in self.axes if letter in DIRECTIONS]
        if len(self.axes) != 3 or sorted(known) != [0, 1, 2]:
            raise ValueError(
                f"axes must be three letters such as SAR, one of each direction, not {self.axes!r}"
            )
        named = [organ for organ in self.classes if organ is not None]
        if len(set(named)) != len(named) or not named:
            raise ValueError("classes must name at least one organ, and none twice")
        if not set(self.imported) <= set(named):
            raise ValueError("imported heads must be of organs among the classes")
        if not 0 < self.step <= 1:
            raise ValueError("the step must be over 0 and at most 1")
        if len(set(self.mirrored)) != len(self.mirrored) or not set(self.mirrored) <= {0, 1, 2}:
            raise ValueError("mirrored axes are 0, 1 or 2, none twice")
        if self.rule not in get_args(Rule) or self.wrapping not in get_args(Wrapping):
            raise ValueError(f"no such rule or wrapping: {self.rule}, {self.wrapping}")
        if self.wrapping == "totalsegmentator" and (self.rule != "softmax" or self.mirrored):
            raise ValueError("TotalSegmentator's networks have a softmax and are not mirrored")
        if self.conflicts not in get_args(Conflicts):
            raise ValueError(f"no such rule of conflicts: {self.conflicts}")
        if self.conflicts == "yield" and self.rule != "softmax":
            raise ValueError("regions lie in each other from the first: only organs of a softmax yield")

    @property
    def organs(self) -> dict[int, str]:
        """The organs by their class, ascending."""
        return {n: organ for n, organ in enumerate(self.classes) if organ is not None}

    def yields_to(self, number: int) -> tuple[int, ...]:
        """Return the classes whose voxels, as the network was imported, a tuned head of a class leaves."""
        return () if self.conflicts == "overlap" else tuple(n for n in self.organs if n != number)

    def along(self, spacing_mm: tuple[float, float, float]) -> tuple[float, float, float]:
        """Return millimetres along (head, posterior, left) as they are along the network's axes."""
        k, j, i = (spacing_mm[2 - DIRECTIONS[letter][0]] for letter in self.axes)
        return (k, j, i)

    def scaled(self, hu: NDArray[np.int16] | NDArray[np.float32]) -> NDArray[np.float32]:
        """Return Hounsfield units, any shape, as the network wants them; float32, a copy."""
        values = np.array(hu, dtype=np.float32, order="C")
        if self.intensity is not None:
            low, high = (np.float32(bound) for bound in self.intensity.clip_hu)
            np.clip(values, low, high, out=values)
            values -= np.float32(self.intensity.mean_hu)
            values /= np.float32(self.intensity.deviation_hu)
        return values

    def to_json(self) -> dict[str, object]:
        """Return plain JSON values, with the recipe's name; what older recipes do not say is left out."""
        values = {"kind": NNUNET} | asdict(self)
        if self.conflicts == "overlap":
            del values["conflicts"]
        return values

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> NnunetRecipe:
        """Rebuild from `to_json`.

        Raises
        ------
        TypeError
            If a field is unknown or missing.
        ValueError
            If it is another recipe, or one that no network means.
        """
        values = dict(data)
        if values.pop("kind", None) != NNUNET:
            raise ValueError(f"no recipe is called {data.get('kind')!r}")
        said = values["intensity"]
        if said is not None:
            values["intensity"] = Intensity(**said | {"clip_hu": tuple(said["clip_hu"])})
        return cls(**values | {name: tuple(values[name]) for name in ("classes", "mirrored")})
