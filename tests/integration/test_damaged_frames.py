"""Compressed frames that are cut, dropped, added or of another size are refused; padding is not."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from pydicom.encaps import generate_frames

from models.errors import Refused
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
def test_bits_that_an_encoder_left_out_are_not_guessed(tmp_path: Path, bits: int) -> None:
    left_out = dcmtk("dcmcjpeg", "+el", "+pt", str(bits))
    with pytest.raises(Refused, match="bits are left out of the compressed frame") as refused:
        made(tmp_path, picture("tissue", np.random.default_rng(5)), left_out)
    assert refused.value.code == "bad-pixel-data"


@pytest.mark.parametrize("presets", [(0, 0, 0, 0, 0), (4095, 0, 0, 0, 64), (4095, 18, 67, 276, 0)])
@pytest.mark.parametrize("name", ["JPEG-LS (80)", "JPEG-LS near lossless (81)"])
def test_parameters_that_are_left_to_the_decoder_are_not_guessed(
    tmp_path: Path, name: str, presets: tuple[int, ...]
) -> None:
    """Zero asks for the standard's (ISO 14495-1 C.2.4.1.1); the decoder at hand takes it for a number."""
    whole = made(tmp_path, picture("tissue", np.random.default_rng(5)), ENCODERS[name])
    [frame] = generate_frames(whole.dataset().PixelData, number_of_frames=1)
    scan = frame.index(b"\xff\xda")
    segment = b"\xff\xf8" + struct.pack(">HB5H", 13, 1, *presets)
    path = with_frames(whole.dataset(), [frame[:scan] + segment + frame[scan:]], tmp_path / "zero.dcm")
    assert str(refusal_of(path)).startswith("bad-pixel-data: Not CT pixels: ")


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
