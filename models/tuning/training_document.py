"""The document of the `train` verb."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from models.documents import LEFT_OUT
from models.tuning.document import RefusedLabel


@dataclass(frozen=True)
class Labelled:
    """In how many cases an organ was labelled by readers, and held by the incumbent's own answer."""

    readers: int
    held: int


@dataclass(frozen=True)
class Trained:
    """The document of the `train` verb.

    Parameters
    ----------
    release, digest, parent
        The candidate, and the incumbent it was trained beside.
    begin
        Which weights it began with: ``incumbent`` or ``scratch``.
    cases
        How many were learnt from.
    labels
        By organ, who labelled how many.
    refused
        Labels that cannot be what a reader meant.
    calibrated
        Organs with a bound.
    steps, device
        How many optimiser steps, and where.
    curve
        Steps, and the mean loss since the point before.
    seconds
        By step, and ``total``.
    image
        Digest of the container image that trained; None outside of one.
    """

    release: int
    digest: str
    parent: int
    begin: str
    cases: int
    labels: Mapping[str, Labelled]
    refused: tuple[RefusedLabel, ...] = field(default=(), kw_only=True)
    calibrated: tuple[str, ...]
    steps: int
    device: str
    curve: tuple[tuple[int, float], ...]
    seconds: Mapping[str, float]
    image: Annotated[str | None, LEFT_OUT] = None
