"""Of 500 phantoms none is strange; of thousands with slices out of place next to none pass unseen."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from models.phantom.case import make_case
from models.series.slice_contents import Doubts
from services.dicom.ct.loaded import load
from services.dicom.ct.series import read_series
from tests.support.slices_out_of_place import OUT_OF_PLACE, STRANGE, judged, told_of, two_passes

PHANTOMS = 500
SPACINGS = ((2.5, 3.0, 3.0), (4.0, 3.0, 3.0), (5.0, 3.0, 3.0), (8.0, 3.0, 3.0))
"""Voxels, (k, j, i) millimetres, in turn."""

MISSED = {"last mirrored": 0.03, "from elsewhere": 0.002}
"""The most of a kind that may be missed: an end has one neighbour, and may be much the same mirrored; a slice
from half as far up may be much like the one whose place it takes."""

SERIES = ("ct-abdomen-series", "ct-series-empty-uids", "ct-sarcoma-6", "ohif-correction")


@pytest.mark.timeout(0)
def test_phantoms_are_not_strange_and_what_is_out_of_place_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcomes: dict[str, Counter[str]] = {}
    for seed in range(PHANTOMS):
        stack = make_case("AB"[seed % 2], seed, spacing_mm=SPACINGS[seed % len(SPACINGS)]).volume.hu
        assert judged(stack) == Doubts(), seed
        k = len(stack) // 2
        made = {kind: make(stack, k) for kind, make in (OUT_OF_PLACE | STRANGE).items()}
        for kind, each in (made | {"two passes": two_passes(stack)}).items():
            outcomes.setdefault(kind, Counter())[told_of(each)] += 1
    with capsys.disabled():
        print(f"\n{PHANTOMS} phantoms, none strange; the same with")
        for kind, counts in outcomes.items():
            print(f"  {kind}: {dict(counts)}")
    missed = {kind: counts["missed"] for kind, counts in outcomes.items() if counts["missed"]}
    assert all(count <= MISSED.get(kind, 0.0) * PHANTOMS for kind, count in missed.items()), missed


def test_no_real_series_is_strange(test_data, capsys: pytest.CaptureFixture[str]) -> None:
    count = 0
    for name in SERIES:
        folder: Path = test_data(name, "real patients")
        for reading in read_series(folder, makes_identifiers=True):
            if not reading.verdict.refused:
                assert load(reading).verdict.doubted == (), name
                count += 1
    with capsys.disabled():
        print(f"\n{count} real series, none strange")
    assert count > len(SERIES)
