"""Pictures of what a reader changed, without the CT: the dashboard they are shown in has no users."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from models.geometry import Geometry
from models.masks import BoxedMask
from services.pictures.slices import colour, png, seen_as_a_reader

Masks = Mapping[str, BoxedMask]
"""By organ, on the CT grid."""

ADDED, REMOVED = (0.45, 0.8, 0.45), (0.9, 0.45, 0.4)


def most_changed_slice(sent: Masks, returned: Masks) -> int | None:
    """Return the k index of the slice in which most voxels changed, None if none did.

    Parameters
    ----------
    sent, returned
        As given to `models.corrections.ledger.ledger`.
    """
    counts = [_before(sent, key, after).changed_by_slice(after) for key, after in returned.items()]
    if not counts:
        return None
    changed = np.sum(counts, axis=0)
    return int(changed.argmax()) if changed.any() else None


def picture_of_changes(geometry: Geometry, k: int, sent: Masks, returned: Masks) -> bytes:
    """Return a PNG of one slice: outlines as they came back, what was added in green, removed in red.

    Drawn as a reader sees it, the patient's right on the left; cut to what was sent or drawn there.
    """
    shape = geometry.shape[1:]
    added, removed, drawn = (np.zeros(shape, np.bool_) for _ in range(3))
    for key, after in returned.items():
        was, now = _before(sent, key, after).plane(k), after.plane(k)
        added |= now & ~was
        removed |= was & ~now
        drawn |= now | was
    ground = np.ones((*shape, 3))
    ground[removed], ground[added] = REMOVED, ADDED
    figure = Figure(figsize=(5, 4.6), dpi=90, layout="tight")
    axes = figure.add_subplot()
    _, step_j, step_i = geometry.spacing_mm
    axes.imshow(ground, aspect=step_j / step_i, interpolation="nearest")
    for key, mask in {**sent, **returned}.items():
        if (plane := mask.plane(k)).any():
            axes.contour(plane, levels=[0.5], colors=[colour(key)], linewidths=1.4)
    rows, columns = np.nonzero(drawn)
    axes.set_xlim(columns.min() - 5, columns.max() + 5)
    axes.set_ylim(rows.max() + 5, rows.min() - 5)
    seen_as_a_reader(axes, geometry)
    return png(figure)


def _before(sent: Masks, key: str, after: BoxedMask) -> BoxedMask:
    return sent[key] if key in sent else BoxedMask.empty(after.shape)
