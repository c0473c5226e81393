"""Two hundred random corruptions of corrected SEGs: no crash, no wrong ledger. `make bench` tries more."""

from __future__ import annotations

from collections import Counter

import pytest

from services.dicom.ct.loaded import load
from services.dicom.ct.series import read_series
from tests.support.seg_damage import damage, judge, layers_base, ohif_base, plain_bases


@pytest.fixture(scope="module")
def bases(ohif):
    (reading,) = read_series(ohif / "ct")
    ct = load(reading)
    return [ohif_base(ohif, ct), layers_base(ohif, ct), *plain_bases()]


def test_what_is_not_damaged_gives_the_right_ledger(bases, tmp_path):
    for base in bases:
        assert judge(base, base.content, base.right, tmp_path / "seg.dcm") == "ledger", base.name


@pytest.mark.filterwarnings("ignore")  # pydicom warns of the damage before it meets it
def test_two_hundred_corruptions_crash_nothing_and_give_no_wrong_ledger(bases, tmp_path):
    outcomes = Counter()
    for seed in range(200):
        base = bases[seed % len(bases)]
        outcomes[judge(base, *damage(base, seed), tmp_path / "seg.dcm")] += 1
    assert outcomes["ledger"] > 20, "some damage does not matter"
    assert outcomes["malformed-seg"] > 20
    assert len(outcomes) >= 8
