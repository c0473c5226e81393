"""What the algorithm worked with: written into one text, and read back from it."""

from __future__ import annotations

from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from models.uids import SeriesUid, SopUid
from models.weights_source import LONGEST, WeightsSource
from services.dicom.results.heading import Heading, parameters_in

LINES = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=LONGEST).filter(
    str.strip
)


def written(weights: WeightsSource | None) -> str:
    heading = Heading(
        SopUid("2.25.1"), SeriesUid("2.25.2"), 5001, "Organs", 2, "ab12", datetime(2026, 12, 2), weights
    )
    return str(heading.algorithm()[0].AlgorithmParameters)


def test_without_imported_weights_it_is_the_release_digest_alone() -> None:
    assert written(None) == "release digest=ab12"


@given(LINES, LINES)
def test_parameters_come_back_from_what_was_written(licence: str, origin: str) -> None:
    said = {"release digest": "ab12", "weights licence": licence, "weights origin": origin}
    assert parameters_in(written(WeightsSource(licence, origin))) == said
