"""How a CT was acquired, as far as its headers say: what subgroups of the gate set are made of."""

from __future__ import annotations

from dataclasses import dataclass

THICKNESS_BINS_MM = (1.5, 3.0)
"""Slices up to the first count as thin, beyond the last as thick, millimetres."""


@dataclass(frozen=True)
class Acquisition:
    """Plain facts of one series; nothing here names a person.

    Parameters
    ----------
    scanner
        Manufacturer and model; empty if not known.
    kernel
        Convolution kernel; empty if not known.
    thickness_mm
        Nominal slice thickness, millimetres; None if not known.
    contrast
        Contrast agent: `stated` or `not stated`; empty if nobody looked.
    """

    scanner: str = ""
    kernel: str = ""
    thickness_mm: float | None = None
    contrast: str = ""

    def subgroups(self) -> dict[str, str]:
        """Return the group this belongs to by each fact that is known, e.g. ``{"thickness": "thin"}``."""
        groups = {"scanner": self.scanner, "kernel": self.kernel, "contrast": self.contrast}
        if self.thickness_mm is not None:
            thin, thick = THICKNESS_BINS_MM
            groups["thickness"] = (
                f"up to {thin} mm" if self.thickness_mm <= thin
                else f"up to {thick} mm" if self.thickness_mm <= thick
                else f"over {thick} mm"
            )  # fmt: skip
        return {fact: group for fact, group in groups.items() if group}
