"""How candidates came to be: tuned, trained, calibrated or imported, and what they learnt from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from models.documents import LEFT_OUT, called
from models.tuning.document import TuningReport
from models.tuning.training_document import Trained
from services.records.events.event import Event


@dataclass(frozen=True, kw_only=True)
class CandidateMade(Event):
    """A candidate was published; the cases, patients and sites it learnt from or was calibrated on.

    These have no default: an event that names no patients is no word that there are none.
    """

    release: int
    digest: str = ""
    parent: int | None = None
    organs: tuple[str, ...]
    cases: tuple[str, ...]
    patients: tuple[str, ...]
    sites: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CandidateTaught(CandidateMade):
    """A candidate learnt from corrections; `taught` are the organs each correction taught, by its name.

    `run` is the key of all that it depends on: who runs the same again is told this candidate.
    """

    run: Annotated[str, called("key")]
    taught: Annotated[Mapping[str, tuple[str, ...]] | None, LEFT_OUT] = None


@dataclass(frozen=True, kw_only=True)
class CandidateTuned(CandidateTaught):
    """Heads were tuned at a level; `report` is the `tune` verb's of it.

    `from_pictures` are those organs of `taught` that readers accepted from pictures, by nobody who saw more.
    """

    what: ClassVar[str] = "candidate-tuned"

    level: str = ""
    report: TuningReport = field(default_factory=TuningReport)
    seconds: Mapping[str, float] = field(default_factory=dict)
    from_pictures: Annotated[Mapping[str, tuple[str, ...]] | None, LEFT_OUT] = None


@dataclass(frozen=True, kw_only=True)
class CandidateTrained(CandidateTaught):
    """Trunk and heads were trained; `document` is the `train` verb's of it."""

    what: ClassVar[str] = "candidate-trained"

    begin: str = ""
    document: Trained


@dataclass(frozen=True, kw_only=True)
class CandidateCalibrated(CandidateMade):
    """The incumbent's weights were calibrated anew."""

    what: ClassVar[str] = "candidate-calibrated"

    profile: str = ""


@dataclass(frozen=True, kw_only=True)
class TuningDeclined(Event):
    """A run came to no candidate, so it is not tried again."""

    what: ClassVar[str] = "tuning-declined"

    run: Annotated[str, called("key")]
    report: TuningReport
    seconds: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class CheckpointImported(Event):
    """A candidate was made of a public checkpoint; `sha256` is the file's."""

    what: ClassVar[str] = "checkpoint-imported"

    release: int
    digest: str
    kind: str
    sha256: str
    said: str


@dataclass(frozen=True, kw_only=True)
class ReleaseExported(Event):
    """A release was written into a file for another site; SHA-256 of the file, and of its signer's key."""

    what: ClassVar[str] = "release-exported"

    release: int
    digest: str
    file: str
    signer: str | None


@dataclass(frozen=True, kw_only=True)
class ReleaseImported(Event):
    """A candidate was made of another site's file.

    `exporter`, `exported` and `exported_digest` are who exported it, and its number and digest there: the
    file's word. `file` is its SHA-256, `signer` that of the key that signed it, None where none did;
    `trusted` says whether the site names that key.
    """

    what: ClassVar[str] = "release-imported"

    release: int
    digest: str
    exporter: str
    exported: int
    exported_digest: str
    file: str
    signer: str | None
    trusted: bool
    demonstration: bool
