"""What a study takes of memory while it is segmented, by the voxels of its CT and of the model grid.

An upper bound: it holds where each of `FILLED` organs fills the whole field, whatever a network answers. It
is computed from the headers, before any pixel is read, and compared with what workers and segmenters are said
to have: so what is fit by its verdict does not run out of memory, whatever else is under way.

The figures are of the largest arrays held at the same time, rounded up from peaks that were measured
(`BENCHMARKS.md`, "Memory of a study").
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from models.contract import ModelContract
from models.errors import Refused
from models.geometry import Geometry
from models.resampling import model_grid
from models.series.verdict import Code

MIB = 1024**2

AT_REST = 320 * MIB
"""A run that holds no study: what it imported."""

A_SLICE = 33_000
"""Bytes of a slice's header while it is held."""

A_FRAME = 12_000
"""Bytes of what says of one frame of a SEG where it lies."""

FILLED = 9
"""The boxes round all organs take together no more than so many fields: organs lie beside each other."""

REGIONS = 10
"""The most segments of a review SEG, each of as many frames as there are slices."""


@dataclass(frozen=True)
class Need:
    """The most that a study takes, in bytes.

    Parameters
    ----------
    worker
        Of the run that segments it.
    server
        Of the segmenter that answers it, beside the networks.
    voxels, model_voxels
        Of the CT and of the model grid.
    """

    worker: int
    server: int
    voxels: int
    model_voxels: int


def need(ct: Geometry, voxel_bytes: int, contract: ModelContract) -> Need:
    """Return what a series takes while a release segments it.

    Parameters
    ----------
    ct
        Its grid.
    voxel_bytes
        Of a voxel's Hounsfield units: 2 or 4.
    contract
        Of the release.
    """
    slices = ct.shape[0]
    voxels, organs = math.prod(ct.shape), min(len(contract.organs), FILLED)
    model = model_grid(ct, contract.spacing_mm).shape
    cells = math.prod(model)
    # Probability, disagreement and that of members, float16: held from the answer until it is assessed.
    answer = 6 * organs * cells
    held = AT_REST + slices * A_SLICE + voxel_bytes * voxels
    steps = {
        # The CT as float32, one matrix each of smoothing and interpolating along an axis; the model volume.
        "resample": 4 * voxels + 6 * cells + 24 * max(*ct.shape, *model) ** 2,
        "serve": 2 * answer,
        # One organ at a time on the CT, as float32 and as labels; all that is drawn, a bit a voxel.
        "assess": answer + (2 * organs + 24) * cells + (7.5 + organs / 8) * voxels,
        # The SEG as it is built, packed, written and read back, beside the review SEG's masks.
        "write": (3 + 5 * organs / 8) * voxels + slices * A_FRAME * max(len(contract.organs), REGIONS),
    }
    depth = min(contract.window_shape[0] + 2, model[0])
    slab = 12 * organs * depth * model[1] * model[2]
    server = answer + slab + (10 * organs + 24) * cells
    return Need(held + math.ceil(max(steps.values())), server, voxels, cells)


@dataclass(frozen=True)
class StudyMemory:
    """What one study may take, of whoever segments it with a release.

    Parameters
    ----------
    worker, server
        Bytes, as of `Need`.
    contract
        Of the release.
    """

    worker: int
    server: int
    contract: ModelContract

    def require(self, ct: Geometry, voxel_bytes: int) -> None:
        """Refuse a series that may take more.

        Parameters
        ----------
        ct, voxel_bytes
            As of `need`.

        Raises
        ------
        Refused
            `too-large`, with what it takes and what there is.
        """
        wanted = need(ct, voxel_bytes, self.contract)
        for who, takes, has, setting in (
            ("worker", wanted.worker, self.worker, "ORGANLOOP_STUDY_MEMORY_MIB"),
            ("segmenter", wanted.server, self.server, "ORGANLOOP_SERVING_MEMORY_MIB"),
        ):
            if takes > has:
                raise Refused(
                    Code.TOO_LARGE,
                    f"A {who} may take {takes / 2**30:.1f} GiB to segment {wanted.voxels / 1e6:.0f} million "
                    f"voxels, {wanted.model_voxels / 1e6:.0f} million on the grid of the release; it has "
                    f"{has / 2**30:.1f} GiB for one study. Send thicker slices, or give it more memory and "
                    f"set {setting}.",
                    {
                        "voxels": wanted.voxels,
                        "model_voxels": wanted.model_voxels,
                        f"{who}_bytes": takes,
                        "limit_bytes": has,
                    },
                )
