"""What a site has established of organs, without a file."""

from __future__ import annotations

from collections.abc import Mapping

from models.organs import CATALOGUE
from models.targets import Established, Targets


def established(organs: Mapping[str, tuple[float | None, float | None]]) -> Targets:
    """Return target and margin by organ as a site's file would give them."""
    return Targets(
        {
            key: Established(target, margin, "Dr Example", "2026-11-30", "calibration set", 40, (0.8, 0.9))
            for key, (target, margin) in organs.items()
        }
    )


AS_THE_CATALOGUE = established(
    {entry.key: (entry.dsc_target, None) for entry in CATALOGUE if entry.dsc_target is not None}
)
"""Of a site that asks of any network what the catalogue asks of our own."""
