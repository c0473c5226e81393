"""Encoders of CT images that are not ours: dcmtk's tools, pydicom's plugins, OpenJPH.

Each encodes a file in place.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000, JPEG2000Lossless, JPEGLSLossless, JPEGLSNearLossless

from tests.support.waiting import GUARD_SECONDS

Encoder = Callable[[Path], None]


def dcmtk(tool: str, *options: str) -> Encoder:
    def encode(path: Path) -> None:
        found = shutil.which(tool)
        if found is None:
            pytest.skip(f"{tool} (Debian package dcmtk) is not installed")
        subprocess.run([found, *options, str(path), str(path)], check=True, timeout=GUARD_SECONDS)

    return encode


def plugin(syntax: str, **options: object) -> Encoder:
    def encode(path: Path) -> None:
        dataset = dcmread(path)
        dataset.compress(syntax, generate_instance_uid=False, **options)
        if options:
            dataset.LossyImageCompression = "01"
        dataset.save_as(path)

    return encode


def htj2k(syntax: str) -> Encoder:
    def encode(path: Path) -> None:
        dataset = dcmread(path)
        frame = imagecodecs.htj2k_encode(dataset.pixel_array, reversible=True, planar=False)
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(path, enforce_file_format=True)

    return encode


def as_it_is(path: Path) -> None:
    """Explicit VR little endian, as the phantom is written."""


LOSSLESS: dict[str, tuple[str, Encoder]] = {
    "implicit VR": ("1.2.840.10008.1.2", dcmtk("dcmconv", "+ti")),
    "explicit VR": ("1.2.840.10008.1.2.1", as_it_is),
    "deflated": ("1.2.840.10008.1.2.1.99", dcmtk("dcmconv", "+td")),
    "big endian": ("1.2.840.10008.1.2.2", dcmtk("dcmconv", "+tb")),
    "RLE": ("1.2.840.10008.1.2.5", dcmtk("dcmcrle")),
    "JPEG lossless, process 14": ("1.2.840.10008.1.2.4.57", dcmtk("dcmcjpeg", "+el")),
    "JPEG lossless, first order": ("1.2.840.10008.1.2.4.70", dcmtk("dcmcjpeg", "+e1")),
    "JPEG-LS": ("1.2.840.10008.1.2.4.80", dcmtk("dcmcjpls", "+el")),
    "JPEG-LS by CharLS": ("1.2.840.10008.1.2.4.80", plugin(JPEGLSLossless)),
    "JPEG 2000": ("1.2.840.10008.1.2.4.90", plugin(JPEG2000Lossless)),
    "HTJ2K": ("1.2.840.10008.1.2.4.201", htj2k("1.2.840.10008.1.2.4.201")),
    "HTJ2K, RPCL": ("1.2.840.10008.1.2.4.202", htj2k("1.2.840.10008.1.2.4.202")),
    "HTJ2K, reversible": ("1.2.840.10008.1.2.4.203", htj2k("1.2.840.10008.1.2.4.203")),
}

LOSSY: dict[str, tuple[str, Encoder]] = {
    "JPEG-LS near lossless": ("1.2.840.10008.1.2.4.81", plugin(JPEGLSNearLossless, jls_error=2)),
    "JPEG, 8 bits": ("1.2.840.10008.1.2.4.50", dcmtk("dcmcjpeg", "+eb", "+q", "100")),
    "JPEG, 12 bits": ("1.2.840.10008.1.2.4.51", dcmtk("dcmcjpeg", "+ee", "+q", "100")),
    "JPEG 2000": ("1.2.840.10008.1.2.4.91", plugin(JPEG2000, j2k_psnr=[80])),
}
