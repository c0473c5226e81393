"""Whether the log and the files it speaks of are as they were recorded.

Every line of the log, every file whose digest a line names, and every row that a line has announced. What
else lies in the home, e.g. a log file or a server's cache, is no evidence of anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flows.gate.trial import CASE_SCORED, GATE_DECIDED
from flows.serving.serve import VERSION_WRITTEN
from models.errors import InvalidRelease, OrganloopError, StorageFailed
from models.release import sha256_hex
from services.cases.store import CaseStore
from services.files import replace
from services.records.chain import AuditFault, anchor_faults, chain_faults, exported, imported
from services.records.port import Event, Purpose, Records, manifest_digest
from services.releases.evidence_packs import EvidencePacks
from services.releases.gate_reports import pictured, report_file
from services.releases.store import ReleaseStore
from services.triton.repository import TritonRepository


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


def verify(evidence: Evidence, against: Path | None = None) -> dict[str, Any]:
    """Look through the log and the files it speaks of.

    Parameters
    ----------
    evidence
        What to look through.
    against
        An earlier `export`, kept elsewhere: only an anchor shows that the end was cut off.

    Returns
    -------
    dict
        ``events, head`` (number and digest of the last event, None without one), ``faults``: a list of
        ``{code, what, detail}``.

    Raises
    ------
    StorageFailed
        If the records or the export cannot be read.
    """
    events = evidence.records.events()
    faults = [
        *chain_faults(events),
        *_anchors(events, evidence),
        *([] if against is None else _against(events, against)),
        *_releases(events, evidence),
        *_decisions(events, evidence),
        *_packs(events, evidence),
        *_sets(events, evidence),
        *_scores(events, evidence),
        *_cases(events, evidence),
        *_served(events, evidence),
    ]
    return {
        "events": len(events),
        "head": {"number": events[-1].number, "digest": events[-1].digest} if events else None,
        "faults": [asdict(fault) for fault in faults],
    }


def export(records: Records, path: Path) -> dict[str, Any]:
    """Write every event as a line of JSON, to be kept elsewhere; return ``path, events, head``.

    Raises
    ------
    StorageFailed
        If the file cannot be written.
    """
    events = records.events()
    replace(path, "".join(exported(event) + "\n" for event in events).encode())
    head = {"number": events[-1].number, "digest": events[-1].digest} if events else None
    return {"path": str(path), "events": len(events), "head": head}


def _of(events: tuple[Event, ...], *kinds: str) -> list[Event]:
    return [event for event in events if event.what in kinds]


def _against(events: tuple[Event, ...], path: Path) -> list[AuditFault]:
    try:
        kept = [imported(line) for line in path.read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise StorageFailed(f"the export {path.name} cannot be read: {error}") from error
    broken = [
        AuditFault("export-changed", f"{path.name}, {fault.what}", fault.detail)
        for fault in chain_faults(kept)
    ]
    return [*broken, *anchor_faults(events, {one.number: one.digest for one in kept}, path.name)]


def _anchors(events: tuple[Event, ...], evidence: Evidence) -> list[AuditFault]:
    """Ask every evidence pack on disk which event it knows, also where the lines that name it are gone."""
    packs, faults = EvidencePacks(evidence.releases.folder), []
    for digest in packs.digests():
        try:
            anchor = packs.read(digest)["audit"]
        except (InvalidRelease, KeyError, TypeError):
            continue  # told as a changed file where a line names it
        faults += anchor_faults(events, {anchor["number"]: anchor["digest"]}, f"evidence pack {digest[:12]}")
    return faults


def _releases(events: tuple[Event, ...], evidence: Evidence) -> Iterator[AuditFault]:
    store, states = evidence.releases, evidence.records.release_states()
    last = {event.payload["release"]: event.payload for event in _of(events, "release-state")}
    for number, payload in last.items():
        if states.get(number) != payload["state"]:
            detail = f"the log says {payload['state']}, the records {states.get(number)}"
            yield AuditFault("row-changed", f"state of release {number}", detail)
    for number in sorted(set(states) - set(last)):
        yield AuditFault("row-changed", f"state of release {number}", "no event speaks of it")
    known = {number: payload["digest"] for number, payload in last.items()}
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


def _served_version(number: int, events: tuple[Event, ...], evidence: Evidence) -> Iterator[AuditFault]:
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
    written = [e.payload["files"] for e in _of(events, VERSION_WRITTEN) if e.payload["release"] == number]
    found = evidence.repository.digests(number)
    if not written or found in written:
        return
    for name in sorted({*found, *written[-1]} - set(differing)):
        if found.get(name) != written[-1].get(name):
            yield AuditFault("file-changed", f"{what}, {name}", "it is not what was written")


def _decisions(events: tuple[Event, ...], evidence: Evidence) -> Iterator[AuditFault]:
    """Compare reports and pages with the digests that decisions have put on record.

    A page goes with a patient who was taken out and is pictured there.
    """
    erased = _erased(events)
    for event in _of(events, GATE_DECIDED):
        if event.payload.get("report") is None:
            continue
        path = report_file(evidence.releases.folder, event.payload["release"], event.payload["trial"])
        for file, digest in (
            (path, event.payload["report"]),
            (path.with_suffix(".html"), event.payload.get("page")),
        ):
            gone = file.suffix == ".html" and not file.exists() and pictured(path) & erased
            if digest is not None and not gone:
                yield from _file(file, digest, f"gate report of release {event.payload['release']}")


def _packs(events: tuple[Event, ...], evidence: Evidence) -> Iterator[AuditFault]:
    packs = EvidencePacks(evidence.releases.folder)
    for event in _of(events, "release-promoted"):
        digest = event.payload.get("evidence")
        if digest is not None:
            what = f"evidence pack of release {event.payload['release']}"
            yield from _file(packs.path(digest), digest, what)


def _file(path: Path, digest: str, what: str) -> Iterator[AuditFault]:
    try:
        if sha256_hex(path.read_bytes()) != digest:
            yield AuditFault("file-changed", f"{what} ({path.name})", "its bytes are not those on record")
    except FileNotFoundError:
        yield AuditFault("file-missing", f"{what} ({path.name})", "it is on record and not there")
    except OSError as error:
        yield AuditFault("file-missing", f"{what} ({path.name})", f"it cannot be read: {error.strerror}")


def _sets(events: tuple[Event, ...], evidence: Evidence) -> Iterator[AuditFault]:
    for event in _of(events, "set-frozen"):
        purpose, version = event.payload["set"], event.payload.get("version", 1)
        frozen = evidence.records.frozen(Purpose(purpose), version)
        if frozen is None or event.payload["digest"] != frozen.digest:
            yield AuditFault("row-changed", f"{purpose} set, version {version}", "it is not what was frozen")
        elif manifest_digest(frozen.manifest) != frozen.digest:
            yield AuditFault("row-changed", f"{purpose} set, version {version}", "its manifest was changed")

    on_record = {(e.payload["set"], e.payload.get("version", 1)) for e in _of(events, "set-frozen")}
    for purpose in Purpose:
        newest = evidence.records.frozen(purpose)
        if newest is not None and (str(purpose), newest.version) not in on_record:
            what = f"{purpose} set, version {newest.version}"
            yield AuditFault("row-changed", what, "no event says that it was frozen")


def _scores(events: tuple[Event, ...], evidence: Evidence) -> Iterator[AuditFault]:
    """Compare kept scores with what was measured; one that is gone is measured again, and lost nothing."""
    recorded: dict[str, str] = {}
    for event in _of(events, CASE_SCORED):
        recorded |= event.payload["scores"]
    for path in sorted(evidence.scores.glob("*/*/*.json")):
        name, what = path.relative_to(evidence.scores).as_posix(), f"score of case {path.name[:12]}"
        if name in recorded:
            yield from _file(path, recorded[name], what)
        else:
            yield AuditFault("file-unknown", f"{what} ({path.name})", "no event says that it was measured")


def _erased(events: tuple[Event, ...]) -> set[str]:
    return {one["case_id"] for event in _of(events, "patient-erased") for one in event.payload["cases"]}


def _cases(events: tuple[Event, ...], evidence: Evidence) -> Iterator[AuditFault]:
    """Look for every case that was added and whose patient was not taken out, row and files."""
    erased = _erased(events)
    added = {event.payload["case_id"]: event.payload for event in _of(events, "case-added")}
    rows = {case.case_id: case for purpose in Purpose for case in evidence.records.cases(purpose)}
    for case_id in sorted({*added, *rows}):
        payload, case = added.get(case_id), rows.get(case_id)
        what = f"case {case_id[:12]}"
        if case is None:
            if case_id not in erased:
                yield AuditFault("row-missing", what, "it was added and is not on record")
        elif payload is None or not payload.items() <= asdict(case).items():
            yield AuditFault("row-changed", what, "it is not what was added")
        elif not evidence.cases.is_whole(case):
            detail = "its files are not what was kept; add it, or ingest its correction, again"
            yield AuditFault("file-changed", what, detail)


def _served(events: tuple[Event, ...], evidence: Evidence) -> Iterator[AuditFault]:
    """Compare the row that says which release serves with the log."""
    changes = _of(events, "incumbent-changed")
    said = changes[-1].payload["to"] if changes else None
    serves = evidence.records.incumbent()
    if said != serves:
        yield AuditFault("row-changed", "incumbent", f"the log says release {said}, the records {serves}")
