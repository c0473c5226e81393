"""Both public networks in their full size, served by Triton: one window of 96 voxels, all 32 classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from flows.training.import_checkpoint import keep_checkpoint
from models.documents import to_json
from services.settings import Settings
from services.wiring import connect_in_process
from tests.support import published
from tests.support.imported import saved, served_figures


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("make", [published.unet_state, published.swin_state], ids=["unet", "swin"])
def test_a_full_size_checkpoint_is_served_as_its_published_formula_says(
    make: Callable[[], published.State], tmp_path: Path
) -> None:
    services = connect_in_process(Settings(home=tmp_path / "home"))
    state = make()
    document = keep_checkpoint(
        saved(tmp_path, state), services.releases, services.records, services.settings.threads
    )
    figures = served_figures(state, to_json(document), (96, 96, 96), services)
    print(asdict(figures))
    assert figures.classes == 32
    assert figures.spread > 0.3
    assert figures.at_export < 1e-4
    assert figures.engine_to_formula < 1e-4
    assert figures.onnxruntime_to_formula < 1e-4
    assert figures.served_to_formula <= 0.0105  # rounded as all that is served
    assert figures.flipped == 0
    assert figures.served_as_in_process
