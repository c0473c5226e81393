"""What is wrong with a compressed frame, in words for a person, and how large it has to be."""

from __future__ import annotations

from dataclasses import dataclass


class DamagedFrame(ValueError):
    """A compressed frame is cut, goes on too long, or contradicts the header."""


@dataclass(frozen=True)
class FrameShape:
    """What the header says of each frame.

    Parameters
    ----------
    rows, columns
        Of the image.
    bits_allocated, bits_stored
        Of one pixel; there is one sample a pixel.
    signed
        Whether pixels are signed.
    """

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    signed: bool = False

    def require(self, rows: int, columns: int, components: int, precision: int) -> None:
        """Raise `DamagedFrame` where a frame says that it is of another size.

        Parameters
        ----------
        rows, columns, components
            As the frame says.
        precision
            Bits of one sample, as the frame says. Fewer than are stored do, for an encoder may leave out
            bits that no pixel uses; more than are allocated do not.
        """
        if (rows, columns, components) != (self.rows, self.columns, 1):
            said = (rows, columns, components)
            raise DamagedFrame(f"the compressed frame is of {said} rows, columns and components")
        if not 0 < precision <= self.bits_allocated:
            raise DamagedFrame(
                f"the compressed frame is of {precision} bits a pixel, the header of {self.bits_allocated}"
            )


PADDING_BYTES = 16
"""So many bytes of any kind may follow the end marker; zeros may be more."""

_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51")
"""How a JPEG, JPEG-LS or JPEG 2000 codestream begins."""


def require_only_padding(behind: bytes) -> None:
    """Raise `DamagedFrame` where what follows the end marker of a frame is more than padding.

    Parameters
    ----------
    behind
        All bytes behind the end marker. PS3.5 8.2 asks for one zero where the length is odd; some writers
        pad to more, or with what their buffer held.
    """
    if any(start in behind for start in _STARTS):
        raise DamagedFrame("another compressed frame begins behind the end of the one there should be")
    if len(behind.strip(b"\0")) > PADDING_BYTES:
        raise DamagedFrame(f"{len(behind)} bytes follow the end marker of the compressed frame")
