"""What a reader changed in one study, organ by organ, and the labels that follow from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray

from models.corrections.scopes import Scope, truth_region
from models.geometry import Geometry
from models.masks import BoxedMask
from models.surfaces import nearest_mm, surface_voxels

INDEPENDENT = "independent"
"""Origin of a truth that was drawn without our result."""


class OrganState(StrEnum):
    """What the reader did to one organ."""

    EDITED = "edited"
    ACCEPTED = "accepted"
    ACCEPTED_FROM_PICTURES = "accepted-from-pictures"
    """On the pages, which show single slices: it may teach, and proves nothing."""
    NOT_REVIEWED = "not-reviewed"


class Provenance(IntEnum):
    """Whose word a voxel's label is.

    `MODEL` is the served result and no truth. `READER` and `ACCEPTED` are truth. `OVERPAINT` was
    lost to a neighbour's brush: probably meant, never looked at. `PICTURES` was accepted by who saw single
    slices.
    """

    MODEL = 0
    READER = 1
    OVERPAINT = 2
    ACCEPTED = 3
    PICTURES = 4


LABEL_WEIGHT: Mapping[Provenance, float] = {
    Provenance.MODEL: 0.0,
    Provenance.READER: 1.0,
    Provenance.OVERPAINT: 0.25,
    Provenance.ACCEPTED: 1.0,
    Provenance.PICTURES: 0.5,
}
"""Weight of a voxel in tuning, 0..1. Our own result weighs nothing: it never becomes truth by itself."""


@dataclass(frozen=True)
class OrganLedger:
    """What became of one organ between the SEG that was sent and the one that came back.

    Parameters
    ----------
    organ
        Key in the catalogue.
    state
        `edited` if any voxel changed; else `accepted` if a reader said so; else `accepted-from-pictures` if
        one did who saw no more; else `not-reviewed`.
    added_voxels, removed_voxels
        Voxels on the CT grid that came into the organ, and that left it.
    by_overpaint_voxels
        Those of `removed_voxels` that another organ gained: the brush took them.
    added_ml, removed_ml
        The same in millilitres.
    surface_mm
        Mean distance between the two surfaces in millimetres, 0 when nothing changed; None when
        one of them is empty and no distance exists.
    """

    organ: str
    state: OrganState
    added_voxels: int
    removed_voxels: int
    by_overpaint_voxels: int
    added_ml: float
    removed_ml: float
    surface_mm: float | None

    @property
    def only_overpainted(self) -> bool:
        """Whether a neighbour's brush explains every change, so that nobody meant this organ."""
        return self.added_voxels == 0 and 0 < self.removed_voxels == self.by_overpaint_voxels


@dataclass(frozen=True, eq=False)
class HybridLabel:
    """One organ's label for tuning: our result with the reader's word over it.

    Parameters
    ----------
    inside
        Which voxels belong to the organ.
    ground
        Whose word a voxel is that `others` do not name.
    others
        Voxels of another's word than `ground`, by whose; no voxel is of two.
    """

    inside: BoxedMask
    ground: Provenance
    others: Mapping[Provenance, BoxedMask] = field(default_factory=dict)

    @classmethod
    def of(cls, inside: NDArray[np.bool_], provenance: NDArray[np.uint8]) -> HybridLabel:
        """Return the label that arrays are: inside, and the `Provenance` of each voxel, axes (k, j, i).

        Raises
        ------
        ValueError
            If a voxel is nobody's word.
        """
        voxels = {kind: int(np.count_nonzero(provenance == kind)) for kind in Provenance}
        if sum(voxels.values()) != provenance.size:
            raise ValueError("a voxel of a label is nobody's word")
        ground = max(voxels, key=voxels.__getitem__)
        others = {
            kind: BoxedMask.of(provenance == kind) for kind in Provenance if voxels[kind] and kind != ground
        }
        return cls(BoxedMask.of(inside), ground, others)

    @property
    def provenance(self) -> NDArray[np.uint8]:
        """`Provenance` of each voxel, axes (k, j, i), uint8."""
        whose = np.full(self.inside.shape, self.ground, dtype=np.uint8)
        for kind, mask in self.others.items():
            whose[mask.box][mask.inside] = kind
        return whose

    @property
    def weight(self) -> NDArray[np.float32]:
        """Weight of each voxel in tuning, axes (k, j, i), float32 in 0..1."""
        table = np.array([LABEL_WEIGHT[kind] for kind in Provenance], dtype=np.float32)
        return table[self.provenance]


def ledger(
    sent: Mapping[str, BoxedMask],
    returned: Mapping[str, BoxedMask],
    geometry: Geometry,
    accepted: AbstractSet[str] = frozenset(),
    from_pictures: AbstractSet[str] = frozenset(),
) -> tuple[OrganLedger, ...]:
    """Compare what was sent with what came back.

    Parameters
    ----------
    sent
        Mask of every organ that was sent, by key; empty for an absent one.
    returned
        Mask of every organ that came back and whose identity is beyond doubt. An organ that did not
        come back has not been reviewed; one that was not sent counts as sent empty.
    geometry
        The CT grid.
    accepted
        Organs that a reader accepted by an act; it counts where no voxel changed.
    from_pictures
        Organs that a reader accepted from pictures; it counts where nothing else does.

    Returns
    -------
    ledger
        One entry per organ, in the order sent, organs that are new after them.

    Raises
    ------
    ValueError
        If a mask is not on the CT grid.
    """
    _require_grid(sent, geometry)
    _require_grid(returned, geometry)
    nothing = BoxedMask.empty(geometry.shape)
    gained = _gained(sent, returned)
    organs = [*sent, *(organ for organ in returned if organ not in sent)]
    entries = []
    for organ in organs:
        before = sent.get(organ, nothing)
        after = returned.get(organ, before)
        removed = before - after
        added_voxels, removed_voxels = (after - before).voxels, removed.voxels
        edited = added_voxels + removed_voxels > 0
        seen = OrganState.ACCEPTED_FROM_PICTURES if organ in from_pictures else OrganState.NOT_REVIEWED
        unchanged = OrganState.ACCEPTED if organ in accepted else seen
        entries.append(
            OrganLedger(
                organ=organ,
                state=OrganState.EDITED if edited else unchanged,
                added_voxels=added_voxels,
                removed_voxels=removed_voxels,
                by_overpaint_voxels=_in_any(removed, gained).voxels,
                added_ml=added_voxels * geometry.voxel_ml,
                removed_ml=removed_voxels * geometry.voxel_ml,
                surface_mm=mean_surface_mm(before, after, geometry) if edited else 0.0,
            )
        )
    return tuple(entries)


def hybrid_labels(
    sent: Mapping[str, BoxedMask],
    returned: Mapping[str, BoxedMask],
    entries: tuple[OrganLedger, ...],
    scope: Scope = Scope.ORGAN,
    regions: Mapping[str, BoxedMask] | None = None,
) -> dict[str, HybridLabel]:
    """Lay the reader's organs over our result.

    An edited organ is the reader's word in every voxel of the scope, except those lost to a neighbour's
    brush. Outside the scope it is still our result, which is no truth: neither organ nor background. So
    is an organ that only lost voxels to a neighbour's brush. An organ accepted by an act is accepted
    whole.

    Parameters
    ----------
    sent, returned
        As given to `ledger`.
    entries
        What `ledger` answered for them.
    scope
        What the reader vouches for in an edited organ.
    regions
        By organ where the reader was asked to look, for the scope `REGIONS`.

    Returns
    -------
    labels
        One label per entry, by organ key.
    """
    gained = _gained(sent, returned)
    labels = {}
    for entry in entries:
        after = returned[entry.organ] if entry.organ in returned else sent[entry.organ]
        before = sent[entry.organ] if entry.organ in sent else BoxedMask.empty(after.shape)
        whole = {
            OrganState.EDITED: Provenance.READER,
            OrganState.ACCEPTED: Provenance.ACCEPTED,
            OrganState.ACCEPTED_FROM_PICTURES: Provenance.PICTURES,
        }
        ground = Provenance.MODEL if entry.only_overpainted else whole.get(entry.state, Provenance.MODEL)
        overpainted = _in_any(before - after, gained)
        others = {Provenance.OVERPAINT: overpainted}
        if ground is Provenance.READER and scope is not Scope.ORGAN:
            edited = before ^ after
            of_organ = (regions or {}).get(entry.organ)
            ground = Provenance.MODEL
            others[Provenance.READER] = (
                truth_region(scope, edited, edited - overpainted, of_organ) - overpainted
            )
        labels[entry.organ] = HybridLabel(after, ground, others)
    return labels


def origin_of(state: OrganState, release: int) -> str | None:
    """Return the origin of the truth an organ's state gives; None where nobody said anything of it.

    It is ``edited-from-N``, ``accepted-from-N`` or ``accepted-from-pictures-from-N``.

    Parameters
    ----------
    state
        What the reader did.
    release
        Number N of the release whose result was shown.
    """
    return None if state is OrganState.NOT_REVIEWED else f"{state}-from-{release}"


def mean_surface_mm(first: BoxedMask, second: BoxedMask, geometry: Geometry) -> float | None:
    """Return the mean distance between the surfaces of two masks in millimetres.

    A surface is the centres of the voxels with a face neighbour outside the mask or the volume.
    Distances go from each surface voxel of either mask to the nearest of the other, and are averaged
    over all of them.

    Parameters
    ----------
    first, second
        Masks on the grid of `geometry`.
    geometry
        Where the voxels are; a sheared grid is measured truly.

    Returns
    -------
    distance
        Millimetres, 0 or more; None when either mask is empty.

    Notes
    -----
    Source: average symmetric surface distance, Heimann et al., IEEE TMI 28(8), 2009, equation 4.
    """
    if not first.any() or not second.any():
        return None
    one, two = (geometry.to_lps(surface_voxels(mask)) for mask in (first, second))
    return float((nearest_mm(one, two).sum() + nearest_mm(two, one).sum()) / (len(one) + len(two)))


def _gained(sent: Mapping[str, BoxedMask], returned: Mapping[str, BoxedMask]) -> list[BoxedMask]:
    """Return the voxels each organ gained; where one organ lost a voxel, another must have gained it."""
    return [after - sent[organ] if organ in sent else after for organ, after in returned.items()]


def _in_any(mask: BoxedMask, others: Iterable[BoxedMask]) -> BoxedMask:
    """Return the voxels of a mask that any of the others draws too."""
    found = BoxedMask.empty(mask.shape)
    for other in others:
        found |= mask & other
    return found


def _require_grid(masks: Mapping[str, BoxedMask], geometry: Geometry) -> None:
    for organ, mask in masks.items():
        if mask.shape != geometry.shape:
            raise ValueError(f"mask of {organ}: {mask.shape} is not {geometry.shape}")
