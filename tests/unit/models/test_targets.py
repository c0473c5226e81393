"""What is established of an organ: by whom, of which network, and what no file may say."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from models.organs import CATALOGUE, ORGANS, organ
from models.recipe import NnunetRecipe
from models.targets import FROM_THE_CATALOGUE, Required, Targets
from services.settings import Settings
from services.wiring import targets_of
from tests.conftest import ROOT
from tests.support.paper_releases import paper_contract

SAMPLE = ROOT / "deploy" / "site" / "targets.toml"
OWN = paper_contract(("liver", "stomach", "liver_tumour"))
IMPORTED = replace(OWN, imported=True)
NNUNET = replace(
    OWN,
    thresholds=dict.fromkeys(OWN.organs, 0.5),
    recipe=NnunetRecipe("SAR", None, (None, *OWN.organs)),
)

LIVER = """\
[organs.liver]
dsc_target = 0.9
gate_margin = 0.015
by = "Dr Example"
on = 2026-11-30
from = "calibration set"
cases = 40
interval = [0.89, 0.93]
"""


@pytest.fixture
def read(tmp_path):
    def read(text: str) -> Targets:
        path = tmp_path / "targets.toml"
        path.write_text(text)
        return Targets.read(path)

    return read


def test_without_a_file_an_own_network_has_what_the_catalogue_says():
    for entry in CATALOGUE:
        found = FROM_THE_CATALOGUE.required(entry.key, OWN)
        assert found == Required(entry.dsc_target, entry.gate_margin)
    assert FROM_THE_CATALOGUE.digest_for(OWN) is None


@pytest.mark.parametrize("contract", [IMPORTED, NNUNET], ids=["checkpoint", "nnunet"])
def test_of_a_network_made_elsewhere_nothing_is_established_without_a_file(contract):
    for key in ORGANS:
        assert FROM_THE_CATALOGUE.required(key, contract) == Required(None, None)
    assert FROM_THE_CATALOGUE.dsc_targets(contract) == dict.fromkeys(contract.organs)
    assert FROM_THE_CATALOGUE.digest_for(contract) == FROM_THE_CATALOGUE.digest


@pytest.mark.parametrize("contract", [OWN, IMPORTED, NNUNET], ids=["own", "checkpoint", "nnunet"])
def test_what_a_site_has_established_counts_for_any_network(read, contract):
    targets = read(LIVER)
    assert targets.required("liver", contract) == Required(0.9, 0.015)
    other = organ("stomach")
    kept = Required(other.dsc_target, other.gate_margin) if contract is OWN else Required(None, None)
    assert targets.required("stomach", contract) == kept
    assert targets.digest_for(contract) == targets.digest


def test_a_margin_alone_leaves_the_target_as_it_is(read):
    targets = read(LIVER.replace("dsc_target = 0.9\n", ""))
    assert targets.required("liver", OWN) == Required(organ("liver").dsc_target, 0.015)
    assert targets.required("liver", NNUNET) == Required(None, 0.015)


def test_the_digest_is_of_what_is_said(read):
    said = read(LIVER)
    assert read("# a comment\n" + LIVER).digest == said.digest
    assert read(LIVER.replace("0.015", "0.016")).digest != said.digest
    assert read(LIVER.replace("Dr Example", "Dr Other")).digest != said.digest
    assert read("").digest == FROM_THE_CATALOGUE.digest != said.digest


def test_an_old_contract_says_nothing_of_where_it_comes_from():
    assert "imported" not in OWN.to_json()
    assert IMPORTED.to_json() == OWN.to_json() | {"imported": True}
    assert type(IMPORTED).from_json(IMPORTED.to_json()) == IMPORTED


WRONG = {
    "[organs.livr]": ("organs.livr: there is no such organ", lambda t: t.replace("liver", "livr")),
    "a syntax error": (r"line 2", lambda t: t.replace("dsc_target = 0.9", "dsc_target 0.9")),
    "an unknown table": ("unknown keys site", lambda t: t + "[site]\nname = 1\n"),
    "an unknown key": ("organs.liver.dsc_targt", lambda t: t.replace("dsc_target", "dsc_targt")),
    "no table": ("organs.liver: it must be a table", lambda _: "[organs]\nliver = 0.9\n"),
    "no tables": ("organs must be tables", lambda _: "organs = 1\n"),
    "a target of one": ("organs.liver.dsc_target: .*not 1.0", lambda t: t.replace("0.9\n", "1.0\n")),
    "a target of zero": ("organs.liver.dsc_target: .*not 0", lambda t: t.replace("0.9\n", "0\n")),
    "no number": ("organs.liver.dsc_target: .*not True", lambda t: t.replace("0.9\n", "true\n")),
    "not finite": ("organs.liver.dsc_target: .*not nan", lambda t: t.replace("0.9\n", "nan\n")),
    "percent": ("organs.liver.dsc_target: .*not 90", lambda t: t.replace("0.9\n", "90\n")),
    "a wide margin": ("organs.liver.gate_margin: .*under 0.1", lambda t: t.replace("0.015", "0.1")),
    "nobody": ("organs.liver.by: it is missing", lambda t: t.replace('by = "Dr Example"\n', "")),
    "an empty name": ("organs.liver.by: it must be words", lambda t: t.replace("Dr Example", " ")),
    "two lines": ("organs.liver.by: it must be words", lambda t: t.replace("Dr Example", r"Dr\nExample")),
    "long words": ("organs.liver.from: .*at most 200", lambda t: t.replace("calibration set", "x" * 201)),
    "no day": ("organs.liver.on: it must be a date", lambda t: t.replace("2026-11-30", '"yesterday"')),
    "a time": ("organs.liver.on: it must be a date", lambda t: t.replace("-30", "-30T10:00:00")),
    "no cases": ("organs.liver.cases: .*not 0", lambda t: t.replace("= 40", "= 0")),
    "half a case": ("organs.liver.cases: .*not 0.5", lambda t: t.replace("= 40", "= 0.5")),
    "one end": ("organs.liver.interval: it must be two", lambda t: t.replace(", 0.93]", "]")),
    "ends turned": ("organs.liver.interval: .*lower end first", lambda t: t.replace("0.89", "0.95")),
    "neither": (
        "organs.liver: it says neither",
        lambda t: t.replace("dsc_target = 0.9\n", "").replace("gate_margin = 0.015\n", ""),
    ),
}


@pytest.mark.parametrize(("said", "change"), WRONG.values(), ids=WRONG)
def test_a_file_that_is_wrong_is_refused_with_the_key(tmp_path, read, said, change):
    text = change(LIVER)
    assert text != LIVER
    with pytest.raises(ValueError, match=said) as error:
        read(text)
    assert str(tmp_path / "targets.toml") in str(error.value)


def test_a_file_in_another_encoding_is_refused_by_name(tmp_path):
    path = tmp_path / "targets.toml"
    path.write_bytes(LIVER.replace("Example", "Müller").encode("latin-1"))
    with pytest.raises(ValueError, match=r"targets\.toml.*utf-8"):
        Targets.read(path)


def test_no_process_starts_with_a_file_that_is_wrong_or_missing(tmp_path):
    path = tmp_path / "targets.toml"
    with pytest.raises(ValidationError, match=r"targets\n.*targets\.toml: the file cannot be read"):
        Settings(targets=path)
    path.write_text(LIVER.replace("liver", "livr"))
    with pytest.raises(ValidationError, match=r"targets\n.*organs\.livr"):
        Settings(targets=path)


def test_the_sample_can_be_read_and_what_it_says_is_in_force():
    targets = targets_of(Settings(targets=SAMPLE))
    assert targets.required("liver", NNUNET) == Required(0.92, 0.01)
    assert targets.required("bladder", NNUNET) == Required(0.85, None)
    assert targets.organs["liver"].cases == 42
    assert targets_of(Settings()) is FROM_THE_CATALOGUE
