"""The catalogue speaks the standard's codes, and every organ has all that is said of it."""

from __future__ import annotations

import pytest
from pydicom.sr._concepts_dict import concepts
from pydicom.sr.codedict import codes

from models.network.checkpoints.importing import PUBLISHED_ORGANS
from models.organs import CATALOGUE, KEYS, ORGANS, Organ, organ

EVERY = pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.key)
WITHOUT_TARGET = {
    "portal_and_splenic_vein", "hepatic_vessels", "kidney_tumour", "liver_tumour", "pancreas_tumour",
    "hepatic_vessel_tumour", "lung_tumour", "colon_tumour", "kidney_cyst",
}  # fmt: skip


@EVERY
def test_codes_are_those_of_the_standard_s_context_groups(entry: Organ) -> None:
    bone = entry.key.endswith("_femoral_head")  # CID 7304 (implant targets) has the head, 7151 has not
    altered = entry.category.value == "49755003"
    types = codes.cid7304 if bone else codes.cid7159 if altered else codes.cid7151
    groups = [(entry.category, codes.cid7150), (entry.type, types)]
    if entry.laterality:
        groups.append((entry.laterality, codes.cid244))
    if entry.region:
        groups.append((entry.region, codes.cid7151))
    for code, group in groups:
        known = {(getattr(group, name).value, getattr(group, name).scheme_designator) for name in group.dir()}
        assert (code.value, code.scheme) in known


@EVERY
def test_a_code_has_the_meaning_the_standard_gives_it(entry: Organ) -> None:
    for code in (entry.category, entry.type, entry.laterality, entry.region):
        if code is not None:
            meanings = {term[code.value][0] for term in concepts["SCT"].values() if code.value in term}
            assert code.meaning in meanings


def test_the_nine_organs_of_the_paper_come_first_in_its_order() -> None:
    assert " ".join(ORGANS) == (
        "spleen right_kidney left_kidney pancreas liver stomach aorta postcava gallbladder"
    )
    assert KEYS[:9] == ORGANS


def test_the_catalogue_is_the_classes_of_the_public_checkpoints() -> None:
    assert len(KEYS) == len(set(KEYS)) == 32
    assert set(KEYS) == set(PUBLISHED_ORGANS)
    assert all(organ(entry.key) is entry for entry in CATALOGUE)


def test_every_organ_has_a_code_of_its_own_and_other_structures_their_region_and_label() -> None:
    own = [(entry.type, entry.laterality) for entry in CATALOGUE if entry.region is None]
    assert len(set(own)) == len(own) == 23
    assert {entry.key for entry in CATALOGUE if entry.region} == WITHOUT_TARGET
    assert len({entry.label.casefold() for entry in CATALOGUE}) == 32
    assert len({entry.cielab for entry in CATALOGUE}) == 32


def test_paired_organs_differ_by_their_side_only() -> None:
    paired = {entry.key: entry.laterality.meaning for entry in CATALOGUE if entry.laterality}
    assert {key: side.lower() for key, side in paired.items()} == {
        key: key.partition("_")[0] for key in KEYS if key.startswith(("left_", "right_"))
    }


@EVERY
def test_figures_are_in_their_ranges_and_what_nobody_has_established_is_not_made_up(entry: Organ) -> None:
    if entry.volume_range_ml:
        low, high = entry.volume_range_ml
        assert 0 < low < high
    assert (entry.dsc_target is None) == (entry.key in WITHOUT_TARGET)
    assert entry.dsc_target is None or 0.7 <= entry.dsc_target < 1
    assert entry.agreement == (entry.dsc_target or 1.0)
    assert 0 < entry.gate_margin <= 0.02
    assert entry.nsd_tolerance_mm > 0
    assert 0 <= entry.cielab[0] <= 100
    assert all(-128 <= part <= 127 for part in entry.cielab[1:])


@EVERY
def test_what_may_share_voxels_is_in_the_catalogue(entry: Organ) -> None:
    assert set(entry.within) <= set(KEYS) - {entry.key}
    assert bool(entry.within) == (entry.key in WITHOUT_TARGET)


def test_an_unknown_organ_is_named_with_those_there_are() -> None:
    with pytest.raises(KeyError, match="no organ 'livr' in the catalogue; it has spleen"):
        organ("livr")
