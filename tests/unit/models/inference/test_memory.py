"""What a study takes of memory, by its headers, and what is said where it is too much."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contract import ModelContract
from models.errors import Refused
from models.geometry import Geometry
from models.inference.memory import AT_REST, FILLED, StudyMemory, need
from models.organs import KEYS, ORGANS
from models.recipe import NnunetRecipe
from models.series.verdict import Code, Verdict
from services.settings import Settings
from tests.support.paper_releases import paper_contract
from tests.support.slices import judged, regular

MIB, GIB = 2**20, 2**30
STARTER = replace(paper_contract(ORGANS, spacing_mm=4.0), window_shape=(48, 80, 104))


def axial(slices: int, side: int, pixel_mm: float, step_mm: float) -> Geometry:
    affine = np.diag([step_mm, pixel_mm, pixel_mm, 1.0])[[2, 1, 0, 3]]
    return Geometry((slices, side, side), affine)


USUAL = axial(300, 512, 0.8, 1.5)


@given(
    st.integers(3, 4096),
    st.integers(1, 4096),
    st.floats(0.05, 3),
    st.floats(0.05, 20),
    st.sampled_from([2, 4]),
)
def test_more_slices_rows_or_organs_never_take_less(slices, side, pixel_mm, step_mm, voxel_bytes):
    ct = axial(slices, side, pixel_mm, step_mm)
    least = need(ct, voxel_bytes, STARTER)
    more = [
        need(axial(slices + 1, side, pixel_mm, step_mm), voxel_bytes, STARTER),
        need(axial(slices, side + 1, pixel_mm, step_mm), voxel_bytes, STARTER),
        need(ct, 4, STARTER),
        need(ct, voxel_bytes, paper_contract(KEYS, spacing_mm=4.0)),
        need(ct, voxel_bytes, replace(STARTER, spacing_mm=(3.9, 3.9, 3.9))),
    ]
    assert least.worker >= AT_REST + voxel_bytes * least.voxels
    assert all(one.worker >= least.worker for one in more)
    assert all(one.server >= least.server for one in more[:2] + more[4:])


def test_a_usual_ct_takes_about_a_gigabyte_and_of_many_organs_as_much_as_of_nine():
    taken = need(USUAL, 2, STARTER)
    assert (taken.voxels, taken.model_voxels) == (300 * 512 * 512, 114 * 104 * 104)
    assert 1.0 * GIB < taken.worker < 1.4 * GIB
    assert taken.server < 0.5 * GIB
    fine = [need(USUAL, 2, paper_contract(organs, spacing_mm=1.5)) for organs in (KEYS[:FILLED], KEYS)]
    assert fine[1].worker == fine[0].worker
    assert fine[1].server == fine[0].server


@pytest.mark.parametrize("who", ["worker", "server"])
def test_what_takes_more_than_there_is_is_refused_to_the_byte_with_what_to_do(who):
    taken = need(USUAL, 2, STARTER)
    there = StudyMemory(taken.worker, taken.server, STARTER)
    there.require(USUAL, 2)
    with pytest.raises(Refused) as refused:
        replace(there, **{who: getattr(taken, who) - 1}).require(USUAL, 2)
    assert refused.value.code == "too-large"
    whose = {"worker": "worker", "server": "segmenter"}[who]
    assert refused.value.measured == {
        "voxels": taken.voxels,
        "model_voxels": taken.model_voxels,
        f"{whose}_bytes": getattr(taken, who),
        "limit_bytes": getattr(taken, who) - 1,
    }
    setting = {"worker": "study_memory_mib", "server": "serving_memory_mib"}[who]
    assert f"set ORGANLOOP_{setting.upper()}" in refused.value.detail
    assert setting in Settings.model_fields


@pytest.mark.parametrize(
    ("what", "ct", "contract", "every_frame"),
    [
        ("answer", axial(1200, 300, 2.0, 2.0), replace(STARTER, spacing_mm=(1.0, 1.0, 1.0)), False),
        ("organ_seg", axial(4096, 512, 0.5, 0.5), paper_contract(KEYS, spacing_mm=8.0), True),
    ],
)
def test_what_no_message_or_no_seg_can_hold_is_refused_whatever_memory_there_is(
    what, ct, contract, every_frame
):
    plenty = StudyMemory(2**50, 2**50, contract, every_frame)
    with pytest.raises(Refused) as refused:
        plenty.require(ct, 2)
    assert refused.value.measured[f"{what}_bytes"] > refused.value.measured["limit_bytes"]
    replace(plenty, every_frame=False).require(axial(300, 512, 0.8, 1.5), 2)


def test_the_verdict_asks_last_and_with_what_a_voxel_takes():
    asked = []

    def require(grid: Geometry, voxel_bytes: int) -> None:
        asked.append((grid.shape, voxel_bytes))

    assert judged(regular(), require=require).verdict.verdict is Verdict.OK
    assert judged(regular(slope=0.5), require=require).verdict.verdict is Verdict.OK
    assert judged(regular(rows=60_000), require=require).verdict.code is Code.TOO_LARGE
    assert asked == [((6, 16, 20), 2), ((6, 16, 20), 4)]


def fast() -> ModelContract:
    """Return a contract as of TotalSegmentator's fast network: 118 classes, of which 20 are shown."""
    organs = KEYS[:20]
    recipe = NnunetRecipe("SAR", None, (None, *organs, *[None] * 97))
    contract = paper_contract(organs, spacing_mm=3.0)
    return replace(contract, window_shape=(112, 112, 128), recipe=recipe)


def test_a_network_with_a_recipe_takes_memory_for_all_its_classes_where_it_answers():
    usual, without = need(USUAL, 2, fast()), need(USUAL, 2, replace(fast(), recipe=None))
    assert 2.3 * GIB < usual.server < 2.4 * GIB
    assert usual.server > 3 * without.server
    assert usual.question == 2 * usual.voxels
    assert without.question == 2 * without.model_voxels
    fewer = replace(fast(), recipe=replace(fast().recipe, classes=(None, *KEYS[:20])))
    assert need(USUAL, 2, fewer).server < 0.7 * usual.server
    assert need(USUAL, 4, fast()).server == usual.server + 2 * usual.voxels
    five, ten = (need(USUAL, 2, fast(), tuned=tuned).server - usual.server for tuned in (5, 10))
    assert five > 5 * 2 * usual.model_voxels, "each tuned head has logits of its own"
    assert ten == 2 * five


def test_what_no_message_holds_is_not_asked():
    room = StudyMemory(64 * GIB, 64 * GIB, fast())
    with pytest.raises(Refused, match="The question may take 2"):
        room.require(axial(2200, 512, 0.9, 0.5), 4)
