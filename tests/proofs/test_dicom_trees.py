"""Ten minutes of DICOM trees that lie, by every way in, under a bound of memory; MINUTES=60 for an hour.

What fails is printed as the tree that it is, made as small as it gets: it belongs among `FOUND` in
``tests/integration/test_dicom_trees.py``.
"""

from __future__ import annotations

import os
import resource
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.support.dicom_trees import trees
from tests.support.tree_judges import image_tree, judged, seg_tree

MINUTES = float(os.environ.get("MINUTES", "10"))
AT_ONCE = 200
"""Trees between two looks at the clock."""
MEMORY_BYTES = 768 * 1024**2
"""What all of them may take beside what the program has taken when they begin."""
WAYS = ("image", "seg", "answer")


@pytest.fixture
def bounded() -> Iterator[None]:
    """Let the kernel refuse memory beyond the bound."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.timeout(0)
@pytest.mark.parametrize("way", WAYS)
def test_trees_that_lie_end_in_a_verdict_or_a_refusal(
    way: str, tmp_path: Path, bounded: None, capsys: pytest.CaptureFixture[str]
) -> None:
    base = image_tree(tmp_path / "sound") if way != "seg" else seg_tree()
    outcomes: Counter[str] = Counter()
    end = time.monotonic() + 60 * MINUTES / len(WAYS)
    number = 0
    while time.monotonic() < end:

        @seed(number)
        @settings(
            max_examples=AT_ONCE, deadline=None, database=None, suppress_health_check=list(HealthCheck),
            print_blob=True,
        )  # fmt: skip
        @given(data=st.data())
        def each(data: st.DataObject) -> None:
            outcomes[str(judged(way, data.draw(trees(base)), tmp_path))] += 1

        each()
        number += 1
    with capsys.disabled():
        print(f"\n{way}: {outcomes.total()} trees: {dict(outcomes.most_common())}")
    assert outcomes
