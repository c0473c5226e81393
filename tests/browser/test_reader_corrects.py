"""The reader in OHIF: what is asked about is not learnt, and what is saved unchanged teaches nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser

from models.corrections.ledger import OrganState
from services.cases.disagreements import valid_words
from services.records.entries.cases import Purpose
from tests.browser.conftest import ORGANS_SEG, Study, reading
from tests.browser.returned import counted, largest, middle, taken_in, told
from tests.browser.viewer import Viewer
from tests.browser.voxels import Change
from tests.support.arrivals import Hospital


@pytest.fixture
def viewer(browser: Browser, viewer_url: str, hospital: Hospital, study: Study) -> Iterator[Viewer]:
    """A window in which our organ SEG is loaded for editing."""
    with reading(browser, viewer_url, study) as viewer:
        viewer.load_seg(ORGANS_SEG)
        yield viewer


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
