"""The reader at work: what is painted and erased in OHIF is what we learn, to the voxel, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser
from scipy.ndimage import center_of_mass

from flows.arrivals.archived_study import note_segmented
from flows.launching import INGEST, SEGMENT
from models.corrections.ledger import OrganLedger, OrganState
from models.organs import organ
from services.cases.disagreements import valid_words
from services.records.chain import chain_faults
from services.records.entries.arrivals import ArrivalState
from services.records.entries.cases import Purpose
from services.records.events.corrections import CorrectionRecorded, SavedInViewer
from services.records.events.event import Proof
from tests.browser.conftest import ORGANS_SEG, Study, reading
from tests.browser.viewer import Point, Viewer
from tests.browser.voxels import Change, changes, masks_of
from tests.support.archive import Archive
from tests.support.arrivals import Hospital, open_hospital
from tests.support.learning import Site, open_site
from tests.support.pages import NAME, ReadingRoom
from tests.support.returned_segs import put_on_record


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return open_site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def hospital(site: Site, study: Study, clean_archive: Archive, tmp_path: Path) -> Hospital:
    """A hospital to which the study was pushed, and which holds what was found on it.

    The organs are the phantom's own, in place of a network's; recorded, stored and noted as by `segment`.
    """
    hospital = open_hospital(site, clean_archive, study.folder / "ct", tmp_path, waits=False)
    hospital.push()
    services, [organ_seg, *_] = hospital.services, study.objects
    put_on_record(
        services.records,
        study.organ_seg,
        hospital.ct,
        release=2,
        **{item.kind: item.sop_instance_uid for item in study.objects if item is not organ_seg},
    )
    assert services.archive is not None
    services.archive.store(study.objects)
    pushed = services.archive.study(study.ct.study_uid)
    assert pushed is not None
    note_segmented(pushed, services.cases, services.records)
    return hospital


@pytest.fixture
def viewer(browser: Browser, viewer_url: str, hospital: Hospital, study: Study) -> Iterator[Viewer]:
    """A window in which our organ SEG is loaded for editing."""
    with reading(browser, viewer_url, study) as viewer:
        viewer.load_seg(ORGANS_SEG)
        yield viewer


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


@pytest.fixture
def on_record(room: ReadingRoom, hospital: Hospital) -> Iterator[None]:
    """What is saved goes on the hospital's own record."""
    with room.records_of(hospital.services.settings.home):
        yield


def test_what_is_painted_and_erased_is_what_is_learnt_and_who_saved_it_is_proven(
    on_record: None, viewer: Viewer, study: Study, hospital: Hospital
) -> None:
    k = largest(study, "Stomach")
    stomach, liver = (np.array(middle(study, label, k)) for label in ("Stomach", "Liver"))
    viewer.select("Stomach")
    viewer.show(study.images[k])
    viewer.tool("Brush", radius_mm=12)
    viewer.stroke(stomach, (stomach + liver) / 2)  # out of the stomach and into the liver
    viewer.select("Liver")
    viewer.show(study.images[k + 1])
    viewer.tool("Eraser", radius_mm=10)
    viewer.stroke(np.add(liver, (0, 0, 5)), np.add(liver, (10, 10, 5)))
    viewer.save()
    uid = taken_in(hospital, study)
    difference = counted(hospital.archive, study, uid)
    [kept] = hospital.services.records.corrections()
    assert (kept.sop_instance_uid, kept.sent_uid) == (uid, study.objects[0].sop_instance_uid)
    assert (kept.release, kept.status, kept.questions) == (2, "correction", ())
    acts = [hospital.services.records.last(kind) for kind in (SavedInViewer, CorrectionRecorded)]
    assert [(one.who, one.proof) for one in acts if one] == 2 * [(NAME, Proof("owner", "local"))]
    assert (kept.reader, chain_faults(hospital.services.records.lines())) == (NAME, [])
    assert told(kept.organs) == difference
    [case] = hospital.services.records.cases(Purpose.TUNING)
    assert case.case_id == hospital.services.cases.pseudonym(kept.name)
    taught = hospital.worker.documents[uid].teaches
    assert {organ(key).label for key in taught} == set(difference)
    assert difference["Stomach"].added > 100
    assert difference["Stomach"].removed == 0
    assert difference["Liver"].added == 0
    assert difference["Liver"].removed > 150
    by_overpaint = {one.organ: one.by_overpaint_voxels for one in kept.organs}
    assert 0 < by_overpaint["liver"] < difference["Liver"].removed  # the brush took some, the eraser the rest


def test_a_deleted_and_an_added_segment_are_asked_about_and_not_learnt(
    viewer: Viewer, study: Study, hospital: Hospital
) -> None:
    k = largest(study, "Left kidney")
    outside = np.add(middle(study, "Left kidney", k), (0, 75, 0))  # behind the kidney: muscle
    viewer.delete_segment("Pancreas")
    viewer.add_segment("Lesion")  # at once: no late count of volumes puts the list of segments back
    assert viewer.counts_no_volumes()
    viewer.select("Lesion")
    viewer.show(study.images[k])
    viewer.tool("Brush", radius_mm=6)
    viewer.stroke(outside)
    viewer.save("Corrected")
    uid = taken_in(hospital, study)
    difference = counted(hospital.archive, study, uid)
    assert difference.pop("Lesion").added > 10
    assert difference.pop("Pancreas") == Change(0, int(study.truth["Pancreas"].sum()))
    [kept] = hospital.services.records.corrections()
    assert (kept.sop_instance_uid, kept.status) == (uid, "correction")
    assert [(one.label, one.why) for one in kept.questions] == [
        ("", "not-recognised"),
        ("Pancreas", "not-returned"),
    ]
    assert told(kept.organs) == difference == {}
    assert {one.organ: one.state for one in kept.organs}["pancreas"] is OrganState.NOT_REVIEWED
    assert hospital.services.records.cases(Purpose.TUNING) == ()


def test_saved_unchanged_teaches_nothing(viewer: Viewer, study: Study, hospital: Hospital) -> None:
    viewer.save()
    uid = taken_in(hospital, study)
    assert counted(hospital.archive, study, uid) == {}
    document = hospital.worker.documents[uid]
    assert (document.status, document.kept, document.teaches) == ("ours-unchanged", False, ())
    assert all((one.added_voxels, one.removed_voxels) == (0, 0) for one in document.organs)
    records = hospital.services.records
    assert valid_words(records.corrections()) == {}
    assert records.cases(Purpose.TUNING) == ()
