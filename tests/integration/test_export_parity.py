"""Parity at export: torch, the engine and what is served, in float32 and in bf16; over budget refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino
import pytest

from models.errors import InvalidRelease
from models.proof import parity as windows_parity
from models.proof import served_parity
from models.release import Release
from services.inference.engine import OpenVinoEngine
from services.releases.exporter import export_release
from services.releases.store import ReleaseStore
from tests.support.learning import small_release

BF16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.fixture
def release(tmp_path: Path) -> tuple[Release, ReleaseStore]:
    store = ReleaseStore(tmp_path / "store")
    trunk, heads, release = small_release()
    store.add_trunk(trunk)
    for content in heads.values():
        store.add_head(content)
    return release, store


def test_every_organ_is_proven_window_by_window_and_as_served(release) -> None:
    parity = export_release(*release, threads=2)
    assert [one.organ for one in parity] == list(release[0].contract.organs)
    assert min(sum(one.voxels for one in parity), sum(one.served_voxels for one in parity)) > 100
    for one in parity:
        assert one.max_logit_difference < 1e-3
        assert one.flipped <= windows_parity.FLIP_LIMIT * one.voxels
        assert one.served_flipped <= windows_parity.FLIP_LIMIT * one.served_voxels


@pytest.mark.skipif(not BF16, reason="this processor does not compute in bf16")
def test_bf16_is_measured_by_the_same_budget(release, monkeypatch: pytest.MonkeyPatch) -> None:
    full = export_release(*release, threads=2)
    monkeypatch.setattr(windows_parity, "FLIP_LIMIT", 1.0)
    monkeypatch.setattr(windows_parity, "LOGIT_BUDGET", 100.0)
    for budget in ("FLIP_LIMIT", "PROBABILITY_BUDGET", "SERVED_SPREAD_BUDGET", "FEATURE_BUDGET"):
        monkeypatch.setattr(served_parity, budget, 1.0)
    reduced = export_release(*release, threads=2, precision="bf16")
    worst = [max(one.max_logit_difference for one in parity) for parity in (full, reduced)]
    assert worst[1] > 10 * worst[0]
    monkeypatch.setattr(windows_parity, "FLIP_LIMIT", 0.0)
    monkeypatch.setattr(served_parity, "FLIP_LIMIT", 0.0)
    with pytest.raises(InvalidRelease, match="change their label"):
        export_release(*release, threads=2, precision="bf16")


def test_what_only_the_served_path_changes_is_refused_and_nothing_is_kept(
    release, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = OpenVinoEngine.segment

    def shifted(engine: OpenVinoEngine, hu: np.ndarray):
        answer = served(engine, hu)
        answer.probability[...] = np.roll(answer.probability, 1, axis=1)
        return answer

    monkeypatch.setattr(OpenVinoEngine, "segment", shifted)
    with pytest.raises(InvalidRelease, match="as served in python/openvino"):
        export_release(*release, threads=2)
    assert not release[1].has_export(release[0].trunk)


@pytest.mark.parametrize(
    ("field", "shift", "message"),
    [
        ("probability", 0.1, "a probability of"),
        ("disagreement", 0.1, "the windows' disagreement of"),
        ("disagreement", np.nan, "no finite number"),
        ("global_feature", 1e3, "the global feature"),
        ("global_feature", np.nan, "the global feature"),
    ],
)
def test_numbers_that_change_no_label_are_compared_as_well(
    release, monkeypatch: pytest.MonkeyPatch, field: str, shift: float, message: str
) -> None:
    served = OpenVinoEngine.segment

    def shifted(engine: OpenVinoEngine, hu: np.ndarray):
        answer = served(engine, hu)
        inside = answer.probability >= 0.5
        assert inside.any()
        getattr(answer, field)[... if field == "global_feature" else inside] += shift
        return answer

    monkeypatch.setattr(OpenVinoEngine, "segment", shifted)
    with pytest.raises(InvalidRelease, match=message):
        export_release(*release, threads=2)
