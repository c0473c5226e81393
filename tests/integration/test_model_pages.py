"""The model owner's pages on a gated site: what they show, and the acts behind their buttons."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from deploy.pages.application import application
from flows.gate.last_report import LastReport, last_report
from flows.promotion.asked import BEGUN_WITHIN, Act, AskedActs, act_of, ask, is_asked
from flows.promotion.promote import promote
from flows.promotion.roll_back import rollback
from models.documents import to_json
from models.people import Person, Role
from models.uids import SeriesUid, StudyUid
from services.records.entries.arrivals import Arrival, ArrivalState
from services.records.entries.releases import ReleaseState
from services.records.events.results import BoundsChecked, CheckedBound, StudySegmented
from services.records.events.serving import (
    ActAsked,
    ActEnded,
    IncumbentChanged,
    ReleasePromoted,
    ReleaseStateChanged,
)
from services.releases.evidence_packs import EvidencePacks
from services.releases.gate_pages import pictures_of
from services.releases.gate_reports import report_file
from services.wiring import Services
from tests.support.killed import Killed
from tests.support.listed import NOON
from tests.support.promotion import (
    BETTER,
    Gated,
    add_candidate,
    copy_of,
    gate_document,
    gated_site,
    small_canary,
)

HERE = "http://127.0.0.1:8500"
OURS = {"accept": "text/html", "origin": HERE}
ITO = Person("i1", "https://id.example", "Dr. Ito", frozenset({Role.APPROVER}))
WEBER = Person("w1", "https://id.example", "Dr. Weber", frozenset({Role.APPROVER, Role.READER}))
AUDITOR = Person("a1", "https://id.example", "Ms. Roth", frozenset({Role.AUDITOR}))
OPERATOR = Person("o1", "https://id.example", "Mr. Oz", frozenset({Role.OPERATOR}))
READER = Person("r1", "https://id.example", "Dr. Lang", frozenset({Role.READER}))
WHY = "better spleens at site B"


class AsIs:
    """A way to sign in by which whoever a test says is there."""

    who: Person = ITO

    def person(self, request: object) -> Person:
        return self.who


class Desk:
    """The pages of a site, and who sits before them."""

    def __init__(self, app: FastAPI, browser: TestClient, services: Services) -> None:
        self.app, self.browser, self._services = app, browser, services

    def work(self) -> None:
        """Do what a worker does that watches."""
        assert is_asked(self._services.records)
        AskedActs(self._services).do()
        assert not is_asked(self._services.records)

    def sit(self, who: Person) -> None:
        self.app.state.way.who = who

    def text(self, path: str) -> str:
        answer = self.browser.get(path)
        assert answer.status_code == 200, answer.text
        return html.unescape(answer.text)

    def post(self, path: str, status: int = 303, **fields: object) -> str:
        answer = self.browser.post(path, data=fields)
        assert answer.status_code == status, answer.text
        if status == 303:
            self.work()
        return html.unescape(answer.text)


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Gated:
    return gated_site(tmp_path_factory.mktemp("gated"), 12)


@pytest.fixture
def services(gated: Gated, tmp_path: Path) -> Services:
    """A site of its own, where release 1 serves and release 2 passed the gate and is loaded."""
    return copy_of(gated, tmp_path / "home")


@pytest.fixture
def desk(services: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """The pages, whose acts reach the servers of the site."""

    def connected(settings, records):
        return replace(services, records=records)

    monkeypatch.setattr("deploy.pages.model.now.connect", connected)
    monkeypatch.setattr("flows.promotion.asked.promote", partial(promote, canary=small_canary))
    app = application(services.settings, HERE)
    app.state.way = AsIs()
    with TestClient(app, base_url=HERE, follow_redirects=False, headers=OURS) as browser:
        yield Desk(app, browser, services)


def last(services: Services, number: int = 2) -> LastReport:
    release = services.releases.release(number)
    found = last_report(release, services.records, services.releases, services.settings)
    assert found is not None
    return found


def killing(*_: object) -> None:
    raise Killed


def cells(text: str) -> list[str]:
    return [one.strip() for one in re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", text)]


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


def test_a_promotion_is_the_act_of_who_signed_in_and_by_the_report_that_was_shown(
    desk: Desk, services: Services
) -> None:
    asked = desk.text("/model/candidates/2/promote")
    (report,) = re.findall(r'name="report" value="([0-9a-f]{64})"', asked)
    assert report == last(services).decided.said.report
    assert "Other heads: Spleen." in asked
    desk.post("/model/candidates/2/promote", report=report, reason=WHY)
    assert services.records.incumbent() == 2
    change = services.records.last(IncumbentChanged)
    assert change is not None
    assert change.proof is not None
    assert (change.who, change.said.reason, change.proof.subject) == ("Dr. Ito", WHY, "i1")
    text = desk.text("/model/candidates/2")
    assert "Release 2: serves" in text
    assert "it was done. Then: release 2 serves, in place of release 1." in text
    done = services.records.last(ReleasePromoted)
    assert done is not None
    assert done.said.evidence is not None
    pack = EvidencePacks(services.releases.folder).read(done.said.evidence)
    assert f"/log/packs/{done.said.evidence}" in text
    assert pack["approval"]["approver"] == "Dr. Ito"
    assert pack["impact_assessment"]["report"] == report
    assert pack["impact_assessment"]["decision"] == last(services).document.decision  # type: ignore[union-attr]


def test_a_report_that_stands_no_more_promotes_nothing(desk: Desk, services: Services) -> None:
    desk.post("/model/candidates/2/promote", report="0" * 64, reason=WHY)
    text = desk.text("/model/candidates/2")
    assert "look at it again (other-report)" in text
    assert services.records.incumbent() == 1


def test_of_two_who_press_at_once_one_is_told(desk: Desk, services: Services) -> None:
    fields = {"report": last(services).decided.said.report, "reason": WHY}
    assert desk.browser.post("/model/candidates/2/promote", data=fields).status_code == 303
    assert "Dr. Ito asked for a promotion on " in desk.text("/model/candidates/2")
    assert "it waits for a worker" in desk.text("/model/candidates/2")
    assert desk.browser.get("/model/candidates/2/act").json()["ended"] is False
    desk.sit(WEBER)
    told = desk.post("/model/candidates/2/promote", 409, **fields)
    assert "Dr. Ito has asked for a promotion of release 2, which is not done yet" in told
    assert "(act-at-work)" in told
    desk.work()
    assert [one.who for one in services.records.all(IncumbentChanged)] == ["IT", "Dr. Ito"]


def test_of_two_who_were_not_told_the_second_changes_nothing(desk: Desk, services: Services) -> None:
    """Two instances of the pages may take both before either is on record."""
    report = last(services).decided.said.report
    asked = ActAsked(act=Act.PROMOTION, release=2, reason=WHY, report=report)
    for who in (ITO, WEBER):
        services.records.signed(who).record(asked, who=who.name)
    desk.work()
    assert [one.who for one in services.records.all(IncumbentChanged)] == ["IT", "Dr. Ito"]
    first, second = services.records.all(ActEnded)
    assert (first.said.code, second.said.code) == ("", "incumbent-changed")
    assert "release 2 has come to serve (Dr. Ito:" in second.said.said


def test_what_nobody_began_in_time_is_not_done_later(desk: Desk, services: Services) -> None:
    fields = {"report": last(services).decided.said.report, "reason": WHY}
    desk.browser.post("/model/candidates/2/promote", data=fields)
    AskedActs(services, lambda: datetime.now(UTC) + BEGUN_WITHIN + timedelta(seconds=1)).do()
    assert services.records.incumbent() == 1
    assert "it was not done: ask again." in desk.text("/model/candidates/2")


def test_an_act_that_was_cut_short_is_done_again_however_late(desk: Desk, services: Services) -> None:
    fields = {"report": last(services).decided.said.report, "reason": WHY}
    desk.browser.post("/model/candidates/2/promote", data=fields)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows.promotion.promote.complete", killing)
        with pytest.raises(Killed):
            AskedActs(services).do()
    assert services.records.incumbent() == 2
    assert is_asked(services.records)
    AskedActs(services, lambda: datetime.now(UTC) + 2 * BEGUN_WITHIN).do()
    (done,) = services.records.all(ReleasePromoted)
    assert done.said.approver == "Dr. Ito"
    assert len(services.records.all(IncumbentChanged)) == 2


def test_an_act_that_was_cut_short_does_not_undo_what_somebody_did_since(
    desk: Desk, services: Services
) -> None:
    fields = {"report": last(services).decided.said.report, "reason": WHY}
    desk.browser.post("/model/candidates/2/promote", data=fields)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows.promotion.promote.complete", killing)
        with pytest.raises(Killed):
            AskedActs(services).do()
    rollback(1, services, "Dr. Weber", "it misses spleens")
    AskedActs(services).do()
    assert services.records.incumbent() == 1
    (ended,) = services.records.all(ActEnded)
    assert ended.said.code == "incumbent-changed"
    assert "release 1 has come to serve (Dr. Weber: it misses spleens)" in ended.said.said


def test_a_rollback_does_not_wait_for_an_act_that_nobody_has_begun(desk: Desk, services: Services) -> None:
    desk.post("/model/candidates/2/promote", report=last(services).decided.said.report, reason=WHY)
    add_candidate(services, 3, BETTER)
    assert desk.browser.post("/model/candidates/3/decline", data={"reason": WHY}).status_code == 303
    fields: dict[str, object] = {"number": 1, "incumbent": 2, "reason": "it misses spleens"}
    assert desk.browser.post("/model/roll-back", data=fields).status_code == 303
    desk.work()
    assert services.records.incumbent() == 1
    assert services.records.release_states()[3] is ReleaseState.DECLINED


def test_where_no_worker_is_there_to_say_so_the_page_says_that_it_was_not_done(
    desk: Desk, services: Services
) -> None:
    fields = {"report": last(services).decided.said.report, "reason": WHY}
    desk.browser.post("/model/candidates/2/promote", data=fields)
    later = datetime.now(UTC) + BEGUN_WITHIN + timedelta(seconds=1)
    told = act_of(2, services.records, later)
    assert told is not None
    assert (told.ended, told.code) == (True, "late")
    ask(ActAsked(act=Act.DECLINE, release=2, reason=WHY), ITO, services.records, later)


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


def test_an_act_that_nobody_has_proven_is_not_done(services: Services) -> None:
    services.records.record(ActAsked(act=Act.DECLINE, release=2, reason=WHY), who="Dr. Ito")
    AskedActs(services).do()
    (ended,) = services.records.all(ActEnded)
    assert ended.said.code == "unproven"
    assert services.records.release_states()[2] is not ReleaseState.DECLINED


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


def test_an_act_without_a_reason_is_refused(desk: Desk, services: Services) -> None:
    report = last(services).decided.said.report
    for path, fields in (
        ("/model/candidates/2/promote", {"report": report}),
        ("/model/candidates/2/decline", {}),
        ("/model/roll-back", {"number": 1, "incumbent": 1}),
    ):
        assert "(no-name)" in desk.post(path, 409, reason="  ", **fields)


def test_a_declined_candidate_says_who_declined_it_and_never_serves(desk: Desk, services: Services) -> None:
    desk.post("/model/candidates/2/decline", reason="the spleen leaks into the stomach")
    act = services.records.last(ReleaseStateChanged, release=2, state=ReleaseState.DECLINED)
    assert act is not None
    assert act.proof is not None
    assert (act.who, act.proof.subject) == ("Dr. Ito", "i1")
    text = desk.text("/model/candidates/2")
    assert "Release 2: declined" in text
    assert "it is declined by Dr. Ito: the spleen leaks into the stomach (declined)" in text
    desk.post("/model/candidates/2/promote", 409, report=last(services).decided.said.report, reason=WHY)
    assert services.records.incumbent() == 1


def test_one_goes_back_from_what_was_shown_and_only_once(desk: Desk, services: Services) -> None:
    desk.post("/model/candidates/2/promote", report=last(services).decided.said.report, reason=WHY)
    asked = desk.text("/model/roll-back")
    assert 'name="incumbent" value="2"' in asked
    assert re.findall(r'<option value="(\d+)"', asked) == ["1"]
    desk.post("/model/roll-back", number=1, incumbent=2, reason="it misses spleens")
    assert services.records.incumbent() == 1
    change = services.records.last(IncumbentChanged)
    assert change is not None
    assert change.proof is not None
    assert (change.said.act, change.who, change.said.reason) == ("rollback", "Dr. Ito", "it misses spleens")
    assert "it was done. Then: release 1 serves again." in desk.text("/model/candidates/1")
    desk.sit(WEBER)
    assert "(incumbent-changed)" in desk.post("/model/roll-back", 409, number=1, incumbent=2, reason="it too")
    assert services.records.last(IncumbentChanged) == change
    assert "none served before it" in desk.text("/model/roll-back")


def test_a_promotion_that_was_cut_short_is_shown_and_finished_as_the_act_of_who_began_it(
    desk: Desk, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.records.signed(WEBER).set_incumbent(2, approver="Dr. Weber", reason=WHY, replacing=1)
    assert "was cut short" not in desk.text("/model/candidates/2"), "golden studies may be asked just now"
    monkeypatch.setattr("deploy.pages.model.candidates.CUT_SHORT", timedelta(0))
    assert "was cut short" in desk.text("/model/candidates/2")
    desk.post("/model/candidates/2/finish")
    assert "was cut short" not in desk.text("/model/candidates/2")
    done = services.records.last(ReleasePromoted)
    assert done is not None
    assert done.said.approver == "Dr. Weber"


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
