"""Which organs learn from which cases: the records asked, no voxel touched."""

from __future__ import annotations

import json

import numpy as np
import pytest

from models.corrections.ledger import OrganLedger, OrganState
from services.cases.older_cases import choose_replayed
from services.cases.store import CaseStore
from services.cases.tuning_evidence import FEWEST_REPLAYED, LabelledCase, gather
from services.records.entries.cases import Case, Purpose
from services.records.entries.corrections import Correction
from services.records.store import open_records
from tests.support.tiny_networks import tiny_contract

ASKED = ("liver", "aorta")


def edited(organ: str, overpainted: bool = False) -> OrganLedger:
    added, removed = (0, 9) if overpainted else (9, 9)
    return OrganLedger(organ, OrganState.EDITED, added, removed, 9, 0.1, 0.1, 1.0)


def unedited(organ: str, state: OrganState) -> OrganLedger:
    return OrganLedger(organ, state, 0, 0, 0, 0.0, 0.0, 0.0)


class Reader:
    """Corrects studies and has each kept as a case for tuning."""

    def __init__(self, folder) -> None:
        self.records = open_records(f"sqlite:///{folder / 'records.sqlite'}")
        self.cases = CaseStore(folder / "cases")

    def corrects(
        self, study: str, *organs: OrganLedger, save: int = 1, kept: bool = True, patient: str | None = None
    ) -> str:
        uid = f"{study}.{save}"
        self.records.record_correction(
            Correction(uid, f"{study}.0", study, f"{study}.5", 1, "correction", "R", "OHIF", organs)
        )
        if kept:
            self.keeps(uid, patient or study, "edited-from-1")
        return uid

    def keeps(self, name: str, patient: str, origin: str) -> str:
        case = Case(
            self.cases.pseudonym(name), Purpose.TUNING, self.cases.pseudonym(patient), origin, "0" * 64
        )
        self.records.add_case(case)
        return case.case_id

    def gather(self, learnt=(), asked=ASKED, organs=ASKED):
        return gather(self.records, self.cases, {(name, organ) for name in learnt for organ in organs}, asked)


@pytest.fixture
def reader(tmp_path):
    made = Reader(tmp_path)
    yield made
    made.records.close()


def test_only_edits_that_are_believed_are_counted_as_evidence_again(reader):
    uids = [reader.corrects(f"1.{n}", edited("aorta")) for n in range(4)]
    uids += [reader.corrects(f"2.{n}", unedited("aorta", OrganState.ACCEPTED)) for n in range(2)]
    found, cases = reader.gather(), [reader.cases.pseudonym(uid) for uid in uids]
    assert len(found.corrected) == 6
    assert found.too_little_without("aorta", cases[:1]) is None
    assert found.too_little_without("aorta", cases[4:]) is None, "what was accepted is no evidence"
    why = "too-few-studies: edited in 2 new studies, 3 are needed"
    assert found.too_little_without("aorta", cases[:2]) == why


def test_an_organ_edited_in_three_studies_learns_and_others_are_left_out_with_a_reason(reader):
    uids = [reader.corrects(f"1.{n}", edited("aorta"), edited("liver", overpainted=True)) for n in range(3)]
    found = reader.gather()
    assert found.organs == ("aorta",)
    assert found.left_out == {"liver": "too-few-studies: edited in 0 new studies, 3 are needed"}
    assert [one.correction for one in found.corrected] == uids
    assert {one.organs for one in found.corrected} == {("aorta",)}
    assert found.older == ()


def test_two_studies_or_one_study_saved_three_times_are_not_enough(reader):
    for save in (1, 2, 3):
        reader.corrects("1.1", edited("aorta"), save=save)
    reader.corrects("1.2", edited("aorta"))
    found = reader.gather()
    assert (found.organs, found.corrected) == ((), ())
    assert found.left_out["aorta"] == "too-few-studies: edited in 2 new studies, 3 are needed"


def test_of_several_corrections_of_an_organ_the_last_counts(reader):
    for n in range(3):
        reader.corrects(f"1.{n}", edited("aorta"), edited("liver"))
    last = reader.corrects("1.0", edited("aorta"), unedited("liver", OrganState.NOT_REVIEWED), save=2)
    organs = {one.correction: one.organs for one in reader.gather().corrected}
    assert organs == {"1.0.1": ("liver",), "1.1.1": ASKED, "1.2.1": ASKED, last: ("aorta",)}


def test_an_accepted_organ_is_learnt_from_but_is_no_reason_to_tune(reader):
    for n in range(3):
        reader.corrects(f"1.{n}", edited("aorta"), unedited("liver", OrganState.ACCEPTED))
    assert reader.gather().organs == ("aorta",)
    reader.corrects("1.4", unedited("aorta", OrganState.ACCEPTED))
    assert [one.correction for one in reader.gather().corrected][-1] == "1.4.1"


def test_a_correction_kept_out_of_tuning_is_no_evidence(reader):
    for n in range(3):
        reader.corrects(f"1.{n}", edited("aorta"), kept=n > 0)
    assert reader.gather().left_out["aorta"] == "too-few-studies: edited in 2 new studies, 3 are needed"


def test_what_an_ancestor_learnt_is_replayed_and_no_new_evidence(reader):
    learnt = [reader.corrects(f"1.{n}", edited("aorta")) for n in range(3)]
    assert reader.gather(learnt).organs == ()
    new = [reader.corrects(f"2.{n}", edited("aorta")) for n in range(3)]
    found = reader.gather(learnt)
    assert [one.correction for one in found.corrected] == new
    assert sorted(one.correction for one in found.older) == learnt


def test_an_organ_left_as_it_was_keeps_its_evidence_when_its_neighbour_is_tuned(reader):
    first = [reader.corrects(f"1.{n}", edited("aorta"), *[edited("liver")][: n < 2]) for n in range(3)]
    assert reader.gather().organs == ("aorta",), "of the liver two studies are too few"
    new = reader.corrects("2.0", edited("liver"))
    found = reader.gather(first, organs=("aorta",))
    assert found.organs == ("liver",)
    assert [(one.correction, one.organs) for one in found.corrected] == [
        (name, ("liver",)) for name in (*first[:2], new)
    ]
    assert found.older == (), "the aorta is not tuned now"
    again = [reader.corrects(f"3.{n}", edited("aorta")) for n in range(3)]
    found = reader.gather(first, organs=("aorta",))
    assert {one.organs for one in found.corrected if one.correction in again} == {("aorta",)}
    assert {(one.correction, one.organs) for one in found.older} == {(name, ("aorta",)) for name in first}


def test_older_cases_come_in_the_order_of_a_draw_and_the_budget_is_that_of_the_corrections(reader):
    for n in range(FEWEST_REPLAYED + 3):
        reader.keeps(f"old {n}", f"patient {n}", "independent")
    assert reader.gather().older == (), "nothing is tuned, nothing is replayed"
    for n in range(3):
        reader.corrects(f"1.{n}", edited("aorta"))
    found = reader.gather()
    assert (len(found.older), found.budget) == (FEWEST_REPLAYED + 3, FEWEST_REPLAYED)
    assert found.older == reader.gather().older
    assert {(one.organs, one.correction) for one in found.older} == {(("aorta",), None)}


def test_one_patients_studies_are_no_evidence(reader):
    for n in range(3):
        reader.corrects(f"1.{n}", edited("aorta"), patient="one")
    assert reader.gather().left_out["aorta"] == "single-patient: edited in 3 new studies of 1 patient"


def test_tiny_edits_are_no_evidence_and_it_is_said(reader):
    tiny = OrganLedger("aorta", OrganState.EDITED, 2, 0, 0, 0.02, 0.0, 0.1)
    for n in range(4):
        reader.corrects(f"1.{n}", tiny if n < 2 else edited("aorta"))
    said = "tiny-edits: edited in 2 new studies, 2 more by less than 0.05 ml, 3 are needed"
    assert reader.gather().left_out["aorta"] == said


def test_nothing_on_record_makes_no_site_key(reader, tmp_path):
    assert reader.gather().organs == ()
    assert not (tmp_path / "cases").exists()


@pytest.mark.parametrize("doubted", ["liver", "aorta"])
def test_an_organ_of_few_older_cases_is_replayed_beside_one_of_many(reader, tmp_path, doubted):
    """45 cases teach the liver, 3 the aorta: whichever is in doubt, both keep their old site."""
    organs = ["liver"] * 45 + ["aorta"] * 3
    older = [
        LabelledCase(
            Case(f"{n:064d}", Purpose.TUNING, f"p{n}", "edited-from-1", f"{n:064d}"), (organ,), f"c{n}"
        )
        for n, organ in enumerate(organs)
    ]
    random = np.random.default_rng(0)
    volumes = {organ: 100.0 if organ == doubted else 1.0 for organ in ("liver", "aorta")}
    known = {
        one.case.digest: {"importance_ml": volumes, "feature": random.random(8).tolist()} for one in older
    }
    kept = tmp_path / "importance.json"
    kept.write_text(json.dumps(known))

    def never(content):
        raise AssertionError("all is known")

    chosen = choose_replayed(reader.cases, older, 12, ("liver", "aorta"), tiny_contract(), never, kept)
    assert [sum(organ in one.organs for one in chosen) for organ in ("liver", "aorta")] == [9, 3]
