"""What a model expects and returns, as data: the one description that exporter, server and client share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from models.further_organs import FurtherOrgans, entry_of
from models.organs import KEYS, Organ
from models.recipe import NnunetRecipe
from models.weights_source import WeightsSource

LEAST_THRESHOLD = 0.05
"""Nearer to 0 a mask would depend on probabilities that are served, and resampled, as 0."""

LABELLED = 0.5
"""In place of a threshold where labels follow from logits."""

WINDOW_STRIDE = 8
"""A window's sides are multiples of this: our own trunks halve the grid three times."""


@dataclass(frozen=True)
class ModelContract:
    """Shapes, spacing and units of one trunk with its heads.

    The model grid is axis-aligned in LPS: k runs to the head, j to posterior, i to the patient's
    left, so its affine is diagonal and positive. Windows have the network's axes: the same, but for a recipe.

    Parameters
    ----------
    organs
        Keys of the catalogue or of `further`, in channel order.
    spacing_mm
        Voxel size of the model grid along (k, j, i), millimetres.
    hu_window
        Lower and upper Hounsfield units; clipped to it and scaled to 0..1 before the trunk.
    window_shape
        Voxels of one window along the network's (k, j, i).
    overlap
        Fraction of a window shared with its neighbour along each axis, 0 up to but not 1.
    thresholds
        Probability at and above which a voxel belongs to the organ, by organ, `LEAST_THRESHOLD` or more
        away from 0 and 1.
    feature_channels
        Channels of the trunk's last features.
    coarse_channels
        Channels of the coarser decoder maps, finest first (1/2, 1/4, 1/8 of the window).
    global_channels
        Length of the trunk's global feature.
    trunk
        How to build the trunk: ``{"kind": "unet" | "swin_unetr", ...}`` (`models.network.trunk_kinds`).
    antialias
        Whether a CT finer than the model grid is averaged on its way there, or sampled between its voxels,
        as the network was taught.
    recipe
        What lies round the network, where it is not our own.
    imported
        Whether the weights were made elsewhere. Contracts that were imported before there was this field do
        not say it.
    further
        Organs outside the catalogue.
    weights
        Whose weights they were that were imported; kept where heads are tuned. Contracts that were imported
        before there was this field do not say it.
    """

    organs: tuple[str, ...]
    spacing_mm: tuple[float, float, float]
    hu_window: tuple[float, float]
    window_shape: tuple[int, int, int]
    overlap: float
    thresholds: Mapping[str, float]
    feature_channels: int
    coarse_channels: tuple[int, ...]
    global_channels: int
    trunk: Mapping[str, Any] = field(default_factory=dict)
    antialias: bool = True
    recipe: NnunetRecipe | None = None
    imported: bool = False
    further: FurtherOrgans | None = None
    weights: WeightsSource | None = None

    @property
    def known(self) -> tuple[str, ...]:
        """Keys of the catalogue, and of the further organs behind them."""
        return KEYS if self.further is None else (*KEYS, *(entry.key for entry in self.further.organs))

    def entry(self, organ: str) -> Organ:
        """Return what is known of an organ: the catalogue's entry, or the row that the release carries.

        Raises
        ------
        KeyError
            If it is neither in the catalogue nor carried.
        """
        return entry_of(organ, () if self.further is None else self.further.organs)

    @property
    def is_foreign(self) -> bool:
        """Whether the network was made elsewhere: what the catalogue asks of organs is not shown of it."""
        return self.imported or self.recipe is not None

    def __post_init__(self) -> None:
        if set(self.thresholds) != set(self.organs):
            raise ValueError("thresholds must name exactly the contract's organs")
        if not all(LEAST_THRESHOLD <= value <= 1 - LEAST_THRESHOLD for value in self.thresholds.values()):
            raise ValueError(f"thresholds must be in {LEAST_THRESHOLD}..{1 - LEAST_THRESHOLD}")
        if self.recipe is not None:
            self._fit(self.recipe)
        elif any(side % WINDOW_STRIDE for side in self.window_shape):
            raise ValueError(f"window sides must be multiples of {WINDOW_STRIDE}")
        if not 0 <= self.overlap < 1:
            raise ValueError("overlap must be in [0, 1)")
        if self.further is not None and not {one.key for one in self.further.organs} <= set(self.organs):
            raise ValueError("a release carries the further organs that it has, and no others")
        if self.hu_window[0] >= self.hu_window[1]:
            raise ValueError("the HU window must be ordered, lower first")

    def _fit(self, recipe: NnunetRecipe) -> None:
        if self.organs != tuple(organ for organ in recipe.classes if organ is not None):
            raise ValueError("organs must be the recipe's classes, in its order")
        if any(value != LABELLED for value in self.thresholds.values()):
            raise ValueError(f"labels follow from logits: each threshold must be {LABELLED}")

    def to_json(self) -> dict[str, object]:
        """Return plain JSON values; what is as it always was is not said, so that old digests hold."""
        values = asdict(self)
        if self.antialias:
            del values["antialias"]
        if not self.imported:
            del values["imported"]
        if self.further is None:
            del values["further"]
        else:
            values["further"] = self.further.to_json()
        if self.weights is None:
            del values["weights"]
        if self.recipe is None:
            del values["recipe"]
        else:
            values["recipe"] = self.recipe.to_json()
        return values

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelContract:
        """Rebuild from `to_json`; an unknown field, or one that must be said, raises TypeError."""
        tuples = ("organs", "spacing_mm", "hu_window", "window_shape", "coarse_channels")
        values: dict = {name: tuple(value) if name in tuples else value for name, value in data.items()}
        if "recipe" in values:
            values["recipe"] = NnunetRecipe.from_json(values["recipe"])
        if "further" in values:
            values["further"] = FurtherOrgans.from_json(values["further"])
        if "weights" in values:
            values["weights"] = WeightsSource.from_json(values["weights"])
        return cls(**values)


MESSAGE_BYTES = 2**31 - 1
"""The largest message Triton's gRPC takes; a thorax and abdomen at 1.5 mm is a fortieth of it."""

# Names and types of the served tensors (model `organ_segmenter`), shared by exporter, server, client.
SEGMENTER = "organ_segmenter"
VOLUME_INPUT = "volume"  # INT16 (k, j, i): HU on the model grid; or of a CT, with its affine
FRACTIONS_INPUT = "volume_fp32"  # FP32 (k, j, i), in its place: of a CT whose rescale makes fractions
AFFINE_INPUT = "affine"  # FP64 (4, 4): the CT's, to LPS millimetres; only to a release with a recipe
# Fields travel packed (`models.inference.compact`): box INT32 (n, 6), code UINT8 (-1), exact FP16 (-1).
PROBABILITY_OUTPUT = "probability_{}"  # of every organ
DISAGREEMENT_OUTPUT = "disagreement_{}"  # of every organ
MEMBER_DISAGREEMENT_OUTPUT = "member_disagreement_{}"  # of n organs; absent where no head has members
MEMBER_ORGAN_OUTPUT = "member_organ"  # INT32 (n): channels whose heads have members; absent where none has
GLOBAL_FEATURE_OUTPUT = "global_feature"  # FP32 (window, feature)
WINDOW_ORIGIN_OUTPUT = "window_origin"  # INT32 (window, 3)
RELEASE_DIGEST_OUTPUT = "release_digest"  # UINT8 (32): SHA-256 of the release.json that was loaded
# Masks of a release with a recipe (`models.inference.drawn_masks`), on the CT and on the probabilities' grid.
GRID_OUTPUT = "grid"  # FP64 (5, 4): the grid's affine, then its shape and 0
MASK_OUTPUTS = ("mask_box", "mask_bits", "grid_mask_box", "grid_mask_bits")  # INT32 (n, 6), UINT8 (-1), twice
# Features for tuning (`models.inference.sampled_features`); only for who asks for these outputs by name.
SAMPLE_OUTPUTS = ("sample_window", "sample_index", "sample_weight", "sample_taps")  # INT32 x2, FP32, FP16

# Names of the tensors of the exported ONNX graphs, both for one window (batch, channel, k, j, i).
TRUNK_INPUT = "window"  # FP32, scaled to 0..1
TRUNK_FEATURES = "features"  # FP32, the last features
TRUNK_COARSE = "coarse_{}"  # FP32, 1 = half resolution, 2 = a quarter, ...
TRUNK_GLOBAL = "global"  # FP32 (batch, feature)
TRUNK_FROZEN = "frozen"  # FP32 (batch, class, k, j, i): the network's own logits, only of one with a recipe
HEAD_LOGIT = "logit"  # FP32 (batch, 1, k, j, i); a head takes the trunk outputs it uses, by name
HEAD_SPREAD = "member_spread"  # FP32, same shape, only of a head with members: their probability's deviation
