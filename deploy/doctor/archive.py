"""The archive, and through it the PACS: what Organloop asks of them in a day, once each.

Sources: PS3.18 sections 10.4 to 10.6 (retrieve, store, search); PS3.5 section 6.2 (AE); Orthanc's REST.
"""

from __future__ import annotations

import io
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from deploy.doctor.advisories import unsafe
from deploy.doctor.clock import clock
from deploy.doctor.finding import Finding, State
from deploy.doctor.probe import TEST_PATIENT
from models.errors import PacsFailed
from models.uids import SopUid, StudyUid
from services.dicom.foreign.objects import object_in
from services.pacs.dicomweb import DicomwebArchive
from services.pacs.http import Http
from services.pacs.orthanc import OrthancArchive

RENEW_DAYS = 30
HERE = frozenset({"localhost", "127.0.0.1", "::1"})
DEFAULT_AE_TITLE = "ORTHANC"
LONGEST_AE_TITLE = 16
ECHO_SECONDS = 10


def queries(archive: DicomwebArchive) -> Iterator[Finding]:
    """Ask for a study that does not exist, by QIDO-RS."""
    started = time.perf_counter()
    DicomwebArchive(archive.web).study(StudyUid(generate_uid()))
    took_ms = 1000 * (time.perf_counter() - started)
    yield Finding(
        "archive, query (QIDO)",
        State.GOOD,
        f"{archive.web.name} answers in {took_ms:.0f} ms",
        measured={"round_trip_ms": round(took_ms, 1)},
    )


def encryption(web: Http) -> Iterator[Finding]:
    """Look whether what travels to an address is encrypted, and how long its certificate holds.

    Raises
    ------
    OSError
        If no connection is made, or the certificate is not accepted.
    """
    parts = urlsplit(web.url)
    host = str(parts.hostname)
    name = f"TLS to {web.name}"
    if parts.scheme != "https":
        if host in HERE:
            yield Finding(name, State.SKIPPED, "plain HTTP, within this machine")
        else:
            remedy = "Set an https:// address, and ORGANLOOP_ARCHIVE_CA_FILE if the hospital signs its own."
            yield Finding(name, State.WARNING, "plain HTTP: whoever is on the network can read along", remedy)
        return
    verify = Path(str(web.session.verify))
    folder = verify.is_dir()
    context = ssl.create_default_context(
        cafile=None if folder else str(verify), capath=str(verify) if folder else None
    )
    with (
        socket.create_connection((host, parts.port or 443), timeout=web.deadline_seconds) as plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        certificate = connection.getpeercert() or {}
        protocol = connection.version()
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
    yield certificate_of(name, str(protocol), (ends - datetime.now(UTC)).total_seconds() / 86400)


def certificate_of(name: str, protocol: str, days: float) -> Finding:
    """Judge an accepted certificate by the days it still holds."""
    detail = f"{protocol}, certificate accepted, holds for {days:.0f} more days"
    measured = {"days": round(days, 1)}
    if days >= RENEW_DAYS:
        return Finding(name, State.GOOD, detail, measured=measured)
    return Finding(
        name, State.WARNING, detail, "Renew it now: from that day on no study comes or goes.", measured
    )


@dataclass(frozen=True)
class TestObject:
    """A DICOM object of no patient; see `services.pacs.port.DicomObject`."""

    __test__ = False

    study_uid: StudyUid
    sop_instance_uid: SopUid
    content: bytes

    @property
    def file_name(self) -> str:
        """Name for it in a folder."""
        return f"{self.sop_instance_uid}.dcm"


def test_object() -> TestObject:
    """Return a Secondary Capture of 8 x 8 pixels, modality OT, which no flow takes for a CT."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", Dataset(), preamble=bytes(128), file_meta=meta)
    now = datetime.now()
    values: dict[str, object] = {
        "SOPClassUID": SecondaryCaptureImageStorage,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "PatientName": "Organloop^Doctor",
        "PatientID": TEST_PATIENT,
        "PatientBirthDate": "",
        "PatientSex": "",
        "StudyDate": f"{now:%Y%m%d}",
        "StudyTime": f"{now:%H%M%S}",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "StudyID": "",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "Modality": "OT",
        "ConversionType": "SYN",
        "SeriesDescription": "Test object of organloop doctor, may be deleted",
        "PatientOrientation": "",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": 8,
        "Columns": 8,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "PixelData": bytes(range(64)),
    }
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    study, instance = StudyUid(str(dataset.StudyInstanceUID)), SopUid(str(dataset.SOPInstanceUID))
    return TestObject(study, instance, file.getvalue())


def stores(archive: DicomwebArchive) -> Iterator[Finding]:
    """Store a test object by STOW-RS, fetch it, compare, and delete it again, however that went.

    Raises
    ------
    PacsFailed, StorageFailed
        If it was not taken, or not given back.
    """
    item = test_object()
    failure: Exception | None = None
    try:
        yield _stored(archive, item)
    except Exception as error:  # whatever it was: the object may lie there
        failure = error
    yield _deleted(archive, item)
    if failure is not None:
        raise failure


def _stored(archive: DicomwebArchive, item: TestObject) -> Finding:
    """Store the test object, fetch it and compare."""
    started = time.perf_counter()
    archive.store([item])
    with tempfile.TemporaryDirectory() as folder:
        path = archive.fetch_instance(item.sop_instance_uid, Path(folder))
        same = path is not None and _elements(path.read_bytes()) == _elements(item.content)
    took_ms = 1000 * (time.perf_counter() - started)
    measured = {"seconds": round(took_ms / 1000, 2)}
    name = "archive, store (STOW)"
    if same:
        return Finding(
            name, State.GOOD, f"a test object was stored and came back in {took_ms:.0f} ms", measured=measured
        )
    remedy = "The archive changes what it stores: look at its coercion rules for this sender."
    return Finding(name, State.BAD, "the test object did not come back as it was sent", remedy, measured)


def _elements(content: bytes) -> dict[str, object]:
    """Return what an object says, apart from its file meta information, which the archive may write anew."""
    written: dict[str, object] = object_in(content).to_json_dict()
    return written


def _deleted(archive: DicomwebArchive, item: TestObject) -> Finding:
    """Delete the test object, and say so if it is still there: no standard makes a server delete."""
    name = "archive, delete"
    failure = ""
    try:
        if isinstance(archive, OrthancArchive):
            for found in archive.rest.need("/tools/lookup", list, body=item.study_uid):
                archive.rest.json(f"/studies/{found['ID']}", lambda _: None, method="DELETE")
        else:
            archive.web.json(f"/studies/{item.study_uid}", lambda _: None, method="DELETE")
        if archive.study(item.study_uid) is None:
            return Finding(name, State.GOOD, "the test object is gone again")
    except PacsFailed as error:
        failure = f" ({error})"
    remedy = (
        f"Delete study {item.study_uid} of patient {TEST_PATIENT} by hand. Organloop itself never deletes."
    )
    return Finding(name, State.WARNING, f"the test object may still be there{failure}", remedy)


def orthanc(archive: OrthancArchive, asked_through: str | None) -> Iterator[Finding]:
    """Look at an Orthanc's version, AE titles and clock, and C-ECHO everybody it knows.

    Parameters
    ----------
    archive
        The Orthanc.
    asked_through
        Its name of the PACS that studies are queried from; None where they are only pushed.

    Raises
    ------
    PacsFailed
        If it does not answer.
    """
    system, plugins = archive.rest.need("/system", dict), archive.rest.need("/plugins", list)
    yield version(str(system["Version"]), plugins)
    yield from unsafe("Orthanc", str(system["Version"]))
    yield ae_title("AE title of the archive", str(system["DicomAet"]))
    yield clock("the archive", (_now(archive) - datetime.now(UTC)).total_seconds())
    known: dict[str, dict[str, Any]] = archive.rest.need("/modalities?expand", dict)
    if asked_through is not None and asked_through not in known:
        remedy = "Add it to Orthanc's DicomModalities, or correct ORGANLOOP_QUERY_MODALITY."
        yield Finding(f"PACS {asked_through}", State.BAD, "Orthanc knows nobody of that name", remedy)
    for name, one in sorted(known.items()):
        title = str(one.get("AET", ""))
        finding = ae_title(f"AE title of {name}", title)
        if finding.state is not State.GOOD:
            yield finding
        yield from rights(name, one)
        yield echo(
            archive, name, f"{title} at {one.get('Host')}:{one.get('Port')}", needed=name == asked_through
        )


def version(number: str, plugins: list[str]) -> Finding:
    """Judge an Orthanc by its version, e.g. ``1.12.1``, and by the plugins it has loaded."""
    detail = f"Orthanc {number}, plugins: {', '.join(sorted(plugins)) or 'none'}"
    parts = tuple(int(part) for part in number.split(".") if part.isdecimal())
    old = len(parts) == 3 and parts < (1, 9, 4)
    if old:
        return Finding("archive, version", State.BAD, detail, "Update Orthanc to 1.9.4 or later.")
    if "dicom-web" not in plugins:
        return Finding("archive, version", State.BAD, detail, "Load Orthanc's plugin for DICOMweb.")
    return Finding("archive, version", State.GOOD, detail)


def ae_title(name: str, title: str) -> Finding:
    """Judge an application entity title by PS3.5 section 6.2, and by whether it tells two gateways apart."""
    if (
        not title.strip()
        or len(title) > LONGEST_AE_TITLE
        or "\\" in title
        or not (title.isascii() and title.isprintable())
    ):
        remedy = "1 to 16 ASCII characters, no backslash, not only blanks."
        return Finding(name, State.BAD, f"{title!r} is no AE title", remedy)
    if title.strip().upper() == DEFAULT_AE_TITLE:
        remedy = "Give it a title of its own: every Orthanc is born with this one."
        return Finding(name, State.WARNING, title, remedy)
    return Finding(name, State.GOOD, title)


def rights(name: str, entry: Mapping[str, object]) -> Iterator[Finding]:
    """Warn of a modality that may search the archive and have studies of every patient sent."""
    may = [right for right in ("AllowFind", "AllowGet", "AllowMove") if entry.get(right, True)]
    if may:
        detail = f"may search the archive and fetch every patient's studies: {', '.join(may)}"
        remedy = "An AE title is no secret. Set these to false in DicomModalities, unless it must."
        yield Finding(f"rights of {name}", State.WARNING, detail, remedy)


def echo(archive: OrthancArchive, name: str, where: str, *, needed: bool) -> Finding:
    """C-ECHO a modality through Orthanc; scanners that only send need not answer."""
    path = f"/modalities/{quote(name, safe='')}/echo"
    started = time.perf_counter()
    try:
        answered = archive.rest.ask(_post(archive.rest, path), attempts=1)
    except PacsFailed:
        answered = False
    took_ms = 1000 * (time.perf_counter() - started)
    label = f"C-ECHO to {name}"
    if answered:
        return Finding(label, State.GOOD, f"{where} answers in {took_ms:.0f} ms")
    remedy = (
        "Does it run, is its port open, and does it know this Orthanc's AE title and address? "
        "A modality that only sends need not answer."
    )
    return Finding(label, State.BAD if needed else State.WARNING, f"{where} does not answer", remedy)


def _post(rest: Http, path: str) -> Callable[[], bool]:
    def call() -> bool:
        url = f"{rest.url}{path}"
        answer = rest.session.post(url, json={"Timeout": ECHO_SECONDS}, timeout=rest.deadline_seconds)
        answer.raise_for_status()
        return True

    return call


def _now(archive: OrthancArchive) -> datetime:
    """Return Orthanc's own time, whole seconds UTC; it says so as text, not JSON."""
    text = archive.rest.stream("/tools/now", lambda answer: answer.text) or ""
    try:
        return datetime.strptime(text.strip(), "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        raise PacsFailed(f"The archive at {archive.rest.name} does not tell the time.") from None
