"""Compressed frames that are cut, dropped, added or of another size are refused; padding is not."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from tests.support.damaged_frames import (
    CONTENTS,
    DAMAGES,
    ENCODERS,
    HARMLESS,
    Slice,
    cut_and_ended,
    deflated_cut,
    made,
    picture,
    read,
    refusal_of,
    with_frames,
)
from tests.support.encodings import LOSSLESS, as_it_is, dcmtk
from tests.support.odd_codestreams import ODD

ROUNDS = 1
EXACT = {name for name in ODD if not any(word in name for word in ("JPEG with", "near"))}


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


@pytest.mark.parametrize("name", ODD)
def test_frames_as_other_encoders_write_them_are_read_and_missed_nowhere(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(4)
    hu = picture("tissue", rng)
    whole = made(tmp_path, hu, ODD[name])
    assert np.abs(whole.hu.astype(int) - hu).max() <= (0 if name in EXACT else 128)
    for damage in DAMAGES[:3]:
        for _ in range(ROUNDS):
            assert refusal_of(damage(whole, rng, tmp_path)) is not None, damage.__name__


@pytest.mark.parametrize("bits", [1, 2])
def test_bits_that_an_encoder_left_out_are_zero(tmp_path: Path, bits: int) -> None:
    """The point transform of JPEG lossless (ISO 10918-1 H.1.2.1)."""
    hu = picture("tissue", np.random.default_rng(5))
    whole = made(tmp_path, hu, dcmtk("dcmcjpeg", "+el", "+pt", str(bits)))
    np.testing.assert_array_equal(whole.hu, ((hu + 1024) >> bits << bits) - 1024)
    rng = np.random.default_rng(6)
    assert all(refusal_of(cut_and_ended(whole, rng, tmp_path)) for _ in range(ROUNDS))


def with_presets(whole: Slice, segment: bytes, path: Path) -> Path:
    """Write a slice in JPEG-LS with a segment of parameters before its scan."""
    scan = whole.frame.index(b"\xff\xda")
    return with_frames(whole.dataset(), [whole.frame[:scan] + segment + whole.frame[scan:]], path)


@pytest.mark.parametrize("presets", [(0, 0, 0, 0, 0), (4095, 0, 0, 0, 64), (4095, 18, 67, 276, 0)])
def test_parameters_that_are_zero_are_those_of_the_standard(tmp_path: Path, presets: tuple[int, ...]) -> None:
    """ISO 14495-1 C.2.4.1.1; a decoder that takes zeros for numbers gives another picture without a word."""
    whole = made(tmp_path, picture("tissue", np.random.default_rng(5)), ENCODERS["JPEG-LS (80)"])
    segment = b"\xff\xf8" + struct.pack(">HB5H", 13, 1, *presets)
    np.testing.assert_array_equal(read(with_presets(whole, segment, tmp_path / "zero.dcm")), whole.hu)


@pytest.mark.parametrize("kind", [2, 3, 4])
def test_parameters_that_no_decoder_at_hand_heeds_are_refused(tmp_path: Path, kind: int) -> None:
    """Tables that map what is stored to other values, and sizes beyond 65535."""
    whole = made(tmp_path, picture("tissue", np.random.default_rng(5)), ENCODERS["JPEG-LS (80)"])
    segment = b"\xff\xf8" + struct.pack(">HBBB2H", 9, kind, 1, 2, 7, 9)
    path = with_presets(whole, segment, tmp_path / "table.dcm")
    assert "JPEG-LS parameters that are not read here" in str(refusal_of(path))


@pytest.mark.parametrize("name", ["explicit VR", "deflated", "JPEG 2000", "RLE"])
@pytest.mark.parametrize("behind", [b"\0", bytes(512), b"\r\n"], ids=["a zero", "512 zeros", "a line's end"])
def test_bytes_behind_the_last_element_change_nothing(tmp_path: Path, name: str, behind: bytes) -> None:
    whole = made(tmp_path, picture("tissue", np.random.default_rng(6)), LOSSLESS[name][1])
    path = tmp_path / "longer.dcm"
    path.write_bytes(whole.content + behind)
    np.testing.assert_array_equal(read(path), whole.hu)


@pytest.mark.parametrize("denied", [1, 2, 5])
@pytest.mark.parametrize("side", ["Rows", "Columns"])
@pytest.mark.parametrize("round_it", ["zeros", "tissue"])
def test_rows_or_columns_that_the_header_denies_are_no_padding(
    tmp_path: Path, round_it: str, side: str, denied: int
) -> None:
    """Read as so many fewer, every picture would lean, and all alike."""
    whole = made(tmp_path, picture("tissue", np.random.default_rng(7)), as_it_is)
    dataset, path = whole.dataset(), tmp_path / "denied.dcm"
    if round_it == "zeros":
        pixels = dataset.pixel_array.copy()
        pixels[-denied - 1 :] = 0  # more than are denied of either
        dataset.PixelData = pixels.tobytes()
    setattr(dataset, side, dataset[side].value - denied)
    dataset.save_as(path)
    assert str(refusal_of(path)).startswith("bad-pixel-data: Not CT pixels: there are ")


@pytest.mark.parametrize("longer", [-1, 1, 2, 100])
def test_plain_pixels_may_be_padded_and_not_cut(tmp_path: Path, longer: int) -> None:
    whole = made(tmp_path, picture("tissue", np.random.default_rng(7)), as_it_is)
    dataset, path = whole.dataset(), tmp_path / "longer.dcm"
    dataset.PixelData = dataset.PixelData + bytes(longer) if longer > 0 else dataset.PixelData[: 2 * longer]
    dataset.save_as(path)
    if longer < 0:
        assert str(refusal_of(path)).startswith("bad-pixel-data: Not CT pixels: there are ")
    else:
        np.testing.assert_array_equal(read(path), whole.hu)
