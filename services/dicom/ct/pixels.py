"""Stored values to Hounsfield units, slice by slice, with padding told apart from tissue."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.pixels import pixel_array

from models.errors import Refused
from models.series.slice_facts import SliceFacts
from models.series.verdict import Code
from services.dicom.compressed.damage import DamagedFrame, FrameShape
from services.dicom.compressed.decoding import decoded_frames
from services.dicom.foreign.bounded_file import TooLargeFile
from services.dicom.foreign.head import Header
from services.dicom.foreign.listing import FileState
from services.dicom.foreign.reader import ILLEGIBLE, UNREADABLE, opened

PADDING_HU = -1024
"""What padding becomes: air, the lowest value of the plain CT scale."""

LOWEST_HU = -1500
"""Air with noise and filter overshoot stays above; what lies below is padding, or is not CT."""

HIGHEST_HU = 31743
"""Upper end of the extended CT scale (metal)."""

FARTHEST = -1_000_000.0
"""No rescale of a CT, padding included, passes here; beyond, whole numbers would run over."""

PADDING_CEILING_HU = -900
"""A padding value above it lies where lung and tissue do, and cannot be told from them."""


@dataclass
class PaddingTally:
    """Padding met while the slices of one series are read.

    Parameters
    ----------
    voxels
        All voxels seen.
    declared
        Of these, padding by PixelPaddingValue.
    undeclared
        Of these, below `LOWEST_HU` without being declared: HU and count.
    lossy
        Of these, below `LOWEST_HU` after lossy compression, which keeps no padding at one value.
    """

    voxels: int = 0
    declared: int = 0
    undeclared: Counter[float] = field(default_factory=Counter)
    lossy: int = 0

    def add(self, other: PaddingTally) -> None:
        """Add what was met in another slice.

        Raises
        ------
        Refused
            `bad-pixel-data` if undeclared padding is not one value all over the series.
        """
        self.voxels += other.voxels
        self.declared += other.declared
        self.undeclared.update(other.undeclared)
        self.lossy += other.lossy
        if len(self.undeclared) > 1:
            least = min(self.undeclared)
            raise _bad_pixels(f"values reach {least:g} HU, below any CT", lowest_hu=least)

    def notes(self) -> tuple[str, ...]:
        """Return what the reader is told, one sentence each."""
        padding = {"are padding": self.declared} if self.declared else {}
        if self.lossy:
            padding[f"hold values under {LOWEST_HU} HU, padding that went through lossy compression,"] = (
                self.lossy
            )
        padding |= {f"hold {hu:g} HU, undeclared padding,": n for hu, n in self.undeclared.items()}
        return tuple(
            f"{100 * count / self.voxels:.1f} % of the voxels {what} and were set to {PADDING_HU} HU."
            for what, count in padding.items()
        )


def hounsfield(
    path: Path,
    header: Dataset,
    facts: SliceFacts,
    out: NDArray[Any] | None = None,
    listed: FileState | None = None,
) -> tuple[NDArray[Any], PaddingTally]:
    """Return one slice in Hounsfield units, padding replaced by `PADDING_HU`; and how much of it there was.

    Threads may call it side by side, all within one `as_written`, which holds for a whole process.

    Parameters
    ----------
    path
        File of the slice.
    header, facts
        Its header, already judged fit.
    out
        Where the slice may be put, axes (row, column); it is where the type suits, and is then returned.
    listed
        The file as it was when its header was read; None: as it is now.

    Returns
    -------
    hu : NDArray
        Axes (row, column); int16 or int32, exact, where slope and intercept are whole numbers, float32
        elsewhere; every value within `LOWEST_HU` and `HIGHEST_HU`.
    tally : PaddingTally
        Of this slice.

    Raises
    ------
    Refused
        `too-large` if the file is over a limit; `bad-pixel-data` if the pixels are missing, truncated,
        undecodable, not coded as the header says, or outside any CT's range.
    ReadFailed
        If the file is not as it was listed.
    OSError
        If it cannot be opened or read.
    """
    stored, least, most = _within_bits_stored(_stored_values(path, header, facts, listed), facts)
    padding = _padding_mask(header, facts, stored, least, most)
    slope, intercept = facts.slope or 0.0, facts.intercept or 0.0
    lowest, highest = (value * slope + intercept for value in (float(least), float(most)))
    if highest > HIGHEST_HU:
        raise _bad_pixels(f"values reach {highest:g} HU, above any CT", highest_hu=highest)
    if min(lowest, lowest - intercept, highest - intercept, -abs(intercept), -slope) < FARTHEST:
        raise _bad_pixels(f"values reach {lowest:g} HU, below any CT", lowest_hu=lowest)
    hu = _rescaled(stored, (least, most), slope, intercept, out)
    tally = PaddingTally(hu.size)
    if padding is not None:
        hu[padding] = PADDING_HU
        tally.declared = int(np.count_nonzero(padding))
    if lowest < LOWEST_HU:
        low = hu < LOWEST_HU
        if facts.lossy:
            tally.lossy = int(np.count_nonzero(low))
        else:
            values, counts = np.unique(hu[low], return_counts=True)
            tally.undeclared.update({float(v): int(n) for v, n in zip(values, counts, strict=True)})
        hu[low] = PADDING_HU
    return hu, tally


def _rescaled(
    stored: NDArray[Any], ends: tuple[int, int], slope: float, intercept: float, out: NDArray[Any] | None
) -> NDArray[Any]:
    """Return stored * slope + intercept: exact whole numbers where both are whole, float32 elsewhere."""
    if not (slope.is_integer() and intercept.is_integer()):
        return (stored * slope + intercept).astype(np.float32)
    kind = np.iinfo(np.int16)
    steps = [float(value) for value in ends]
    steps += [value * slope for value in steps] + [value * slope + intercept for value in steps]
    fits = kind.min <= min(*steps, intercept) and max(*steps, slope, intercept) <= kind.max
    if not fits:
        hu: NDArray[Any] = stored.astype(np.int32)
    else:
        hu = np.empty(stored.shape, np.int16) if out is None or out.dtype != np.int16 else out
        if stored.dtype == np.uint16:
            stored = stored.view(np.int16)  # it holds none that is not the same in both
        if slope == 1 and stored.dtype == np.int16:
            return np.add(stored, np.int16(intercept), out=hu)
        hu[...] = stored
    if slope != 1:
        np.multiply(hu, int(slope), out=hu)
    if intercept:
        np.add(hu, int(intercept), out=hu)
    return hu


def _stored_values(path: Path, header: Dataset, facts: SliceFacts, listed: FileState | None) -> NDArray[Any]:
    """Return the stored values as they are coded, read-only or not."""
    if isinstance(header, Header) and header.native is not None:
        sign = "i" if facts.pixels.representation else "u"
        stored: NDArray[Any] = np.empty(
            (facts.rows or 0, facts.columns or 0), f"<{sign}{(facts.pixels.bits_allocated or 16) // 8}"
        )
        if header.native.read_into(path, stored):
            return stored
    try:
        dataset = opened(path, pixels=True, listed=listed)
        if dataset is None:
            raise InvalidDicomError
        if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            (stored,) = decoded_frames(dataset, _shape(facts), 1)
        else:
            _require_length(len(dataset.PixelData), facts)
            stored = pixel_array(dataset, raw=True, correct_unused_bits=False)
    except TooLargeFile as error:
        raise Refused(Code.TOO_LARGE, f"A slice cannot be read: {error}.") from error
    except DamagedFrame as error:
        raise _bad_pixels(str(error)) from error
    except (*UNREADABLE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk, and not a parser's word for damage
        raise _bad_pixels("the pixels cannot be decoded") from error
    if stored.shape != (facts.rows, facts.columns):
        raise _bad_pixels(f"the pixels form {stored.shape}, not rows and columns of the header")
    return stored


def _require_length(length: int, facts: SliceFacts) -> None:
    """Refuse plain pixels of another length: where the header denies a column, each row begins too early."""
    expected = (facts.rows or 0) * (facts.columns or 0) * (facts.pixels.bits_allocated or 16) // 8
    if length not in (expected, expected + expected % 2):
        raise _bad_pixels(
            f"there are {length} bytes of them, {expected} for the rows and columns of the header"
        )


def _shape(facts: SliceFacts) -> FrameShape:
    """Return what the header says of the slice's one frame."""
    pixels = facts.pixels
    allocated, stored, signed = (
        pixels.bits_allocated or 16,
        pixels.bits_stored or 0,
        pixels.representation == 1,
    )
    return FrameShape(facts.rows or 0, facts.columns or 0, allocated, stored, signed)


def _within_bits_stored(stored: NDArray[Any], facts: SliceFacts) -> tuple[NDArray[Any], int, int]:
    """Return the values with the sign of their highest stored bit, the least and the most; refuse stray bits.

    Source: DICOM PS3.5 8.1.1.
    """
    bits = facts.pixels.bits_stored or 0
    least, most = int(stored.min()), int(stored.max())
    if bits == 8 * stored.dtype.itemsize:
        return stored, least, most
    modulus = 1 << bits
    if facts.pixels.representation == 0:
        if most >= modulus:
            raise _bad_pixels(f"values up to {most} do not fit {bits} bits")
        return stored, least, most
    if least < -modulus // 2 or most >= modulus:
        raise _bad_pixels(f"values from {least} to {most} do not fit {bits} bits")
    if most < modulus // 2:  # signed as they are
        return stored, least, most
    unused = 8 * stored.dtype.itemsize - bits
    stored = stored << unused >> unused  # of a signed type: the sign bit is copied down
    return stored, int(stored.min()), int(stored.max())


def _padding_mask(
    header: Dataset, facts: SliceFacts, stored: NDArray[Any], least: int, most: int
) -> NDArray[np.bool_] | None:
    """Tell which voxels PixelPaddingValue, with PixelPaddingRangeLimit, declares as padding; None if none.

    Source: DICOM PS3.3 C.7.5.1.1.2.
    """
    try:
        value, limit = header.get("PixelPaddingValue"), header.get("PixelPaddingRangeLimit")
        ends = [
            _as_stored(int(v), facts) for v in (value, value if limit is None else limit) if v is not None
        ]
    except ILLEGIBLE as error:
        raise _bad_pixels("PixelPaddingValue is not a number") from error
    if len(ends) < 2 or max(ends) < least or min(ends) > most:
        return None
    mask = (stored >= min(ends)) & (stored <= max(ends))
    if not mask.any():
        return None
    ceiling = max(ends) * (facts.slope or 0.0) + (facts.intercept or 0.0)
    if ceiling > PADDING_CEILING_HU:
        raise _bad_pixels(
            f"padding is declared up to {ceiling:g} HU, where tissue lies", padding_hu=float(ceiling)
        )
    return mask


def _as_stored(value: int, facts: SliceFacts) -> int:
    """Return a padding value with the sign of the pixels, whatever VR (US or SS) it was written in."""
    modulus = 1 << (facts.pixels.bits_allocated or 16)
    value %= modulus
    return value - modulus if facts.pixels.representation == 1 and value >= modulus // 2 else value


def _bad_pixels(what: str, **measured: float) -> Refused:
    return Refused(Code.BAD_PIXEL_DATA, f"Not CT pixels: {what}.", measured)
