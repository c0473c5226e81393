"""Whether the log and the files it speaks of are as they were recorded.

Every line of the log, every file whose digest a line names, and every row that a line has announced. What
else lies in the home, e.g. a log file or a server's cache, is no evidence of anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from models.errors import InvalidRelease, OrganloopError, StorageFailed
from models.release import sha256_hex
from services.cases.store import CaseStore
from services.files import replace
from services.records.chain import AuditFault, anchor_faults, chain_faults, exported, imported
from services.records.entries.cases import Case, Purpose, manifest_digest
from services.records.entries.log import Line
from services.records.events.cases import CaseAdded, PatientErased, SetFrozen
from services.records.events.event import Event
from services.records.events.gate import CaseScored, GateDecided
from services.records.events.serving import (
    IncumbentChanged,
    ReleasePromoted,
    ReleaseStateChanged,
    VersionWritten,
)
from services.records.log import recorded
from services.records.port import Log, Records
from services.releases.evidence_packs import EvidencePacks
from services.releases.gate_reports import pictured, report_file
from services.releases.store import ReleaseStore
from services.triton.repository import TritonRepository

E = TypeVar("E", bound=Event)


@dataclass(frozen=True)
class Evidence:
    """What the log speaks of.

    Parameters
    ----------
    records, releases, cases, repository
        As in `services.wiring.Services`.
    scores
        Folder of the gate's scores.
    """

    records: Records
    releases: ReleaseStore
    cases: CaseStore
    repository: TritonRepository
    scores: Path


@dataclass(frozen=True)
class Head:
    """The last event."""

    number: int
    digest: str


@dataclass(frozen=True)
class Verified:
    """The document of the `audit verify` verb: how many events, the last (None without one), and faults."""

    events: int
    head: Head | None
    faults: tuple[AuditFault, ...]


@dataclass(frozen=True)
class Exported:
    """The document of the `audit export` verb: the file, how many events, the last (None without one)."""

    path: str
    events: int
    head: Head | None


def verify(evidence: Evidence, against: Path | None = None) -> Verified:
    """Look through the log and the files it speaks of.

    Parameters
    ----------
    evidence
        What to look through.
    against
        An earlier `export`, kept elsewhere: only an anchor shows that the end was cut off.

    Raises
    ------
    StorageFailed
        If the records or the export cannot be read.
    """
    lines = evidence.records.lines()
    events, unread = _read(lines)
    faults = (
        *chain_faults(lines),
        *unread,
        *_anchors(lines, evidence),
        *([] if against is None else _against(lines, against)),
        *_releases(events, evidence),
        *_decisions(events, evidence),
        *_packs(events, evidence),
        *_sets(events, evidence),
        *_scores(events, evidence),
        *_cases(events, evidence),
        *_served(events, evidence),
    )
    return Verified(len(lines), _head(lines), faults)


def export(log: Log, path: Path) -> Exported:
    """Write every event as a line of JSON, to be kept elsewhere.

    Raises
    ------
    StorageFailed
        If the file cannot be written.
    """
    lines = log.lines()
    replace(path, "".join(exported(line) + "\n" for line in lines).encode())
    return Exported(str(path), len(lines), _head(lines))


def _head(lines: tuple[Line, ...]) -> Head | None:
    return Head(lines[-1].number, lines[-1].digest) if lines else None


Events = Sequence[Event]
"""What the log says, in order; lines of a newer program's kinds left out."""


def _read(lines: tuple[Line, ...]) -> tuple[Events, list[AuditFault]]:
    """Return what the lines say, and which of them tell nothing of their kind."""
    events: list[Event] = []
    faults = []
    for line in lines:
        try:
            one = recorded(line)
        except StorageFailed as error:
            faults.append(AuditFault("line-unreadable", f"event {line.number}", str(error)))
        else:
            events += [] if one is None else [one.said]
    return events, faults


def _of(events: Events, kind: type[E]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


def _against(lines: tuple[Line, ...], path: Path) -> list[AuditFault]:
    try:
        kept = [imported(line) for line in path.read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise StorageFailed(f"the export {path.name} cannot be read: {error}") from error
    broken = [
        AuditFault("export-changed", f"{path.name}, {fault.what}", fault.detail)
        for fault in chain_faults(kept)
    ]
    return [*broken, *anchor_faults(lines, {one.number: one.digest for one in kept}, path.name)]


def _anchors(lines: tuple[Line, ...], evidence: Evidence) -> list[AuditFault]:
    """Ask every evidence pack on disk which event it knows, also where the lines that name it are gone."""
    packs, faults = EvidencePacks(evidence.releases.folder), []
    for digest in packs.digests():
        try:
            anchor = packs.read(digest)["audit"]
        except (InvalidRelease, KeyError, TypeError):
            continue  # told as a changed file where a line names it
        faults += anchor_faults(lines, {anchor["number"]: anchor["digest"]}, f"evidence pack {digest[:12]}")
    return faults


def _releases(events: Events, evidence: Evidence) -> Iterator[AuditFault]:
    store, states = evidence.releases, evidence.records.release_states()
    last = {event.release: event for event in _of(events, ReleaseStateChanged)}
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
    written = [one.files for one in _of(events, VersionWritten) if one.release == number]
    found = evidence.repository.digests(number)
    if not written or found in written:
        return
    for name in sorted({*found, *written[-1]} - set(differing)):
        if found.get(name) != written[-1].get(name):
            yield AuditFault("file-changed", f"{what}, {name}", "it is not what was written")


def _decisions(events: Events, evidence: Evidence) -> Iterator[AuditFault]:
    """Compare reports and pages with the digests that decisions have put on record.

    A page goes with a patient who was taken out and is pictured there.
    """
    erased = _erased(events)
    for event in _of(events, GateDecided):
        if event.report is None or event.trial is None:
            continue
        path = report_file(evidence.releases.folder, event.release, event.trial)
        for file, digest in ((path, event.report), (path.with_suffix(".html"), event.page)):
            gone = file.suffix == ".html" and not file.exists() and (pictured(path) or set()) & erased
            if digest is not None and not gone:
                yield from _file(file, digest, f"gate report of release {event.release}")


def _packs(events: Events, evidence: Evidence) -> Iterator[AuditFault]:
    packs = EvidencePacks(evidence.releases.folder)
    for event in _of(events, ReleasePromoted):
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


def _sets(events: Events, evidence: Evidence) -> Iterator[AuditFault]:
    for event in _of(events, SetFrozen):
        purpose, version = event.purpose, event.version
        frozen = evidence.records.frozen(Purpose(purpose), version)
        if frozen is None or event.digest != frozen.digest:
            yield AuditFault("row-changed", f"{purpose} set, version {version}", "it is not what was frozen")
        elif manifest_digest(frozen.manifest) != frozen.digest:
            yield AuditFault("row-changed", f"{purpose} set, version {version}", "its manifest was changed")

    on_record = {(one.purpose, one.version) for one in _of(events, SetFrozen)}
    for purpose in Purpose:
        newest = evidence.records.frozen(purpose)
        if newest is not None and (str(purpose), newest.version) not in on_record:
            what = f"{purpose} set, version {newest.version}"
            yield AuditFault("row-changed", what, "no event says that it was frozen")


def _scores(events: Events, evidence: Evidence) -> Iterator[AuditFault]:
    """Compare kept scores with what was measured; one that is gone is measured again, and lost nothing."""
    known: dict[str, str] = {}
    for event in _of(events, CaseScored):
        known |= event.scores
    for path in sorted(evidence.scores.glob("*/*/*.json")):
        name, what = path.relative_to(evidence.scores).as_posix(), f"score of case {path.name[:12]}"
        if name in known:
            yield from _file(path, known[name], what)
        else:
            yield AuditFault("file-unknown", f"{what} ({path.name})", "no event says that it was measured")


def _erased(events: Events) -> set[str]:
    return {one.case_id for event in _of(events, PatientErased) for one in event.cases}


def _cases(events: Events, evidence: Evidence) -> Iterator[AuditFault]:
    """Look for every case that was added and whose patient was not taken out, row and files."""
    erased = _erased(events)
    added = {event.case_id: event for event in _of(events, CaseAdded)}
    rows = {case.case_id: case for purpose in Purpose for case in evidence.records.cases(purpose)}
    for case_id in sorted({*added, *rows}):
        event, case = added.get(case_id), rows.get(case_id)
        what = f"case {case_id[:12]}"
        if case is None:
            if case_id not in erased:
                yield AuditFault("row-missing", what, "it was added and is not on record")
        elif event is None or not _is_same(event, case):
            yield AuditFault("row-changed", what, "it is not what was added")
        elif not evidence.cases.is_whole(case):
            detail = "its files are not what was kept; add it, or ingest its correction, again"
            yield AuditFault("file-changed", what, detail)


def _is_same(event: CaseAdded, case: Case) -> bool:
    """Tell whether a case is what was added; of older cases nobody asked how they were scanned."""
    added, now = event.payload(), CaseAdded(**asdict(case)).payload()
    if not event.acquisition:
        added |= {"acquisition": now["acquisition"]}
    return added == now


def _served(events: Events, evidence: Evidence) -> Iterator[AuditFault]:
    """Compare the row that says which release serves with the log."""
    changes = _of(events, IncumbentChanged)
    said = changes[-1].after if changes else None
    serves = evidence.records.incumbent()
    if said != serves:
        yield AuditFault("row-changed", "incumbent", f"the log says release {said}, the records {serves}")
