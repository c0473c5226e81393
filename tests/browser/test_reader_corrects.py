"""The reader at work: what is painted, erased, added and deleted in OHIF is what we learn, to the voxel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser
from scipy.ndimage import center_of_mass

from flows.ingest_correction import ingest
from models.organs import organ
from tests.archive import Archive
from tests.browser.conftest import ORGANS_SEG, Study, reading
from tests.browser.viewer import Point, Viewer
from tests.browser.voxels import Change, changes, masks_of


@pytest.fixture
def viewer(browser: Browser, viewer_url: str, archive: Archive, study: Study) -> Iterator[Viewer]:
    """A window in which our organ SEG is loaded for editing."""
    with reading(browser, viewer_url, archive, study) as viewer:
        viewer.load_seg(ORGANS_SEG)
        yield viewer


def saved(archive: Archive, study: Study, folder: Path) -> Path:
    """Fetch the one SEG that we did not send."""
    sent = {path.read_bytes() for path in (study.folder / "results").iterdir()}
    uids = [one["SOPInstanceUID"] for one in archive.instances(Modality="SEG")]
    [content] = [file for file in map(archive.bytes_of, uids) if file not in sent]
    path = folder / "saved.dcm"
    path.write_bytes(content)
    return path


def counted(study: Study, path: Path) -> dict[str, Change]:
    """Return the difference to what was sent, counted apart from our readers."""
    before, after = (masks_of(file.read_bytes(), study.images) for file in (study.organ_seg, path))
    return changes(before, after)


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
    viewer: Viewer, study: Study, archive: Archive, tmp_path: Path
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
    path = saved(archive, study, tmp_path)
    difference = counted(study, path)
    document = ingest(path, study.folder / "ct", study.organ_seg)
    assert (document["status"], document["questions"]) == ("correction", [])
    assert told(document) == difference
    assert difference["Stomach"].added > 100
    assert difference["Stomach"].removed == 0
    assert difference["Liver"].added == 0
    assert difference["Liver"].removed > 150
    by_overpaint = {one["organ"]: one["by_overpaint_voxels"] for one in document["organs"]}
    assert 0 < by_overpaint["liver"] < difference["Liver"].removed  # the brush took some, the eraser the rest


def test_a_deleted_and_an_added_segment_are_asked_about_and_not_learnt(
    viewer: Viewer, study: Study, archive: Archive, tmp_path: Path
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
    path = saved(archive, study, tmp_path)
    difference = counted(study, path)
    assert difference.pop("Lesion").added > 10
    assert difference.pop("Pancreas") == Change(0, int(study.truth["Pancreas"].sum()))
    document = ingest(path, study.folder / "ct", study.organ_seg)
    assert document["status"] == "correction"
    assert [(one["label"], one["why"]) for one in document["questions"]] == [
        ("Lesion", "not-recognised"),
        ("Pancreas", "not-returned"),
    ]
    assert told(document) == difference == {}
    assert {one["organ"]: one["state"] for one in document["organs"]}["pancreas"] == "not-reviewed"


def test_saved_unchanged_teaches_nothing(
    viewer: Viewer, study: Study, archive: Archive, tmp_path: Path
) -> None:
    viewer.save()
    path = saved(archive, study, tmp_path)
    assert counted(study, path) == {}
    document = ingest(path, study.folder / "ct", study.organ_seg)
    assert (document["status"], document["kept"]) == ("ours-unchanged", False)
    assert told(document) == {}
