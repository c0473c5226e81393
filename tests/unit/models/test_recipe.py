"""A recipe as data: what it holds comes back, and what no network can mean is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from models.contract import ModelContract
from models.recipe import Intensity, NnunetRecipe


def contract() -> ModelContract:
    return ModelContract(
        organs=("liver", "spleen"),
        spacing_mm=(3, 3, 3),
        hu_window=(-900.5, 800.25),
        window_shape=(32, 32, 32),
        overlap=0.5,
        thresholds={"liver": 0.5, "spleen": 0.5},
        feature_channels=8,
        coarse_channels=(),
        global_channels=16,
    )


RECIPE = NnunetRecipe("SAR", Intensity((-900.5, 800.25), 40.3, 150.7), (None, "liver", None, "spleen"))


@pytest.mark.parametrize(
    "recipe",
    [
        RECIPE,
        replace(RECIPE, intensity=None, rule="regions", mirrored=(0, 2), step=0.3),
        replace(RECIPE, axes="LIP", wrapping="totalsegmentator", step=0.8),
        replace(RECIPE, conflicts="yield"),
    ],
)
def test_a_recipe_comes_back_from_its_json(recipe):
    assert NnunetRecipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


@pytest.mark.parametrize(
    "change",
    [
        {"axes": "SAP"},
        {"axes": "SA"},
        {"axes": "SAX"},
        {"axes": "sar"},
        {"classes": (None, None)},
        {"classes": ("liver", "liver")},
        {"step": 0.0},
        {"step": 1.1},
        {"mirrored": (3,)},
        {"mirrored": (1, 1)},
        {"rule": "argmax"},
        {"wrapping": "another"},
        {"wrapping": "totalsegmentator", "mirrored": (0,)},
        {"wrapping": "totalsegmentator", "rule": "regions"},
        {"conflicts": "joint"},
        {"conflicts": "yield", "rule": "regions"},
    ],
)
def test_what_no_network_means_is_refused(change):
    with pytest.raises(ValueError, match=r"must|no such|none twice|softmax"):
        replace(RECIPE, **change)


@pytest.mark.parametrize(
    "values",
    [((800, -900), 0, 1), ((-900, 800), 0, 0), ((-900, 800), float("nan"), 1), ((-900, float("inf")), 0, 1)],
)
def test_an_intensity_that_is_none_is_refused(values):
    with pytest.raises(ValueError, match=r"finite|ordered"):
        Intensity(*values)


def test_a_recipe_whose_organs_overlap_says_no_more_than_it_always_did():
    assert "conflicts" not in RECIPE.to_json(), "digests of older releases hold"
    assert NnunetRecipe.from_json(RECIPE.to_json()).conflicts == "overlap"
    assert RECIPE.yields_to(1) == ()
    assert replace(RECIPE, conflicts="yield").yields_to(1) == (3,), (
        "not to background, nor to what is not shown"
    )


def test_a_field_that_nobody_knows_is_refused():
    with pytest.raises(TypeError):
        NnunetRecipe.from_json(RECIPE.to_json() | {"test_time": "augmented"})
    with pytest.raises(ValueError, match="no recipe is called 'monai'"):
        NnunetRecipe.from_json(RECIPE.to_json() | {"kind": "monai"})


def test_a_contract_with_a_recipe_comes_back_and_one_without_says_none_of_it():
    own = contract()
    assert "recipe" not in own.to_json()
    with_recipe = replace(own, recipe=RECIPE, organs=("liver", "spleen"), window_shape=(28, 20, 36))
    assert ModelContract.from_json(json.loads(json.dumps(with_recipe.to_json()))) == with_recipe
    with pytest.raises(ValueError, match="multiples of 8"):
        replace(with_recipe, recipe=None)


@pytest.mark.parametrize(
    "change", [{"organs": ("spleen", "liver")}, {"thresholds": {"liver": 0.5, "spleen": 0.4}}]
)
def test_a_contract_that_says_something_else_than_its_recipe_is_refused(change):
    good = replace(contract(), recipe=RECIPE)
    with pytest.raises(ValueError, match="must be"):
        replace(good, **change)
