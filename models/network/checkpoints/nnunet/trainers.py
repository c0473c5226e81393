"""Trainers that are known to build the network that their plans say.

Weights do not tell: a trainer may change how the network is put together, and keep names and shapes. Those of
nnunetv2 2.8.1 that build another one (`nnUNetTrainerBN`, the transformers) are not here. Those of
TotalSegmentator 2.18 are: they change the loss, the learning rate or how long is trained.
"""

from __future__ import annotations

_EPOCHS = (
    "1epoch", "5epochs", "10epochs", "20epochs", "50epochs", "100epochs", "250epochs", "500epochs",
    "750epochs", "2000epochs", "4000epochs", "8000epochs", "250epochs_NoMirroring",
    "2000epochs_NoMirroring", "4000epochs_NoMirroring", "8000epochs_NoMirroring",
)  # fmt: skip
_OTHERS = (
    "Adam", "Adam1en3", "Adam3en4", "Adan", "Adan1en1", "Adan1en3", "Adan3en4", "AdanCosAnneal", "CELoss",
    "CELoss_5epochs", "CosAnneal", "DA5", "DA5Segord0", "DA5_10epochs", "DA5ord0", "DiceCELoss_noSmooth",
    "DiceLoss", "DiceTopK10Loss", "NoDA", "NoDeepSupervision", "NoMirroring", "Topk10Loss",
    "Topk10LossLS01", "VanillaAdam", "VanillaAdam1en3", "VanillaAdam3en4", "_DASegOrd0",
    "_DASegOrd0_NoMirroring", "_noDummy2DDA", "_onlyMirror01", "_onlyMirror01_1500ep", "_onlyMirror01_DA5",
    "_onlyMirror01_DASegOrd0", "_probabilisticOversampling", "_probabilisticOversampling_010",
    "_probabilisticOversampling_033", "_warmup",
)  # fmt: skip
TOTALSEGMENTATOR = frozenset(
    f"nnUNetTrainer{variant}"
    for variant in ("DiceTopK10Loss_2000epochs", "SkeletonRecall", "_MOSAIC_1k_QuarterLR_NoMirroring")
)
"""Those that TotalSegmentator adds."""

KNOWN = TOTALSEGMENTATOR | {
    f"nnUNetTrainer{variant}" for variant in ("", *(f"_{length}" for length in _EPOCHS), *_OTHERS)
}
"""All that build the network of their plans."""
