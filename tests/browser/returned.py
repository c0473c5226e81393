"""What came back from the viewer, counted apart from our readers, and where a reader paints."""

from __future__ import annotations

from collections.abc import Iterable

from scipy.ndimage import center_of_mass

from flows.launching import INGEST, SEGMENT
from models.corrections.ledger import OrganLedger
from models.organs import organ
from services.records.entries.arrivals import ArrivalState
from tests.browser.conftest import Study
from tests.browser.viewer import Point
from tests.browser.voxels import Change, changes, masks_of
from tests.support.archive import Archive
from tests.support.arrivals import Hospital


def taken_in(hospital: Hospital, study: Study) -> str:
    """Let the watch find what was saved, and nothing else; return its SOP Instance UID."""
    uid = hospital.ingested()
    hospital.watch()
    held = {str(one["SOPInstanceUID"]) for one in hospital.archive.instances(Modality="SEG")}
    assert held == {uid, *(item.sop_instance_uid for item in study.objects if item.kind != "report-sr")}
    assert len(held) == 3
    assert hospital.worker.launched(INGEST) == [uid], "of the SEGs in the archive ours are no corrections"
    assert hospital.worker.launched(SEGMENT) == [], "the images are the same"
    arrival = hospital.services.records.arrival(uid)
    assert arrival is not None
    assert arrival.state is ArrivalState.INGESTED
    return uid


def counted(archive: Archive, study: Study, uid: str) -> dict[str, Change]:
    """Return the difference to what was sent, counted apart from our readers."""
    before, after = study.organ_seg.read_bytes(), archive.bytes_of(uid)
    return changes(masks_of(before, study.images), masks_of(after, study.images))


def told(entries: Iterable[OrganLedger]) -> dict[str, Change]:
    """Return the difference as a ledger tells it, organs in which nothing changed left out."""
    changed = {organ(one.organ).label: Change(one.added_voxels, one.removed_voxels) for one in entries}
    return {label: change for label, change in changed.items() if change != Change(0, 0)}


def middle(study: Study, label: str, k: int) -> Point:
    """Return the middle of an organ on slice k."""
    return study.ct.volume.geometry.to_lps((k, *center_of_mass(study.truth[label][k])))


def largest(study: Study, label: str) -> int:
    """Return the slice on which an organ is largest."""
    return int(study.truth[label].sum(axis=(1, 2)).argmax())
