"""Whether the files that the log speaks of are as they were recorded: releases, reports, packs, scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from models.errors import InvalidRelease, OrganloopError
from models.release import sha256_hex
from services.cases.store import CaseStore
from services.records.chain import AuditFault, anchor_faults
from services.records.entries.log import Line
from services.records.events.cases import PatientErased
from services.records.events.event import Event
from services.records.events.gate import CaseScored, GateDecided
from services.records.events.serving import ReleasePromoted, ReleaseStateChanged, VersionWritten
from services.records.port import Records
from services.releases.evidence_packs import EvidencePacks
from services.releases.gate_reports import pictured, report_file
from services.releases.store import ReleaseStore
from services.triton.repository import TritonRepository
from services.witnesses.port import Witness

E = TypeVar("E", bound=Event)
Events = Sequence[Event]
"""What the log says, in order; lines of a newer program's kinds left out."""


@dataclass(frozen=True)
class Evidence:
    """What the log speaks of.

    Parameters
    ----------
    records, releases, cases, repository
        As in `services.wiring.Services`.
    scores
        Folder of the gate's scores.
    witnesses
        Who remembers heads of the log.
    """

    records: Records
    releases: ReleaseStore
    cases: CaseStore
    repository: TritonRepository
    scores: Path
    witnesses: tuple[Witness, ...] = ()


def of_kind(events: Events, kind: type[E]) -> list[E]:
    """Return the events of a kind, in order."""
    return [event for event in events if isinstance(event, kind)]


def pack_anchor_faults(lines: tuple[Line, ...], evidence: Evidence) -> list[AuditFault]:
    """Ask every evidence pack on disk which event it knows, also where the lines that name it are gone."""
    packs, faults = EvidencePacks(evidence.releases.folder), []
    for digest in packs.digests():
        try:
            anchor = packs.read(digest)["audit"]
        except (InvalidRelease, KeyError, TypeError):
            continue  # told as a changed file where a line names it
        faults += anchor_faults(lines, [(anchor["number"], anchor["digest"])], f"evidence pack {digest[:12]}")
    return faults


def release_faults(events: Events, evidence: Evidence) -> Iterator[AuditFault]:
    """Compare the releases on record with their files, and with what the servers load."""
    store, states = evidence.releases, evidence.records.release_states()
    last = {event.release: event for event in of_kind(events, ReleaseStateChanged)}
    for number, event in last.items():
        if states.get(number) != event.state:
            detail = f"the log says {event.state}, the records {states.get(number)}"
            yield AuditFault("row-changed", f"state of release {number}", detail)
    for number in sorted(set(states) - set(last)):
        yield AuditFault("row-changed", f"state of release {number}", "no event speaks of it")
    known = {number: event.digest for number, event in last.items()}
    served = evidence.repository.versions()
    for number in sorted({*store.numbers(), *known}):
        try:
            release = store.release(number)
            if number in known and release.digest != known[number]:
                yield AuditFault("file-changed", f"release {number}", "its digest is not the one on record")
            store.trunk(release.trunk)
            for digest in release.heads.values():
                store.head(digest)
            for digest in (release.trunk, *release.heads.values()):
                if number in served or store.has_export(digest):
                    store.export(digest)
        except OrganloopError as error:
            yield AuditFault("file-changed", f"release {number}", str(error))
    for number in served:
        yield from _served_version(number, events, evidence)


def _served_version(number: int, events: Events, evidence: Evidence) -> Iterator[AuditFault]:
    """Compare a version folder with its release, and with what was written, the program too."""
    store, what = evidence.releases, f"served version {number}"
    if number not in store.numbers():
        yield AuditFault("file-unknown", what, "there is no such release")
        return
    try:
        differing = evidence.repository.differing(store.release(number), store)
    except OrganloopError:
        return  # told of the release
    for name in differing:
        yield AuditFault("file-changed", f"{what}, {name}", "it is not the release's")
    written = [one.files for one in of_kind(events, VersionWritten) if one.release == number]
    found = evidence.repository.digests(number)
    if not written or found in written:
        return
    for name in sorted({*found, *written[-1]} - set(differing)):
        if found.get(name) != written[-1].get(name):
            yield AuditFault("file-changed", f"{what}, {name}", "it is not what was written")


def decision_faults(events: Events, evidence: Evidence) -> Iterator[AuditFault]:
    """Compare reports and pages with the digests that decisions have put on record.

    A page goes with a patient who was taken out and is pictured there.
    """
    erased = erased_cases(events)
    for event in of_kind(events, GateDecided):
        if event.report is None or event.trial is None:
            continue
        path = report_file(evidence.releases.folder, event.release, event.trial)
        for file, digest in ((path, event.report), (path.with_suffix(".html"), event.page)):
            gone = file.suffix == ".html" and not file.exists() and (pictured(path) or set()) & erased
            if digest is not None and not gone:
                yield from _file(file, digest, f"gate report of release {event.release}")


def pack_faults(events: Events, evidence: Evidence) -> Iterator[AuditFault]:
    """Compare the evidence packs with the digests that promotions have put on record."""
    packs = EvidencePacks(evidence.releases.folder)
    for event in of_kind(events, ReleasePromoted):
        if event.evidence is not None:
            what = f"evidence pack of release {event.release}"
            yield from _file(packs.path(event.evidence), event.evidence, what)


def _file(path: Path, digest: str, what: str) -> Iterator[AuditFault]:
    try:
        if sha256_hex(path.read_bytes()) != digest:
            yield AuditFault("file-changed", f"{what} ({path.name})", "its bytes are not those on record")
    except FileNotFoundError:
        yield AuditFault("file-missing", f"{what} ({path.name})", "it is on record and not there")
    except OSError as error:
        yield AuditFault("file-missing", f"{what} ({path.name})", f"it cannot be read: {error.strerror}")


def score_faults(events: Events, evidence: Evidence) -> Iterator[AuditFault]:
    """Compare kept scores with what was measured; one that is gone is measured again, and lost nothing."""
    known: dict[str, str] = {}
    for event in of_kind(events, CaseScored):
        known |= event.scores
    for path in sorted(evidence.scores.glob("*/*/*.json")):
        name, what = path.relative_to(evidence.scores).as_posix(), f"score of case {path.name[:12]}"
        if name in known:
            yield from _file(path, known[name], what)
        else:
            yield AuditFault("file-unknown", f"{what} ({path.name})", "no event says that it was measured")


def erased_cases(events: Events) -> set[str]:
    """Return the names of the cases of patients who were taken out."""
    return {one.case_id for event in of_kind(events, PatientErased) for one in event.cases}
