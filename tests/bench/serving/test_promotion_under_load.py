"""Two thousand requests while five releases are loaded, promoted and rolled back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.promotion_load import promoted_under_load
from tests.support.serving import serving_at

REQUESTS = 2000
RELEASES = [11, 12, 13, 14, 15]


@pytest.mark.timeout(1800)
def test_none_of_two_thousand_requests_fails_while_five_releases_come_and_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving_at(tmp_path / "serving") as serving:
        tally = promoted_under_load(serving, tmp_path / "site", RELEASES, REQUESTS)
    with capsys.disabled():
        counts = ", ".join(f"r{number}: {count}" for number, count in sorted(tally.answers.items()))
        print(
            f"\n{len(tally.faults)} of {tally.requests} requests failed or were answered otherwise ({counts})"
        )
        print(f"slowest answer {tally.slowest:.2f} s; untouched organ: {len(tally.livers)} set of bits")
    assert tally.faults == []
    assert tally.requests >= REQUESTS
    assert set(tally.answers) == {1, *RELEASES}
    assert len(tally.livers) == 1
