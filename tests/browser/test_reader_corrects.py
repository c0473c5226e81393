"""The reader at work: what is painted and erased in OHIF is what we learn, to the voxel, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser
from scipy.ndimage import center_of_mass

from flows.ingest_correction import ingest
from flows.returned_seg import Memory
from models.organs import organ
from services.cases.store import CaseStore
from services.records.port import Purpose
from services.records.store import open_records
from services.settings import Settings
from services.wiring import archive_of
from tests.archive import Archive
from tests.browser.conftest import ORGANS_SEG, Study, reading
from tests.browser.viewer import Point, Viewer
from tests.browser.voxels import Change, changes, masks_of
from tests.returned_segs import put_on_record


@pytest.fixture
def viewer(browser: Browser, viewer_url: str, archive: Archive, study: Study) -> Iterator[Viewer]:
    """A window in which our organ SEG is loaded for editing."""
    with reading(browser, viewer_url, archive, study) as viewer:
        viewer.load_seg(ORGANS_SEG)
        yield viewer


@pytest.fixture
def memory(archive: Archive, study: Study, tmp_path: Path) -> Iterator[Memory]:
    """What was sent is on record; the rest is found in the archive."""
    records = open_records(f"sqlite:///{tmp_path / 'records.sqlite'}")
    put_on_record(records, study.organ_seg, study.folder / "ct")
    pacs = archive_of(Settings(home=tmp_path, orthanc_url=archive.url))
    yield Memory(records, CaseStore(tmp_path / "cases"), (3.0, 3.0, 3.0), pacs, tmp_path / "work")
    records.close()


def saved(archive: Archive, study: Study) -> str:
    """Return the SOP Instance UID of the one SEG that we did not send."""
    sent = {path.read_bytes() for path in (study.folder / "results").iterdir()}
    uids = [one["SOPInstanceUID"] for one in archive.instances(Modality="SEG")]
    [uid] = [uid for uid in uids if archive.bytes_of(uid) not in sent]
    return str(uid)


def counted(archive: Archive, study: Study, uid: str) -> dict[str, Change]:
    """Return the difference to what was sent, counted apart from our readers."""
    before, after = study.organ_seg.read_bytes(), archive.bytes_of(uid)
    return changes(masks_of(before, study.images), masks_of(after, study.images))


def told(document: dict[str, Any]) -> dict[str, Change]:
    """Return the difference as our ledger tells it."""
    ledger = {
        organ(one["organ"]).label: Change(one["added_voxels"], one["removed_voxels"])
        for one in document["organs"]
    }
    return {label: change for label, change in ledger.items() if change != Change(0, 0)}


def middle(study: Study, label: str, k: int) -> Point:
    """Return the middle of an organ on slice k."""
    return study.ct.volume.geometry.to_lps((k, *center_of_mass(study.truth[label][k])))


def largest(study: Study, label: str) -> int:
    """Return the slice on which an organ is largest."""
    return int(study.truth[label].sum(axis=(1, 2)).argmax())


def test_what_is_painted_and_erased_is_what_is_learnt(
    viewer: Viewer, study: Study, archive: Archive, memory: Memory
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
    uid = saved(archive, study)
    difference = counted(archive, study, uid)
    document = ingest(uid, memory=memory)
    assert (document["status"], document["questions"]) == ("correction", [])
    assert told(document) == difference
    assert document["kept"]
    assert {organ(key).label for key in document["teaches"]} == set(difference)
    assert difference["Stomach"].added > 100
    assert difference["Stomach"].removed == 0
    assert difference["Liver"].added == 0
    assert difference["Liver"].removed > 150
    by_overpaint = {one["organ"]: one["by_overpaint_voxels"] for one in document["organs"]}
    assert 0 < by_overpaint["liver"] < difference["Liver"].removed  # the brush took some, the eraser the rest


def test_a_deleted_and_an_added_segment_are_asked_about_and_not_learnt(
    viewer: Viewer, study: Study, archive: Archive, memory: Memory
) -> None:
    k = largest(study, "Left kidney")
    outside = np.add(middle(study, "Left kidney", k), (0, 75, 0))  # behind the kidney: muscle
    viewer.delete_segment("Pancreas")
    viewer.add_segment("Lesion")
    viewer.select("Lesion")
    viewer.show(study.images[k])
    viewer.tool("Brush", radius_mm=6)
    viewer.stroke(outside)
    viewer.save("Corrected")
    uid = saved(archive, study)
    difference = counted(archive, study, uid)
    assert difference.pop("Lesion").added > 10
    assert difference.pop("Pancreas") == Change(0, int(study.truth["Pancreas"].sum()))
    document = ingest(uid, memory=memory)
    assert document["status"] == "correction"
    assert [(one["label"], one["why"]) for one in document["questions"]] == [
        ("Lesion", "not-recognised"),
        ("Pancreas", "not-returned"),
    ]
    assert told(document) == difference == {}
    assert {one["organ"]: one["state"] for one in document["organs"]}["pancreas"] == "not-reviewed"
    assert memory.records.cases(Purpose.TUNING) == ()


def test_saved_unchanged_teaches_nothing(
    viewer: Viewer, study: Study, archive: Archive, memory: Memory
) -> None:
    viewer.save()
    uid = saved(archive, study)
    assert counted(archive, study, uid) == {}
    document = ingest(uid, memory=memory)
    assert (document["status"], document["kept"]) == ("ours-unchanged", False)
    assert told(document) == {}
    assert memory.records.corrections() == memory.records.cases(Purpose.TUNING) == ()
