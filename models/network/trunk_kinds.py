"""The kinds of trunk that a contract may name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.errors import InvalidRelease
from models.network.imported_trunks import IMPORTED_TRUNKS
from models.network.trunk import SwinTrunk, Trunk, UNetTrunk

TRUNKS: Mapping[str, type[Trunk]] = {"unet": UNetTrunk, "swin_unetr": SwinTrunk, **IMPORTED_TRUNKS}
"""By kind: those that are trained here, and those of checkpoints."""


def build_trunk(spec: Mapping[str, Any]) -> Trunk:
    """Build an untrained trunk from ``{"kind": ..., ...}``, as the contract holds it.

    Raises
    ------
    InvalidRelease
        If the kind is unknown or its settings do not fit.
    """
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in spec.items() if k != "kind"}
    kind = TRUNKS.get(str(spec.get("kind")))
    if kind is None:
        raise InvalidRelease(f"no trunk of kind {spec.get('kind')!r}; there are {', '.join(TRUNKS)}")
    try:
        return kind(**settings)
    except (TypeError, ValueError) as error:
        raise InvalidRelease(f"trunk {dict(spec)} cannot be built: {error}") from error
