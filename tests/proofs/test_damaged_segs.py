"""Two thousand random corruptions of corrected SEGs: no crash, no wrong ledger."""

from __future__ import annotations

from collections import Counter

import pytest

from services.dicom.ct.loaded import load
from services.dicom.ct.series import read_series
from tests.support.seg_damage import damage, judge, layers_base, ohif_base, plain_bases

CORRUPTIONS = 2000


@pytest.mark.filterwarnings("ignore")  # pydicom warns of the damage before it meets it
def test_two_thousand_corruptions_crash_nothing_and_give_no_wrong_ledger(ohif, tmp_path, capsys):
    (reading,) = read_series(ohif / "ct")
    bases = [ohif_base(ohif, load(reading)), *plain_bases()]
    outcomes = Counter()
    for seed in range(1000, 1000 + CORRUPTIONS):  # others than the suite tries
        base = bases[seed % len(bases)]
        outcomes[str(judge(base, *damage(base, seed), tmp_path / "seg.dcm"))] += 1
    with capsys.disabled():
        print(f"\n{CORRUPTIONS} corruptions:", dict(outcomes.most_common()))
    assert outcomes.total() == CORRUPTIONS


@pytest.mark.filterwarnings("ignore")
def test_corruptions_of_a_label_map_in_layers_give_no_wrong_ledger(ohif, tmp_path, capsys):
    (reading,) = read_series(ohif / "ct")
    base, path = layers_base(ohif, load(reading)), tmp_path / "seg.dcm"
    outcomes = Counter(str(judge(base, *damage(base, seed), path)) for seed in range(5000, 5600))
    with capsys.disabled():
        print(f"\n{outcomes.total()} corruptions of layers:", dict(outcomes.most_common()))
    assert outcomes["ledger"] > 100
