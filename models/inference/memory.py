"""What a study takes of memory while it is segmented, by the voxels of its CT and of the model grid.

An upper bound: it holds where each of `FILLED` organs fills the whole field, whatever a network answers. It
is computed from the headers, before any pixel is read, and compared with what workers and segmenters are said
to have: so what is fit by its verdict does not run out of memory, whatever else is under way.

The figures are of the largest arrays held at the same time, rounded up from peaks that were measured
(`BENCHMARKS.md`, "Memory of a study").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from models.contract import MESSAGE_BYTES, ModelContract
from models.errors import Refused
from models.geometry import Geometry
from models.inference.sampled_features import BUDGET_BYTES
from models.recipe import DIRECTIONS, NnunetRecipe
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

SERVER_AT_WORK = 64 * MIB
"""Of the segmenter that answers a network with a recipe, beside the arrays that are counted."""

SPLINE_MARGIN = 24
"""Voxels that scipy puts round a volume, on both sides of an axis together, before it fits splines."""

REGIONS = 10
"""The most segments of a review SEG, each of as many frames as there are slices."""

PIXEL_DATA_BYTES = 2**32 - 2
"""The most that pixel data can be: their length is an even number of 32 bits (PS3.5 7.1)."""


@dataclass(frozen=True)
class Need:
    """The most that a study takes, in bytes.

    Parameters
    ----------
    worker
        Of the run that segments it.
    server
        Of the segmenter that answers it, beside the networks.
    question
        Of the message in which it is asked.
    answer
        Of the message in which it does, where few values lie on no step (`models.inference.compact`).
    seg
        Of the organ SEG's pixel data.
    voxels, model_voxels
        Of the CT and of the model grid.
    """

    worker: int
    server: int
    question: int
    answer: int
    seg: int
    voxels: int
    model_voxels: int


def need(
    ct: Geometry, voxel_bytes: int, contract: ModelContract, every_frame: bool = False, tuned: int = 0
) -> Need:
    """Return what a series takes while a release segments it.

    Parameters
    ----------
    ct
        Its grid.
    voxel_bytes
        Of a voxel's Hounsfield units: 2 or 4.
    contract
        Of the release.
    every_frame
        Whether the organ SEG holds the frames in which nothing is, too.
    tuned
        Heads of a network with a recipe that are no longer its own.
    """
    slices, segments = ct.shape[0], len(contract.organs)
    voxels, organs = math.prod(ct.shape), min(segments, FILLED)
    written = segments if every_frame else organs
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
        "write": (3 + 5 * written / 8) * voxels + slices * A_FRAME * max(segments, REGIONS),
    }
    depth = min(contract.window_shape[0] + 2, model[0])
    slab = 12 * organs * depth * model[1] * model[2]
    server = answer + slab + (10 * organs + 24) * cells
    drawn = 0
    if contract.recipe is not None:
        server = _server_with_recipe(ct, voxel_bytes, model, contract, contract.recipe, tuned)
        drawn = organs * (voxels + cells) // 8  # masks are decided there, and sent
    return Need(
        worker=held + math.ceil(max(steps.values())) + drawn,
        server=server,
        question=voxel_bytes * voxels if contract.recipe is not None else 2 * cells,
        answer=3 * organs * cells + BUDGET_BYTES + drawn,
        seg=written * voxels // 8,
        voxels=voxels,
        model_voxels=cells,
    )


def _server_with_recipe(
    ct: Geometry,
    voxel_bytes: int,
    model: Sequence[int],
    contract: ModelContract,
    recipe: NnunetRecipe,
    tuned: int,
) -> int:
    """Return what `models.nnunet` takes of the segmenter's memory: the CT is resampled and labelled there."""
    window, cells, voxels = contract.window_shape, math.prod(model), math.prod(ct.shape)
    along = [model[2 - DIRECTIONS[letter][0]] for letter in recipe.axes]
    padded = math.prod(max(n, side) for n, side in zip(along, window, strict=True))
    windows = math.prod(
        math.ceil(max(n - side, 0) / (side * recipe.step)) + 1 for n, side in zip(along, window, strict=True)
    )
    classes, organs = len(recipe.classes), min(len(recipe.organs), FILLED)
    vote = tuned + (2 if recipe.rule == "softmax" else math.ceil(classes / 8))
    logits = 2 * (classes + tuned + 1) * padded + vote * windows * math.prod(window)
    steps = {
        # The CT as float32, again with a spline's margin, and its coefficients; what becomes of it, twice.
        "resample": 4 * voxels + 12 * math.prod(side + SPLINE_MARGIN for side in ct.shape) + 12 * cells,
        # Of one window all logits: the engine's, and a copy; those of tuned heads. What is predicted there,
        # for the features that are kept.
        "blend": logits + 4 * padded + (8 * classes + 8 * tuned + 32) * math.prod(window),
        # Labels on the CT; winners and their margins, and what is served, on the network's grid.
        "decide": logits + 3 * voxels + (4 * organs + 24) * cells,
    }
    return SERVER_AT_WORK + voxel_bytes * voxels + max(steps.values())


@dataclass(frozen=True)
class StudyMemory:
    """What one study may take, of whoever segments it with a release.

    Parameters
    ----------
    worker, server
        Bytes, as of `Need`.
    contract
        Of the release.
    every_frame, tuned
        As of `need`.
    """

    worker: int
    server: int
    contract: ModelContract
    every_frame: bool = False
    tuned: int = 0

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
        wanted = need(ct, voxel_bytes, self.contract, self.every_frame, self.tuned)
        for what, takes, has, remedy in (
            ("worker", wanted.worker, self.worker, _MORE.format("STUDY")),
            (
                "segmenter",
                wanted.server,
                self.server,
                _MORE.format("SERVING"),
            ),
            ("question", wanted.question, MESSAGE_BYTES, "Send a shorter field."),
            ("answer", wanted.answer, MESSAGE_BYTES, "Send a shorter field."),
            ("organ SEG", wanted.seg, PIXEL_DATA_BYTES, "Send thicker slices."),
        ):
            if takes > has:
                raise Refused(
                    Code.TOO_LARGE,
                    f"The {what} may take {takes / 2**30:.1f} GiB for {wanted.voxels / 1e6:.0f} million "
                    f"voxels, {wanted.model_voxels / 1e6:.0f} million on the grid of the release; "
                    f"{has / 2**30:.1f} GiB is the most. {remedy}",
                    {
                        "voxels": wanted.voxels,
                        "model_voxels": wanted.model_voxels,
                        f"{what.replace(' ', '_').lower()}_bytes": takes,
                        "limit_bytes": has,
                    },
                )


_MORE = "Send thicker slices, or give it more memory and set ORGANLOOP_{}_MEMORY_MIB."
