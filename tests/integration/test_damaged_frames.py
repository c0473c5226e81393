"""Compressed frames that are cut, dropped, added or of another size are refused; padding is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.damaged_frames import (
    CONTENTS,
    DAMAGES,
    ENCODERS,
    HARMLESS,
    deflated_cut,
    made,
    picture,
    read,
    refusal_of,
)

ROUNDS = 2


@pytest.mark.parametrize("name", ENCODERS)
def test_no_damage_to_a_compressed_frame_is_missed(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(1)
    for content in CONTENTS[:2]:
        whole = made(tmp_path, picture(content, rng), ENCODERS[name])
        for damage in DAMAGES:
            for _ in range(ROUNDS):
                said = refusal_of(damage(whole, rng, tmp_path))
                assert said is not None, (damage.__name__, content)
                assert said.startswith("bad-pixel-data: Not CT pixels"), said
                assert "Error" not in said


@pytest.mark.parametrize("name", ENCODERS)
def test_what_only_pads_or_spreads_a_frame_changes_nothing(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(2)
    whole = made(tmp_path, picture("tissue", rng), ENCODERS[name])
    for harmless in HARMLESS:
        np.testing.assert_array_equal(read(harmless(whole, rng, tmp_path)), whole.hu)


def test_a_deflated_slice_that_is_cut_anywhere_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for _ in range(40):
        assert refusal_of(deflated_cut(picture("tissue", rng), rng, tmp_path)) is not None
