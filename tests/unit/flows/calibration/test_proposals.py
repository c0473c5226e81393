"""A file of proposals: nothing of it is in force until a person has signed it."""

from __future__ import annotations

import numpy as np
import pytest

from flows.calibration.proposals import proposal_file, proposal_rows, proposed
from models.bounds.fit import OrganCase, StudyCase
from models.bounds.proposals import Proposal, propose
from models.targets import Targets

GOOD = propose(np.linspace(0.8, 0.95, 22))
FOUND = {"liver": GOOD, "aorta": Proposal(3, missing="3 cases"), "stomach": propose([0.9] * 30)}
TEXT = proposal_file(FOUND, 30, 4, "python/cpu")


def test_a_file_that_nobody_signed_is_refused(tmp_path):
    path = tmp_path / "proposal.toml"
    path.write_text(TEXT)
    with pytest.raises(ValueError, match=r"organs\.liver\.by: it is missing"):
        Targets.read(path)


def test_once_signed_it_says_what_the_cases_proposed(tmp_path):
    path = tmp_path / "targets.toml"
    path.write_text(TEXT.replace("from = ", 'by = "Dr Example"\non = 2026-12-01\nfrom = '))
    said = Targets.read(path).organs
    assert set(said) == {"liver", "stomach"}
    assert (said["liver"].dsc_target, said["liver"].gate_margin) == (GOOD.dsc_target, GOOD.gate_margin)
    assert (said["liver"].cases, said["liver"].interval) == (22, GOOD.interval)
    assert "release 4, median DSC 0.875" in said["liver"].source
    assert said["stomach"].gate_margin is None


def test_what_is_missing_stands_in_the_file_and_in_the_table():
    assert "# aorta: 3 cases.\n" in TEXT
    assert "# stomach: the cases hardly differ" in TEXT
    assert "dsc_target = 0.8  # readers among themselves: 0.92" in TEXT
    rows = {row["organ"]: row for row in proposal_rows(FOUND)}
    assert (rows["liver"]["target"], rows["liver"]["missing"]) == (0.8, "")
    assert (rows["aorta"]["target"], rows["aorta"]["missing"]) == (None, "3 cases")


def test_cases_without_the_organ_do_not_count():
    def case(organ: str, dsc: float | None) -> StudyCase:
        return StudyCase({organ: OrganCase(None, dsc, None)}, np.zeros(1))

    measured = [case("liver", 0.9), case("liver", None), case("aorta", 0.8)]
    assert {organ: one.cases for organ, one in proposed(measured, ("liver", "aorta")).items()} == {
        "liver": 1,
        "aorta": 1,
    }
