"""What nnU-Net wrote, unpacked once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.nnunet import unpacked


@pytest.fixture(scope="session")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.mktemp("nnunet"))
