"""Parity at export: torch, the engine and what is served, in float32 and in bf16; over budget refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino
import pytest

from models.errors import InvalidRelease
from models.network import export
from models.release import Release
from services.inference.engine import OpenVinoEngine
from services.releases import exporter
from services.releases.exporter import export_release
from services.releases.store import ReleaseStore
from tests.learning import small_release

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
        assert one.flipped <= export.FLIP_LIMIT * one.voxels
        assert one.served_flipped <= export.FLIP_LIMIT * one.served_voxels


@pytest.mark.skipif(not BF16, reason="this processor does not compute in bf16")
def test_bf16_is_measured_by_the_same_budget(release, monkeypatch: pytest.MonkeyPatch) -> None:
    full = export_release(*release, threads=2)
    monkeypatch.setattr(export, "FLIP_LIMIT", 1.0)
    monkeypatch.setattr(export, "LOGIT_BUDGET", 100.0)
    monkeypatch.setattr(exporter, "FLIP_LIMIT", 1.0)
    reduced = export_release(*release, threads=2, precision="bf16")
    worst = [max(one.max_logit_difference for one in parity) for parity in (full, reduced)]
    assert worst[1] > 10 * worst[0]
    monkeypatch.setattr(export, "FLIP_LIMIT", 0.0)
    monkeypatch.setattr(exporter, "FLIP_LIMIT", 0.0)
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
