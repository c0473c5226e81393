"""The catalogue speaks the standard's codes, and every organ has all that is said of it."""

from __future__ import annotations

import pytest
from pydicom.sr.codedict import codes

from models.organs import CATALOGUE, FURTHER, ORGANS, Organ, organ

EVERY = pytest.mark.parametrize("entry", [*CATALOGUE, *FURTHER], ids=lambda entry: entry.key)


@EVERY
def test_codes_are_those_of_the_standard_s_context_groups(entry: Organ) -> None:
    bone = entry.key.endswith("_femoral_head")  # CID 7304 (implant targets) has the head, 7151 has not
    groups = [(entry.category, codes.cid7150), (entry.type, codes.cid7304 if bone else codes.cid7151)]
    if entry.laterality:
        groups.append((entry.laterality, codes.cid244))
    for code, group in groups:
        known = {(getattr(group, name).value, getattr(group, name).scheme_designator) for name in group.dir()}
        assert (code.value, code.scheme) in known


def test_organs_are_those_of_the_paper_in_its_order() -> None:
    assert " ".join(ORGANS) == (
        "spleen right_kidney left_kidney pancreas liver stomach aorta postcava gallbladder"
    )


def test_only_the_kidneys_are_paired_and_share_a_type() -> None:
    paired = {entry.key: entry.laterality.meaning for entry in CATALOGUE if entry.laterality}
    assert paired == {"right_kidney": "Right", "left_kidney": "Left"}
    assert len({(entry.type, entry.laterality) for entry in CATALOGUE}) == len(CATALOGUE)


@EVERY
def test_figures_are_in_their_ranges(entry: Organ) -> None:
    low, high = entry.volume_range_ml
    assert 0 < low < high
    assert 0.7 <= entry.dsc_target < 1
    assert 0 < entry.gate_margin <= 0.02
    assert entry.nsd_tolerance_mm > 0
    assert 0 <= entry.cielab[0] <= 100
    assert all(-128 <= part <= 127 for part in entry.cielab[1:])


def test_further_organs_are_classes_of_the_public_checkpoints_told_apart_by_code() -> None:
    both = (*CATALOGUE, *FURTHER)
    assert len({(entry.type, entry.laterality) for entry in both}) == len({e.key for e in both}) == 22
    assert len({entry.cielab for entry in both}) == 22
    assert all(organ(entry.key) is entry for entry in both)


def test_an_unknown_organ_is_named_with_those_there_are() -> None:
    with pytest.raises(KeyError, match="no organ 'livr' in the catalogue; it has spleen"):
        organ("livr")
