"""A site's file of organs outside the catalogue: what it may say, and what is refused with the row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.contract import ModelContract
from models.errors import Refused
from models.further_organs import FurtherOrgans
from models.organ_rows import COLUMNS, OrganFileCode, known_organs
from models.organs import CATALOGUE, KEYS, LEFT, Code, organ
from models.targets import Required, Targets
from services.dicom.dictionary import NO_FILE, OrganFile, _cielab, read_organ_file
from services.pictures.slices import srgb
from services.settings import Settings
from services.wiring import targets_of
from tests.conftest import ROOT
from tests.support.paper_releases import paper_contract

SAMPLE = ROOT / "deploy" / "site" / "organs.csv"
HEAD = ",".join(COLUMNS)
SACRUM = "sacrum,Sacrum,91723000,54735007,,,,,#d2b48c"
FEMUR = "femur_left,Left femur,91723000,71341001,Femur,Left,,,#8fbc8f"


@pytest.fixture
def read(tmp_path):
    def read(*rows: str, head: str = HEAD) -> OrganFile:
        path = tmp_path / "organs.csv"
        path.write_text("\n".join((head, *rows)) + "\n")
        return read_organ_file(path)

    return read


def test_the_sample_is_read_with_dicoms_meanings_and_unknown_codes_are_marked():
    found = read_organ_file(SAMPLE)
    assert set(found.organs) == {
        "sacrum", "femur_left", "femur_right", "brachiocephalic_trunk", "thyroid_gland", "kidney_cyst_left",
        "rib_left_1",
    }  # fmt: skip
    femur = found.organs["femur_left"]
    assert femur.category == Code("91723000", "SCT", "Anatomical Structure")
    assert (femur.type, femur.laterality) == (Code("71341001", "SCT", "Femur"), LEFT)
    assert (femur.dsc_target, femur.gate_margin, femur.volume_range_ml, femur.components) == (None,) * 4
    cyst = found.organs["kidney_cyst_left"]
    assert cyst.region == Code("64033007", "SCT", "Kidney")
    assert cyst.category == organ("kidney_cyst").category
    assert found.unverified == {"rib_left_1": ("48535007",)}


REFUSED = {
    "tool's category": (
        "organ-category",
        "line 2 .sacrum.: category 123037004 .* 91723000",
        [SACRUM.replace("91723000", "123037004")],
    ),
    "no category": ("organ-category", "not in CID 7150", [SACRUM.replace("91723000", "54735007")]),
    "altered, nowhere": (
        "organ-category",
        "has a region",
        ["cyst,Cyst,49755003,367643001,,,,,#00ced1"],
    ),
    "a right artery on the left": (
        "organ-side",
        "line 2 .subclavian_artery_left.: type 29700009 is 'Right Subclavian Artery'",
        ["subclavian_artery_left,Left subclavian artery,91723000,29700009,,Left,,,#101010"],
    ),
    "a right region on the left": (
        "organ-side",
        "region 29700009",
        ["clot,Clot,91723000,54735007,,Left,29700009,,#101010"],
    ),
    "a key of the other side": ("organ-side", "say Left, codes", [FEMUR.replace(",Left,", ",Right,")]),
    "a key whose side no code says": ("organ-side", "say no side", [FEMUR.replace(",Left,", ",,")]),
    "the same key": ("organ-twice", "same key", [SACRUM, FEMUR.replace("femur_left", "sacrum")]),
    "the same label": (
        "organ-twice",
        "same label",
        [SACRUM, "os_sacrum,SACRUM,91723000,69748006,,,,,#101010"],
    ),
    "the same codes": (
        "organ-twice",
        "line 2 .*; line 3 ",
        [SACRUM, "bone,Bone,91723000,54735007,,,,,#101010"],
    ),
    "the same colour": ("organ-twice", "same colour", [SACRUM, FEMUR.replace("#8fbc8f", "#D2B48C")]),
    "another liver": (
        "organ-in-catalogue",
        "liver of the catalogue, with type 10200004",
        ["liver,Liver,91723000,54735007,,,,,#101010"],
    ),
    "another name of an organ": (
        "organ-in-catalogue",
        "it is left_kidney",
        ["kidney_left,My kidney,91723000,54735007,,,,,#101010"],
    ),
    "codes of an organ": (
        "organ-in-catalogue",
        "would be taken for liver",
        ["hepar,Hepar,91723000,10200004,,,54735007,,#101010"],
    ),
    "a flag in a label": (
        "organ-bad-value",
        "says a flag",
        ["bone,Bone (STOP),91723000,54735007,,,,,#101010"],
    ),
    "label of an organ": (
        "organ-in-catalogue",
        "those of liver",
        ["hepar,liver,91723000,54735007,,,,,#101010"],
    ),
    "all codes of a structure": (
        "organ-in-catalogue",
        "those of liver_tumour",
        ["mass,Mass,49755003,108369006,,,10200004,,#101010"],
    ),
    "a label that is read as an organ's": (
        "organ-in-catalogue",
        "would be taken for pancreas",
        ["head,Pancreas (head),91723000,54735007,,,,,#101010"],
    ),
    "a code of organ and side in one": (
        "organ-in-catalogue",
        "would be taken for left_kidney",
        ["ren,Ren sinister,91723000,18639004,Left kidney,,,,#101010"],
    ),
    "another meaning": (
        "organ-meaning",
        "type 71341001 is 'Femur' in DICOM, not 'Tibia'",
        [FEMUR.replace(",Femur,", ",Tibia,")],
    ),
    "an unknown code that says nothing": (
        "organ-meaning",
        "do not hold type 48535007",
        ["rib,Rib,91723000,48535007,,,,,#101010"],
    ),
    "a long label": ("organ-bad-value", "label must be at most 57", [SACRUM.replace("Sacrum", "S" * 58)]),
    "an umlaut": ("organ-bad-value", "of ASCII", [SACRUM.replace("Sacrum", "Kreuzbein für")]),
    "no label": ("organ-bad-value", "the label is missing", [SACRUM.replace("Sacrum", "")]),
    "a long meaning": (
        "organ-bad-value",
        "type_meaning must be at most 64",
        [FEMUR.replace(",Femur,", f",{'F' * 65},")],
    ),
    "a backslash": ("organ-bad-value", "without backslash", [SACRUM.replace("Sacrum", "Sac\\rum")]),
    "a long code": ("organ-bad-value", "6 to 16 digits", [SACRUM.replace("54735007", "5" * 17)]),
    "no code": ("organ-bad-value", "type must be a SNOMED", [SACRUM.replace("54735007", "T-1234")]),
    "a meaning of no region": (
        "organ-bad-value",
        "of no region",
        ["sacrum,Sacrum,91723000,54735007,,,,Pelvis,#d2b48c"],
    ),
    "a side": ("organ-bad-value", "not 'left'", [FEMUR.replace(",Left,", ",left,")]),
    "a colour": ("organ-bad-value", "as #ff8000", [SACRUM.replace("#d2b48c", "210 180 140")]),
    "a key": ("organ-bad-value", "the key must be", [SACRUM.replace("sacrum", "os sacrum")]),
    "a value too few": (
        "organ-file-unreadable",
        "line 2 .sacrum.: it has 8",
        [SACRUM.replace(",,,,", ",,,")],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("code", "said", "rows"), REFUSED.values(), ids=REFUSED)
def test_a_row_that_is_wrong_is_refused_with_its_line_and_what_to_do(read, code, said, rows):
    with pytest.raises(Refused, match=said) as refused:
        read(*rows)
    assert refused.value.code == code
    assert refused.value.measured["lines"][0] == len(rows) + 1 - (code == "organ-twice")


def test_every_code_of_the_file_is_asked_for():
    assert {code for code, _, _ in REFUSED.values()} == set(OrganFileCode)


def test_all_that_is_wrong_is_told_at_once(read):
    rows = [f"bone_{n},Bone {n},123037004,48535{n:03d},Bone {n},,,,#1010{n:02d}" for n in range(10)]
    with pytest.raises(Refused, match=r"line 9 .*; and 2 more") as refused:
        read(*rows)
    assert refused.value.measured["lines"] == list(range(2, 12))


def test_another_header_or_encoding_is_refused(read, tmp_path):
    with pytest.raises(Refused, match="the first line of") as refused:
        read(SACRUM, head="Structure,Category")
    assert refused.value.code == "organ-file-unreadable"
    path = tmp_path / "latin.csv"
    path.write_bytes(f"{HEAD}\n{SACRUM.replace('Sacrum', 'Kreuzbein für')}\n".encode("latin-1"))
    with pytest.raises(Refused, match="no CSV in UTF-8"):
        read_organ_file(path)


def test_what_the_catalogue_says_too_is_left_to_the_catalogue(read):
    liver = "liver,Liver,91723000,10200004,Liver,,,,#aa0000"
    kidney = "kidney_left,Kidney left,91723000,64033007,,Left,,,#aa1111"
    assert set(read(liver, kidney, SACRUM).organs) == {"sacrum"}


def test_a_release_carries_the_rows_it_has_and_stands_alone(read):
    file = read(SACRUM, FEMUR, "rib_left_1,Left first rib,91723000,48535007,First rib,Left,,,#f5deb3")
    further = file.carried(("liver", "femur_left", "rib_left_1"))
    contract = replace(paper_contract(("liver", "femur_left", "rib_left_1")), further=further)
    back = ModelContract.from_json(contract.to_json())
    assert back == contract
    assert back.entry("femur_left") == file.organs["femur_left"]
    assert back.entry("liver") is organ("liver")
    assert back.known == (*KEYS, "femur_left", "rib_left_1")
    assert (back.further.unverified, back.further.file) == (("48535007",), file.digest)
    with pytest.raises(KeyError, match="no organ 'sacrum'"):
        back.entry("sacrum")


def test_a_contract_of_the_catalogue_s_organs_alone_says_nothing_of_others():
    assert "further" not in paper_contract(("liver",)).to_json()
    assert NO_FILE.carried(("liver",)) is None


def test_a_release_carries_no_organ_that_it_lacks_or_that_the_catalogue_has(read):
    file = read(SACRUM)
    with pytest.raises(ValueError, match="carries the further organs that it has"):
        replace(paper_contract(("liver",)), further=file.carried(("sacrum",)))
    with pytest.raises(ValueError, match="none of the catalogue's"):
        FurtherOrgans((organ("liver"),), (), file.digest)


def test_targets_may_be_of_organs_of_the_file(tmp_path):
    path = tmp_path / "targets.toml"
    path.write_text(
        '[organs.sacrum]\ndsc_target = 0.9\nby = "Dr"\non = 2026-11-30\nfrom = "cases"\ncases = 30\n'
        "interval = [0.9, 0.95]\n"
    )
    with pytest.raises(ValidationError, match="no such organ"):
        Settings(targets=path)
    targets = targets_of(Settings(targets=path, organs=SAMPLE))
    assert targets.required("sacrum", paper_contract(("liver",))) == Required(0.9, None)
    assert Targets().required("sacrum", paper_contract(("liver",))) == Required(None, None)
    assert known_organs(SAMPLE)[len(KEYS)] == "sacrum"


def test_no_process_starts_with_a_file_of_organs_that_is_wrong_or_missing(tmp_path):
    path = tmp_path / "organs.csv"
    with pytest.raises(ValidationError, match=r"organs\n.*the file cannot be read"):
        Settings(organs=path)
    path.write_text(f"{HEAD}\n{SACRUM}\n{SACRUM}\n")
    with pytest.raises(ValidationError, match=r"organs\n.*line 2 .sacrum.: another row has the same key"):
        Settings(organs=path)


@given(rgb=st.tuples(*[st.integers(0, 255)] * 3))
def test_a_colour_is_the_same_one_as_cielab(rgb):
    cielab = _cielab(rgb)
    assert all(-128 <= part <= 127 for part in cielab[1:])
    assert np.abs(np.array(srgb(cielab)) * 255 - rgb).max() < 1


def test_colours_of_the_sample_are_none_of_the_catalogue_s():
    own = {entry.cielab for entry in read_organ_file(SAMPLE).organs.values()}
    assert not own & {entry.cielab for entry in CATALOGUE}
