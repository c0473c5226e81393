"""The kinds of trunk that a contract may name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.errors import InvalidRelease
from models.network.planned_trunk import PlannedTrunk
from models.network.trunk import SwinTrunk, Trunk, UNetTrunk

TRUNKS: Mapping[str, type[Trunk]] = {"unet": UNetTrunk, "swin_unetr": SwinTrunk, "nnunet": PlannedTrunk}
"""By kind."""

OF_MONAI = frozenset({"text_driven_unet", "text_driven_swin", "segresnet"})
"""Kinds whose building takes MONAI, which takes seconds of a processor to import."""

IMPORTED = OF_MONAI | {"nnunet"}
"""Kinds of trunk that are only imported."""


def build_trunk(spec: Mapping[str, Any]) -> Trunk:
    """Build an untrained trunk from ``{"kind": ..., ...}``, as the contract holds it.

    Raises
    ------
    InvalidRelease
        If the kind is unknown or its settings do not fit.
    """
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in spec.items() if k != "kind"}
    name, trunks = str(spec.get("kind")), TRUNKS
    if name in OF_MONAI:
        from models.network.imported_trunks import IMPORTED_TRUNKS

        trunks = IMPORTED_TRUNKS
    if name not in trunks:
        known = ", ".join([*TRUNKS, *sorted(OF_MONAI)])
        raise InvalidRelease(f"no trunk of kind {spec.get('kind')!r}; there are {known}")
    try:
        return trunks[name](**settings)
    except (TypeError, ValueError) as error:
        raise InvalidRelease(f"trunk {dict(spec)} cannot be built: {error}") from error
