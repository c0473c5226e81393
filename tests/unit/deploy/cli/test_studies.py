from __future__ import annotations

from types import SimpleNamespace

from deploy.cli.studies import _organ_table, said_below
from flows.segmentation.document import FoundOrgan, Segmented
from models.organs import CATALOGUE
from models.uids import SeriesUid, StudyUid
from models.weights_source import WeightsSource


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


def test_organs_that_claim_the_same_voxels_are_named_and_a_part_of_an_organ_is_none() -> None:
    part = next(entry for entry in CATALOGUE if entry.within)
    whole = part.within[0]
    shared = {
        "spleen": {"stomach": 7, whole: 12},
        whole: {"spleen": 12, part.key: 400},
        "stomach": {"spleen": 7},
        part.key: {whole: 400},
    }
    none = {"entropy": None, "disagreement": None, "member_disagreement": None, "importance_ml": None}
    organs = tuple(
        FoundOrgan(
            key, "found", False, 1.0, "clear", (), None, **none, band_ml=None, shared_voxels=shared[key]
        )
        for key in shared
    )
    document = Segmented(
        StudyUid("1.2"), SeriesUid("1.3"), 1, "ok", (), (), (), organs, False, 0.0, (), {},
        weights=WeightsSource("MIT", "a hospital"),
    )  # fmt: skip
    assert said_below(document) == [
        f"voxels that two organs claim: spleen and {whole} 12, spleen and stomach 7",
        "weights: MIT; origin: a hospital",
    ]
