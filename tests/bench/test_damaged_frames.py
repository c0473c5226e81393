"""Bytes changed inside compressed frames: how much of it is refused, and what the rest does to the HU.

There is no checksum in these encodings, so some damage gives another picture that is as sound a codestream.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from imagecodecs import jpeg2k_decode, jpeg8_decode, jpegls_decode
from pydicom import dcmread
from pydicom.uid import JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes

from models.errors import Refused
from services.dicom.compressed import dct_blocks, huffman_bits
from services.dicom.compressed.codestream import decoded
from services.dicom.compressed.damage import FrameShape
from services.dicom.compressed.frames import frames_of
from services.dicom.ct.headers import facts_of, read_header
from services.dicom.ct.pixels import hounsfield
from tests.support.changed_bytes import CHANGES, Change, Generator
from tests.support.damaged_frames import ENCODERS, Slice, made, picture, read, with_frames

SHAPE, TRIALS = (192, 192), 150
FULL, SLICES = (512, 512), 300

DECODERS = (
    dict.fromkeys(JPEG2000TransferSyntaxes, jpeg2k_decode)
    | dict.fromkeys(JPEGLSTransferSyntaxes, jpegls_decode)
    | dict.fromkeys(JPEGTransferSyntaxes, jpeg8_decode)
)
"""What decodes a frame and asks no more."""

TABLES = (dct_blocks._steps, dct_blocks._ac_steps, huffman_bits._bits_by_difference)

SEGMENT_CPU_SECONDS = 5.0
"""Of a CT of 300 x 512 x 512 behind its loading: Triton and client, organ SEG and SR (BENCHMARKS.md)."""


def cut_and_made_to_fit(frame: bytes, rng: Generator) -> bytes:
    """Cut JPEG 2000, and write the length of its one tile-part and the end marker anew."""
    part = frame.find(b"\xff\x90\x00\x0a")
    end = int(rng.integers(part + 40, len(frame) - 2))
    return frame[: part + 6] + struct.pack(">I", end - part) + frame[part + 10 : end] + b"\xff\xd9"


@dataclass
class Outcomes:
    """What came of the trials of one damage: counts, and of what was decoded wrong how much."""

    refused: int = 0
    equal: int = 0
    voxels: list[float] = field(default_factory=list)
    hu: list[float] = field(default_factory=list)

    def row(self) -> str:
        trials = self.refused + self.equal + len(self.voxels)
        shares = [100 * count / trials for count in (self.refused, self.equal, len(self.voxels))]
        told = " | ".join(f"{share:.0f}" for share in shares)
        if not self.voxels:
            return f"{told} | | |"
        voxels, hu = np.median(self.voxels), np.median(self.hu)
        return f"{told} | {voxels:.2g} (up to {max(self.voxels):.2g}) | {hu:.0f} (up to {max(self.hu):.0f}) |"


def tried(whole: Slice, change: Change, rng: Generator, folder: Path) -> Outcomes:
    outcomes = Outcomes()
    for _ in range(TRIALS):
        path = with_frames(whole.dataset(), [change(whole.frame, rng)], folder / "changed.dcm")
        try:
            off = np.abs(read(path).astype(float) - whole.hu)
        except Refused:
            outcomes.refused += 1
            continue
        if not off.any():
            outcomes.equal += 1
            continue
        outcomes.voxels.append(100 * float(np.count_nonzero(off)) / off.size)
        outcomes.hu.append(float(off[off > 0].mean()))
    return outcomes


@pytest.mark.timeout(3600)
def test_the_curve_of_detection(tmp_path, capsys):
    rng = np.random.default_rng(1)
    with capsys.disabled():
        print("\n| encoding | changed | refused % | same HU % | other HU % | of these: voxels % | HU off |")
        print("|---|---|---|---|---|---|---|")
        for name, encode in ENCODERS.items():
            whole = made(tmp_path, picture("tissue", rng, SHAPE), encode)
            damages = dict(CHANGES)
            if whole.syntax in JPEG2000TransferSyntaxes:
                damages["cut, and made to fit"] = cut_and_made_to_fit
            for what, change in damages.items():
                print(f"| {name} | {what} | {tried(whole, change, rng, tmp_path).row()}")


def seconds(work: Callable[[], object], times: int = 7) -> float:
    """Return the least processor time of a few turns."""
    least = np.inf
    for _ in range(times):
        begun = time.process_time()
        work()
        least = min(least, time.process_time() - begun)
    return float(least)


@pytest.mark.timeout(1800)
def test_what_the_proofs_cost(tmp_path, capsys):
    rng = np.random.default_rng(2)
    with capsys.disabled():
        print(
            "\n| encoding | reading a slice, ms | of it the proofs, ms | share of `segment` on 300 slices % |"
        )
        print("|---|---|---|---|")
        for name, encode in ENCODERS.items():
            made(tmp_path, picture("tissue", rng, FULL), encode)
            path = tmp_path / "made.dcm"
            header, dataset = read_header(path), dcmread(path)
            facts = facts_of(header)
            shape = FrameShape(*FULL, facts.pixels.bits_allocated, facts.pixels.bits_stored)
            reading = seconds(lambda p=path, h=header, f=facts: hounsfield(p, h, f))
            (frame,), syntax = frames_of(dataset, 1), dataset.file_meta.TransferSyntaxUID

            def proven(frame=frame, shape=shape, syntax=syntax):
                for tables in TABLES:  # each slice may bring its own
                    tables.cache_clear()
                decoded(frame, syntax, shape)

            bare = DECODERS.get(syntax)  # RLE is proven as it is decoded
            cost = 0.0 if bare is None else seconds(proven) - seconds(lambda f=frame, b=bare: b(f))
            share = 100 * SLICES * cost / (SEGMENT_CPU_SECONDS + SLICES * (reading - cost))
            print(f"| {name} | {1000 * reading:.1f} | {1000 * cost:.2f} | {share:.1f} |")
