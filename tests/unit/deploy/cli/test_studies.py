from __future__ import annotations

from types import SimpleNamespace

from deploy.cli.studies import _organ_table
from flows.segmentation.document import FoundOrgan


def test_a_bound_is_shown_in_two_decimals_and_never_above_itself() -> None:
    none = {"entropy": None, "disagreement": None, "member_disagreement": None, "importance_ml": None}
    organs = [
        FoundOrgan(
            "liver", "found", False, 1400.0, "clear", (), bound, **none, band_ml=None, shared_voxels={}
        )
        for bound in (0.9399, 0.93, None)
    ]
    shown = _organ_table(SimpleNamespace(organs=organs))  # type: ignore[arg-type]
    (bounds,) = [list(column.cells) for column in shown.columns if column.header == "DSC at least"]
    assert bounds[:2] == ["0.93", "0.93"]
