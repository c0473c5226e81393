"""Cases, the sets they are frozen in, and patients who were taken out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from models.series.acquisition import Acquisition


class Purpose(StrEnum):
    """What a case is kept for; a patient is kept for one purpose only."""

    TUNING = "tuning"
    CALIBRATION = "calibration"
    GATE = "gate"


@dataclass(frozen=True)
class ErasedCase:
    """A case that was kept of a patient who was taken out: its name, its digest, what it was kept for."""

    case_id: str
    digest: str
    purpose: str


@dataclass(frozen=True)
class Erasure:
    """A patient who was taken out.

    Parameters
    ----------
    patient
        HMAC of the patient; it stays, so that nothing of the patient is kept again.
    cases
        Each case that was kept.
    thawed
        Digest of each frozen set that lost a case, by its purpose; it must be frozen anew.
    """

    patient: str
    cases: tuple[ErasedCase, ...]
    thawed: Mapping[str, str]


@dataclass(frozen=True)
class Case:
    """One case of the case store and the purpose it is kept for.

    Parameters
    ----------
    case_id
        Its name in the case store.
    purpose
        What it is kept for.
    patient
        HMAC of the patient under the site's key.
    origin
        Of its truth: `independent`, ``edited-from-N`` or ``accepted-from-N``.
    digest
        SHA-256 of its truth as it lies in the store.
    site
        Where it was scanned, as the site's own label for scanner and protocol; empty if not known.
    acquisition
        How it was scanned, as far as the headers say.
    """

    case_id: str
    purpose: Purpose
    patient: str
    origin: str
    digest: str
    site: str = ""
    acquisition: Acquisition = field(default_factory=Acquisition)


Manifest = tuple[Mapping[str, Any], ...]
"""Every field of every case of a set, by case identifier, as JSON holds it."""


def manifest_of(cases: Collection[Case]) -> Manifest:
    """Return the manifest of cases, whatever their order."""
    return tuple(asdict(case) for case in sorted(cases, key=lambda case: case.case_id))


def manifest_digest(manifest: Manifest) -> str:
    """Return the SHA-256 of a set's manifest."""
    return hashlib.sha256(json.dumps(list(manifest), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class FrozenSet:
    """One version of a set as it was frozen; a decision names its digest.

    Parameters
    ----------
    purpose
        Which set.
    version
        1, 2, …: each freezing after a change makes the next; earlier ones stay readable.
    digest
        Of the manifest.
    manifest
        The cases as they were.
    frozen_at
        When.
    """

    purpose: Purpose
    version: int
    digest: str
    manifest: Manifest
    frozen_at: datetime
