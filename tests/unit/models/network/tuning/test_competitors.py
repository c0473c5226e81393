"""A head of a network with a softmax is measured against what every other class had when it was imported."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.contract import ModelContract
from models.errors import InvalidRelease
from models.network.planned_trunk import PlannedTrunk
from models.network.training.sampling import draw_tiles
from models.network.trunk_kinds import build_trunk
from models.network.tuning.competitors import Competitors, competitors
from models.network.tuning.samples import TuningStudy
from models.network.tuning.seen_windows import window_at, window_origins
from models.recipe import NnunetRecipe

ORGANS = ("liver", "spleen")
CLASSES, CHANNELS, WINDOW = 4, 3, (6, 7, 5)


def contract(rule: str = "softmax", **changes: object) -> ModelContract:
    classes = (None, "liver", None, "spleen") if rule == "softmax" else ORGANS
    said = {
        "organs": ORGANS, "spacing_mm": (3.0, 3.0, 3.0), "hu_window": (-100.0, 100.0), "window_shape": WINDOW,
        "overlap": 0.5, "thresholds": dict.fromkeys(ORGANS, 0.5), "feature_channels": CHANNELS,
        "coarse_channels": (), "global_channels": 5, "recipe": NnunetRecipe("SAR", None, classes, rule),
    }  # fmt: skip
    return ModelContract(**said | changes)


@pytest.fixture(scope="module")
def trunk() -> PlannedTrunk:
    torch.manual_seed(0)
    made = PlannedTrunk(
        CLASSES, "plain_conv_unet", (CHANNELS, 4), [(3, 3, 3)] * 2, [(1, 1, 1), (2, 2, 2)], (1, 1), (1,),
        True, 1e-5, 0.01,
    )  # fmt: skip
    return made.requires_grad_(False).eval()


def test_odds_are_those_of_the_softmax_and_the_margin_is_over_0_where_the_class_is_the_largest(
    trunk: PlannedTrunk,
) -> None:
    found = competitors(trunk, contract())
    assert isinstance(found, Competitors)
    features = torch.randn(500, CHANNELS) * 4
    logits = torch.nn.functional.linear(features, trunk.head.weight.flatten(1), trunk.head.bias)
    for organ, number in (("liver", 1), ("spleen", 3)):
        rivals = found.at(organ, features)
        probability = torch.sigmoid(logits[:, number] - rivals.together)
        assert torch.allclose(probability, logits.softmax(1)[:, number], atol=1e-6)
        assert torch.equal(logits[:, number] > rivals.largest, logits.argmax(1) == number)


def test_where_another_organ_was_at_import_an_organ_that_yields_claims_nothing(trunk: PlannedTrunk) -> None:
    recipe = replace(contract().recipe, conflicts="yield")
    found = competitors(trunk, contract(recipe=recipe))
    plain = competitors(trunk, contract())
    assert found is not None
    assert plain is not None
    features = torch.randn(1, CHANNELS, *WINDOW) * 4
    rows = features[0].flatten(1).T
    logits = torch.nn.functional.linear(rows, trunk.head.weight.flatten(1), trunk.head.bias)
    frozen = logits.T.reshape(1, CLASSES, *WINDOW)
    for organ, other in (("liver", 3), ("spleen", 1)):
        left = logits.argmax(1) == other
        assert 0 < left.sum() < len(left)
        rivals, as_ever = found.at(organ, rows), plain.at(organ, rows)
        assert torch.equal(rivals.largest == torch.inf, left)
        assert torch.equal(rivals.largest[~left], as_ever.largest[~left])
        assert torch.equal(rivals.together, as_ever.together), "what it learns by is the same"
        high = np.full(WINDOW, 99, dtype=np.float32)
        assert np.array_equal(found.margin(organ, high, frozen).ravel() > 0, ~left.numpy())


def test_the_margin_of_a_window_is_that_of_its_voxels(trunk: PlannedTrunk) -> None:
    found = competitors(trunk, contract())
    assert found is not None
    features = torch.randn(1, CHANNELS, *WINDOW)
    frozen, own = trunk.head(features), np.random.default_rng(0).normal(size=WINDOW).astype(np.float32)
    margin = found.margin("spleen", own, frozen)
    rows = found.at("spleen", features[0].permute(1, 2, 3, 0).flatten(0, 2))
    assert np.allclose(margin.ravel(), own.ravel() - rows.largest.numpy(), atol=1e-5)
    with pytest.raises(InvalidRelease, match="no logits of its own"):
        found.margin("spleen", own, None)


def test_regions_and_our_own_networks_have_no_rivals_and_a_softmax_must_have(trunk: PlannedTrunk) -> None:
    own = build_trunk({"kind": "unet", "widths": [4, 6, 8, 10], "features": 5})
    assert competitors(trunk, contract("regions")) is None
    assert competitors(own, contract(recipe=None, window_shape=(8, 8, 8))) is None
    with pytest.raises(InvalidRelease, match="last layer"):
        competitors(own, contract())


@pytest.mark.parametrize("shape", [(6, 7, 5), (4, 9, 5), (13, 3, 8)])
def test_windows_cover_what_is_seen_and_hold_zeros_beyond(shape: tuple[int, int, int]) -> None:
    seen = np.random.default_rng(1).normal(size=shape).astype(np.float32) + 10
    covered = np.zeros(shape, dtype=bool)
    for origin in window_origins(seen, contract()):
        window = window_at(seen, origin, contract())
        places = np.stack(np.indices(WINDOW)) + np.array(origin)[:, None, None, None]
        inside = np.logical_and.reduce([(p >= 0) & (p < n) for p, n in zip(places, shape, strict=True)])
        k, j, i = places[:, inside]
        assert np.array_equal(window[inside], seen[k, j, i])
        assert not window[~inside].any()
        covered[k, j, i] = True
    assert covered.all()


def test_tiles_of_a_window_that_is_no_multiple_of_them_lie_in_it() -> None:
    label = np.zeros((20, 12, 28), dtype=bool)
    label[5:15, 3:9, 8:20] = True
    sample = draw_tiles(label, label, 10**6, np.random.default_rng(0))
    k, j, i = np.unravel_index(sample.index, label.shape)
    assert (k.max(), j.max(), i.max()) == (15, 7, 23)
    assert len(np.unique(sample.index)) == len(sample.index) == 16 * 8 * 24
    assert (sample.weight == 1).all()


def test_what_was_normalised_is_no_hounsfield_units() -> None:
    with pytest.raises(ValueError, match="it was normalised"):
        _ = TuningStudy(np.zeros((4, 4, 4), dtype=np.float32), {}).hu
    with pytest.raises(ValueError, match="it was normalised"):
        window_origins(np.zeros((8, 8, 8), dtype=np.float32), contract(recipe=None, window_shape=(8, 8, 8)))
