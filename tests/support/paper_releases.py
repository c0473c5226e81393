"""A contract and a release on paper: for rules that look at what is written, never at weights."""

from __future__ import annotations

from collections.abc import Collection

from models.contract import ModelContract
from models.release import Release, sha256_hex


def paper_contract(organs: Collection[str], spacing_mm: float = 3.0) -> ModelContract:
    """Return a contract over cubes of voxels and windows of 64, thresholds of one half."""
    return ModelContract(
        organs=tuple(organs),
        spacing_mm=(spacing_mm, spacing_mm, spacing_mm),
        hu_window=(-175, 250),
        window_shape=(64, 64, 64),
        overlap=0.25,
        thresholds=dict.fromkeys(organs, 0.5),
        feature_channels=32,
        coarse_channels=(32,),
        global_channels=16,
    )


def paper_release(contract: ModelContract) -> Release:
    """Return a first release; its heads are named by their organs."""
    heads = {organ: sha256_hex(organ.encode()) for organ in contract.organs}
    return Release(1, None, "0" * 64, heads, contract)
