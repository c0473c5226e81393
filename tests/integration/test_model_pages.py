"""What the model owner's pages show of a gated site."""

from __future__ import annotations

import re

from models.documents import to_json
from models.uids import SeriesUid, StudyUid
from services.records.entries.arrivals import Arrival, ArrivalState
from services.records.events.results import BoundsChecked, CheckedBound, StudySegmented
from services.releases.gate_pages import pictures_of
from services.releases.gate_reports import report_file
from services.wiring import Services
from tests.support.listed import NOON
from tests.support.owner_desk import (
    AUDITOR,
    OPERATOR,
    READER,
    WHY,
    Desk,
    cells,
    desk,
    gated,
    last,
    services,
)
from tests.support.promotion import (
    BETTER,
    add_candidate,
    gate_document,
)

__all__ = ["desk", "gated", "services"]


def test_the_page_says_what_report_and_evidence_pack_say(desk: Desk, services: Services) -> None:
    add_candidate(services, 3, {"liver": 1, "spleen": 5})
    refused = gate_document(3, services)
    text = desk.text("/model/candidates/3")
    assert "Release 3: refused by the gate" in text
    shown = cells(text)
    for organ in refused["organs"]:
        for reason in organ["reasons"]:
            assert {reason["code"], reason["detail"], reason["decision"]} <= set(shown)
    (spleen,) = [one for one in refused["organs"] if one["organ"] == "spleen"]
    found = spleen["gate_set"]
    row = shown[shown.index("Spleen", shown.index("gain where corrected")) :]
    assert row[1:6] == [
        str(found["patients"]),
        f"{found['incumbent']:.3f}",
        f"{found['candidate']:.3f}",
        f"{found['mean']:+.3f}",
        f"{found['lower_bound']:+.3f}",
    ]
    assert desk.browser.get("/model/candidates/3/report.json").json() == refused
    assert "It cannot be promoted by you now" in text
    assert "worse-than-incumbent" in text
    assert "/promote" not in text


def test_its_pictures_are_those_of_the_reports_page(desk: Desk, services: Services) -> None:
    said = last(services).decided.said
    kept = report_file(services.releases.folder, 2, str(said.trial)).with_suffix(".html")
    pictures = pictures_of(kept.read_bytes())
    assert any(one.section == "The worst cases" and one.part.startswith("Spleen") for one in pictures)
    text = desk.text("/model/candidates/2")
    for index, one in enumerate(pictures):
        assert desk.browser.get(f"/model/candidates/2/pictures/{index}").content == one.png
        assert one.caption in text
    assert desk.browser.get(f"/model/candidates/2/pictures/{len(pictures)}").status_code == 404
    assert desk.browser.get("/model/candidates/2/report.html").content == kept.read_bytes()
    kept.chmod(0o644)
    kept.write_bytes(kept.read_bytes().replace(b"Spleen", b"Liver_"))
    edited = desk.text("/model/candidates/2")
    assert "is not the one on record" in edited
    assert "/pictures/" not in edited
    assert desk.browser.get("/model/candidates/2/pictures/0").status_code == 503
    kept.unlink()
    assert "No pictures are kept" in desk.text("/model/candidates/2")


def test_after_a_rollback_the_decision_that_stands_again_is_shown(desk: Desk, services: Services) -> None:
    add_candidate(services, 3, {"liver": 1, "spleen": 2})
    first = gate_document(3, services)
    desk.post("/model/candidates/2/promote", report=last(services).decided.said.report, reason=WHY)
    gate_document(3, services)
    assert last(services, 3).decided.said.against == 2
    desk.post("/model/roll-back", number=1, incumbent=2, reason="it misses spleens")
    assert gate_document(3, services) == first, "it is not decided again"
    assert last(services, 3).decided.said.against == 1


def test_who_may_not_look_at_studies_sees_no_picture(desk: Desk) -> None:
    desk.sit(OPERATOR)
    text = desk.text("/model/candidates/2")
    assert "Its pictures show patients" in text
    assert "<img" not in text
    assert "report.html" not in text
    for path in ("report.html", "pictures/0"):
        assert desk.browser.get(f"/model/candidates/2/{path}").status_code == 403


def test_a_report_that_is_gone_hides_nothing_else(desk: Desk, services: Services) -> None:
    said = last(services).decided.said
    report_file(services.releases.folder, 2, str(said.trial)).unlink()
    text = desk.text("/model/candidates/2")
    assert "cannot be read" in text
    assert "What it learnt" in text
    desk.app.state.weekly.wait()
    assert "Release 1 serves" in desk.text("/model")


def test_who_may_not_sees_state_and_reasons_and_no_button(desk: Desk, services: Services) -> None:
    desk.sit(AUDITOR)
    text = desk.text("/model/candidates/2")
    assert "Approvers promote." in text
    assert not re.search(r"/(promote|decline|roll-back)\"", text)
    report = last(services).decided.said.report
    for path, fields in (
        ("/model/candidates/2/promote", {"report": report, "reason": WHY}),
        ("/model/candidates/2/decline", {"reason": WHY}),
        ("/model/candidates/2/finish", {}),
        ("/model/roll-back", {"number": 1, "incumbent": 1, "reason": WHY}),
    ):
        assert "promote, decline and roll back releases" in desk.post(path, 403, **fields)
    desk.sit(READER)
    for path in ("", "/2", "/2/report.json", "/2/report.html", "/2/pictures/0", "/2/release.json"):
        assert desk.browser.get(f"/model/candidates{path}").status_code == 403
    assert services.records.incumbent() == 1


def test_the_first_page_says_what_serves_and_how_it_fares(desk: Desk, services: Services) -> None:
    records = services.records
    uid = StudyUid("1.2.1")
    records.first_written("r1", NOON)
    records.record_result("r1", study_uid=uid, series_uid=SeriesUid("1.3.1"), release=1, objects={}, site="A")
    flags: dict[str, str | None] = {"liver": "review", "spleen": "clear"}
    records.record(StudySegmented(study_uid=uid, release=1, seconds={}, flags=flags), who="segment_study")
    for held in (3, 2):
        checked = {"liver": CheckedBound(held, 4, 0.9, broken=held == 2)}
        records.record(BoundsChecked(release=1, drawn=9, reviewed=4, organs=checked), who="check_bounds")
    refused = Arrival(StudyUid("1.2.2"), StudyUid("1.2.2"), ArrivalState.REFUSED, code="missing-slices")
    records.change_arrival(None, refused)
    assert "are being counted" in desk.text("/model")
    desk.app.state.weekly.wait()
    text = desk.text("/model")
    assert "Release 1 serves" in text
    assert "by IT: first release" in text
    assert re.search(r'/model/candidates/2">Release 2</a>: waits for a person', text)
    assert "Not for clinical use." in text
    assert "The site is silent" in text
    shown = cells(text)
    liver = shown.index("Liver")
    assert shown[liver + 1 : liver + 4] == ["1", "100", "0"]
    assert "A 100" in shown
    assert re.search(r"broken:</strong> 2 of 4, 90 % promised", text)
    assert "3 of 4" in shown
    assert shown[shown.index("missing-slices") :][:3] == ["missing-slices", "refused", "1"]
    assert "1.2.2" in text
    assert "no worker has started here" in text


def test_the_servers_are_asked_one_by_one(desk: Desk, services: Services) -> None:
    told = desk.text("/model/servers")
    assert "Loaded on 1 of 1 servers." in told
    assert services.segmenter.profile(1) in told
    desk.sit(READER)
    assert desk.browser.get("/model/servers").status_code == 403
    assert desk.browser.get("/model").status_code == 403


def test_the_list_says_how_far_each_release_has_come(desk: Desk, services: Services) -> None:
    add_candidate(services, 3, BETTER)
    shown = cells(desk.text("/model/candidates"))
    assert "serves" in shown
    assert "waits for the gate" in shown
    gone = desk.browser.get("/model/candidates/9")
    assert (gone.status_code, "no-such-release" in gone.text) == (404, True)
    for report in ("report.json", "report.html"):
        none = desk.browser.get(f"/model/candidates/3/{report}")
        assert (none.status_code, "no-report" in none.text) == (404, True)
    assert "It has not decided on this release." in desk.text("/model/candidates/3")
    assert "the gate has not decided on it" in desk.text("/model/candidates/3")
    assert to_json(last(services).document)["decision"].replace("-", " ") in desk.text("/model/candidates/2")
