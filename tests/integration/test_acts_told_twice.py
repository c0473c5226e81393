"""An act whose end is reached already: the same words are told again, other words are refused, never lost."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from flows.cases.erase import erase
from flows.corrections.withdraw import withdraw
from flows.promotion import promote as promote_release
from flows.promotion.roll_back import Declined, RolledBack, decline, rollback
from models.errors import Refused
from services.records.entries.corrections import Correction
from services.wiring import Services
from tests.support.killed import Killed
from tests.support.log import lines
from tests.support.promotion import BETTER, Gated, add_candidate, copy_of, gated_site, small_canary

WHO = ("Dr B", "better spleens at site B")
OTHER = ("Dr C", "seen on the ward")

promote = partial(promote_release.promote, canary=small_canary)


def declined_by(number: int, services: Services, approver: str, reason: str) -> Declined:
    return decline(number, approver, reason, services.records, services.releases, services.repository)


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Gated:
    return gated_site(tmp_path_factory.mktemp("gated"), 10)


@pytest.fixture
def services(gated: Gated, tmp_path: Path) -> Services:
    """A site of its own, where release 1 serves and release 2 passed the gate and is loaded."""
    return copy_of(gated, tmp_path / "home")


def test_a_second_persons_promotion_of_what_serves_is_refused_and_names_the_first(services: Services) -> None:
    document = promote(2, services, *WHO)
    before = lines(services.records)
    assert promote(2, services, *WHO) == document, "the same act, told again"
    for other in (OTHER, (WHO[0], "another reason")):
        with pytest.raises(Refused, match="is-incumbent") as refusal:
            promote(2, services, *other)
        assert (refusal.value.measured["approver"], refusal.value.measured["reason"]) == WHO
        assert "nothing of what was said now is on record" in refusal.value.detail
    assert lines(services.records) == before


def test_what_was_never_promoted_is_not_promoted_by_serving(services: Services) -> None:
    with pytest.raises(Refused, match="is-incumbent"):
        promote(1, services, *WHO)
    promote(2, services, *WHO)
    rollback(None, services, *OTHER)
    with pytest.raises(Refused, match="is-incumbent") as refusal:
        promote(1, services, *OTHER)  # its words are those of the rollback
    assert refusal.value.measured["approver"] == "Dr C"


def test_another_persons_call_completes_a_promotion_that_was_cut_short_and_is_refused(
    services: Services,
) -> None:
    def killed(message: str) -> None:
        if message == "asking the golden studies":
            raise Killed

    with pytest.raises(Killed):
        promote(2, services, *WHO, killed)
    assert lines(services.records, "release-promoted") == ()
    with pytest.raises(Refused, match="is-incumbent"):
        promote(2, services, *OTHER)
    (done,) = lines(services.records, "release-promoted")
    assert (done.who, done.payload["reason"]) == WHO


def test_a_promotion_that_another_one_overtook_is_refused(services: Services) -> None:
    def overtaken(message: str) -> None:
        if message == "making release 2 the incumbent":
            services.records.set_incumbent(2, approver=OTHER[0], reason=OTHER[1], replacing=1)

    with pytest.raises(Refused, match="is-incumbent") as refusal:
        promote(2, services, *WHO, overtaken)
    assert refusal.value.measured["approver"] == "Dr C"


def test_a_rollback_to_what_serves_is_an_act_of_its_own(services: Services) -> None:
    promote(2, services, *WHO)
    document = rollback(None, services, *OTHER)
    assert rollback(1, services, *OTHER) == document, "the same act, told again"
    assert lines(services.records, "incumbent-brought-in") == ()
    again = rollback(1, services, "Dr D", "node 2 is back")
    assert again == RolledBack(1, None, "Dr D", "node 2 is back", ())
    (event,) = lines(services.records, "incumbent-brought-in")
    assert (event.who, event.payload["reason"], event.payload["release"]) == ("Dr D", "node 2 is back", 1)
    assert lines(services.records, "incumbent-changed")[-1].who == "Dr C", "who made it serve stays"


def test_a_second_persons_decline_is_refused_and_names_the_first(services: Services) -> None:
    add_candidate(services, 3, BETTER)
    document = declined_by(3, services, *WHO)
    assert declined_by(3, services, *WHO) == document
    with pytest.raises(Refused, match="declined") as refusal:
        declined_by(3, services, *OTHER)
    assert refusal.value.measured["approver"] == "Dr B"


def test_a_second_persons_withdrawal_is_refused_unless_there_is_more_to_withdraw(services: Services) -> None:
    records = services.records
    saved = Correction("1.2.3", "1.9", "1.1", "1.1.1", 1, "correction", "Dr A", "OHIF", (), content="a" * 64)
    records.record_correction(saved)
    take = partial(withdraw, "1.2.3", records=records, releases=services.releases)
    document = take(*WHO)
    assert take(*WHO) == document
    with pytest.raises(Refused, match="withdrawn") as refusal:
        take(*OTHER)
    assert refusal.value.measured["approver"] == "Dr B"
    assert len(lines(records, "correction-withdrawn")) == 1
    records.record_correction(
        Correction("1.2.3", "1.9", "1.1", "1.1.1", 1, "correction", "Dr A", "OHIF", (), content="b" * 64)
    )
    assert take(*OTHER).reader == "Dr C", "a later save under the same UID is taken back by an act"


def test_a_second_persons_erasure_is_completed_refused_and_names_the_first(services: Services) -> None:
    patient = "gate patient 0"
    document = erase(patient, *WHO, services)
    assert erase(patient, *WHO, services).cases == document.cases
    with pytest.raises(Refused, match="patient-erased") as refusal:
        erase(patient, *OTHER, services)
    assert (refusal.value.measured["approver"], refusal.value.measured["reason"]) == WHO
    assert patient not in refusal.value.detail
