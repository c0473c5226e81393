"""A small network on a small window, so that every test here takes milliseconds."""

from __future__ import annotations

import pytest
import torch

from models.contract import ModelContract
from models.network.heads import HeadSpec, build_head
from models.network.trunk_kinds import build_trunk

SMALL = {"kind": "unet", "widths": [4, 6, 8, 10], "features": 5}
EVERY_TAP = HeadSpec(5, neighbourhood=True, coarse=((1, 6), (2, 8), (3, 10)), global_channels=14)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    torch.set_num_threads(2)


@pytest.fixture
def contract() -> ModelContract:
    organs = ("liver", "aorta")
    return ModelContract(
        organs=organs,
        spacing_mm=(4.0, 4.0, 4.0),
        hu_window=(-175.0, 250.0),
        window_shape=(16, 24, 24),
        overlap=0.25,
        thresholds=dict.fromkeys(organs, 0.5),
        feature_channels=5,
        coarse_channels=(6, 8, 10),
        global_channels=14,
        trunk=SMALL,
    )


@pytest.fixture
def trunk():
    return build_trunk(SMALL).requires_grad_(False).eval()


@pytest.fixture
def output(trunk, contract):
    return trunk(torch.rand(1, 1, *contract.window_shape))


@pytest.fixture
def full_head():
    return build_head(EVERY_TAP).requires_grad_(False).eval()
