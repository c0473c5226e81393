"""The gate's reports, beside the release they are about: ``releases/<n>/gate/<key>.json`` and ``.html``.

A decision holds for one trial: one candidate against one incumbent, on one frozen gate set, in one serving
profile, by what was fixed before. For each of these it is written once and never revised.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from models.documents import from_json, to_json
from models.errors import InvalidRelease, StorageFailed
from models.gate.document import GateDocument
from models.gate.report import GatePolicy, OrganGate
from models.organs import KEYS
from models.release import Release, sha256_hex
from models.targets import FROM_THE_CATALOGUE, Targets
from services.files import replace, storage_errors, write_once
from services.releases.store import verified


@dataclass(frozen=True)
class Trial:
    """What a decision is about, and all it holds for.

    Parameters
    ----------
    candidate, incumbent
        The two releases.
    gate_set
        Digest of the frozen gate set; None while it is open.
    profile
        Serving profile both answer in.
    policy
        What was fixed before.
    timed
        Whether it was decided by an earlier version, which weighed seconds in place of what is counted.
    targets
        What the site has established.
    """

    candidate: Release
    incumbent: Release
    gate_set: str | None
    profile: str
    policy: GatePolicy
    timed: bool = False
    targets: Targets = FROM_THE_CATALOGUE

    @property
    def key(self) -> str:
        """64 hexadecimal digits, others where a digest, profile, policy, margin or new target differs."""
        fixed: dict[str, object] = {
            "candidate": self.candidate.digest,
            "incumbent": self.incumbent.digest,
            "gate_set": self.gate_set,
            "profile": self.profile,
            "policy": self.policy.timed() if self.timed else asdict(self.policy),
            "margins": margins(self.incumbent, self.targets),
        }
        before, after = self.incumbent.contract.organs, self.candidate.contract
        new = {
            key: self.targets.required(key, after).dsc_target
            for key in after.organs
            if key not in before and key in KEYS
        }
        if new:
            fixed["targets"] = new
        return sha256_hex(json.dumps(fixed, sort_keys=True).encode())


def margins(release: Release, targets: Targets) -> dict[str, dict[str, float | None]]:
    """Return by organ what is fixed of it before: mean DSC it may lose, tolerance of its surface in mm.

    The first is None where nobody has established it.
    """
    contract = release.contract
    return {
        key: {
            "margin": targets.required(key, contract).gate_margin,
            "nsd_tolerance_mm": contract.entry(key).nsd_tolerance_mm,
        }
        for key in contract.organs
    }


@dataclass(frozen=True)
class KeptReport:
    """A report as it lies on disk.

    Parameters
    ----------
    document
        What it says.
    digest
        SHA-256 of the file's bytes.
    """

    document: GateDocument
    digest: str


def report_file(folder: Path, release: int, trial: str) -> Path:
    """Return where the report on a release lies in a release store's folder, by the key of its trial."""
    return folder / "releases" / str(release) / "gate" / f"{trial[:16]}.json"


def read_report(folder: Path, release: int, trial: str, digest: str) -> GateDocument:
    """Return the report of a decision on record.

    Raises
    ------
    InvalidRelease
        If it is not there, or not the one on record.
    """
    path = report_file(folder, release, trial)
    content = verified(path, digest, f"the gate report {path}", "is not the one on record")
    try:
        return from_json(GateDocument, json.loads(content))
    except ValueError as error:
        raise InvalidRelease(f"the gate report {path} cannot be read: {error}") from error


PICTURED = 2
"""Worst cases pictured of each tuned or new organ."""


def to_picture(finding: OrganGate) -> Sequence[tuple[str, float | None]]:
    """Return the cases pictured of one organ of a report.

    Returns
    -------
    sequence
        Case, and DSC difference; of a new organ its DSC, None where nobody drew it.
    """
    return (finding.new.shown if finding.new else finding.worst)[:PICTURED]


def pictured(report: Path) -> set[str] | None:
    """Return the cases whose images the page of a report shows; None if the report cannot be read."""
    try:
        document = from_json(GateDocument, json.loads(report.read_bytes()))
    except (OSError, ValueError):
        return None
    return {case for organ in document.organs for case, _ in to_picture(organ)}


def _may_show(report: Path, cases: Collection[str]) -> bool:
    shown = pictured(report)
    return bool(cases) and (shown is None or bool(shown & set(cases)))


class GateReports:
    """The reports in a release store's folder.

    Parameters
    ----------
    folder
        The release store's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, trial: Trial) -> Path:
        """Return where the report on a trial lies, or would."""
        return report_file(self.folder, trial.candidate.number, trial.key)

    def find(self, trial: Trial) -> KeptReport | None:
        """Return a report, None if the gate has not decided.

        Raises
        ------
        InvalidRelease
            If the report cannot be read.
        """
        path = self.path(trial)
        try:
            content = path.read_bytes()
            return KeptReport(from_json(GateDocument, json.loads(content)), sha256_hex(content))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise InvalidRelease(f"the gate report {path} is damaged") from error

    def keep(self, trial: Trial, document: GateDocument) -> KeptReport:
        """Keep a report and return the one that lies there: that of who was first, if two decided at once.

        Raises
        ------
        StorageFailed
            If the disk is full or not writable.
        """
        content = json.dumps(to_json(document), indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"
        with contextlib.suppress(InvalidRelease):  # seconds differ, whoever decided
            write_once(self.path(trial), content)
        kept = self.find(trial)
        if kept is None:
            raise StorageFailed(f"the gate report {self.path(trial)} was taken away as it was written")
        return kept

    def page(self, trial: Trial) -> bytes | None:
        """Return the page of a report, None if it was not drawn."""
        with contextlib.suppress(FileNotFoundError):
            return self.path(trial).with_suffix(".html").read_bytes()
        return None

    def erase_pages(self, cases: Collection[str]) -> int:
        """Delete the pages that show images of one of these cases; return how many. The reports stay.

        A page whose report cannot be read may show any case: it is deleted too.

        Raises
        ------
        StorageFailed
            If a page cannot be deleted.
        """
        shown = [
            page
            for report in sorted((self.folder / "releases").glob("*/gate/*.json"))
            if _may_show(report, cases) and (page := report.with_suffix(".html")).exists()
        ]
        with storage_errors("a gate page"):
            for page in shown:
                page.unlink(missing_ok=True)
        return len(shown)

    def keep_page(self, trial: Trial, page: bytes) -> None:
        """Keep the page of a report, in place of one there.

        Raises
        ------
        StorageFailed
            If the disk is full or not writable.
        """
        replace(self.path(trial).with_suffix(".html"), page)
