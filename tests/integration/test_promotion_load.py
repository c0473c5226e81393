"""A hundred requests while two releases come and go; two thousand are a matter of `make bench`."""

from __future__ import annotations

from pathlib import Path

from tests.support.promotion_load import promoted_under_load
from tests.support.serving import Serving


def test_no_request_fails_while_releases_are_loaded_promoted_and_rolled_back(
    serving: Serving, tmp_path: Path
) -> None:
    tally = promoted_under_load(serving, tmp_path / "site", [61, 62], requests=100)
    assert tally.faults == []
    assert tally.requests >= 100
    assert set(tally.answers) == {1, 61, 62}
    assert len(tally.livers) == 1, "an untouched organ has the same bits in every release"
