"""Acts that people ask for on the model owner's pages, and a worker does."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from flows.promotion.asked import BEGUN_WITHIN, Act, AskedActs, act_of, ask, is_asked
from flows.promotion.roll_back import rollback
from services.records.entries.releases import ReleaseState
from services.records.events.serving import (
    ActAsked,
    ActEnded,
    IncumbentChanged,
    ReleasePromoted,
    ReleaseStateChanged,
)
from services.releases.evidence_packs import EvidencePacks
from services.wiring import Services
from tests.support.killed import Killed
from tests.support.owner_desk import (
    ITO,
    WEBER,
    WHY,
    Desk,
    desk,
    gated,
    last,
    services,
)
from tests.support.promotion import (
    BETTER,
    add_candidate,
)

__all__ = ["desk", "gated", "services"]


def killing(*_: object) -> None:
    raise Killed


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


def test_an_act_that_nobody_has_proven_is_not_done(services: Services) -> None:
    services.records.record(ActAsked(act=Act.DECLINE, release=2, reason=WHY), who="Dr. Ito")
    AskedActs(services).do()
    (ended,) = services.records.all(ActEnded)
    assert ended.said.code == "unproven"
    assert services.records.release_states()[2] is not ReleaseState.DECLINED


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
