"""What became of a correction, and what the next night would learn: two answers that change nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from flows.cases.erase import erase
from flows.corrections.fate import fates
from flows.corrections.ingest import memory_of
from flows.corrections.withdraw import withdraw
from flows.tuning.plan import plan
from flows.tuning.tonight import Night, tonight
from models.corrections import label_doubts
from models.errors import Refused
from models.masks import BoxedMask
from models.tuning.document import Climb, TriedLevel, TuningReport
from services.cases import tuning_evidence as evidence
from services.cases.store import CaseContent, CaseStore
from services.records.entries.arrivals import Arrival, ArrivalState
from services.records.entries.cases import Case
from services.records.entries.releases import ReleaseState
from services.records.events.candidates import TuningDeclined
from services.records.store import SqlRecords
from services.wiring import Services
from tests.support.learning import ORGANS, TUNING, Site, tune_document
from tests.support.returned_segs import everything


def said(services: Services, uid: str) -> dict[str, tuple[str, list[int]]]:
    """Return by organ what became of the one correction of a UID, and the releases that learnt it."""
    (fate,) = fates(uid, services, TUNING)
    return {one.organ: (one.code, [each.release for each in one.learnt]) for one in fate.organs}


def names(services: Services) -> list[str]:
    return [one.name for one in services.records.corrections()]


def home_of(services: Services) -> dict[str, str]:
    """Return the digest of every file of a home but the database's own, which is compared row by row."""
    home = services.settings.home
    return {
        str(path.relative_to(home)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(home.rglob("*"))
        if path.is_file() and not path.name.startswith("records.sqlite")
    }


def rows_of(services: Services) -> dict[str, list[tuple[Any, ...]]]:
    assert isinstance(services.records, SqlRecords)
    return everything(services.records)


def test_before_the_night_each_correction_says_that_it_will_be_learnt(corrected: Site) -> None:
    services = corrected.services
    for name in names(services):
        found = said(services, name)
        assert found.pop("liver")[0] in ("not-reviewed", "by-overpaint")
        assert found == {"stomach": ("tonight", []), "aorta": ("tonight", [])}
    night = tonight(services, TUNING)
    run = plan(services, None, TUNING)
    assert (night.night, night.incumbent, night.release) == (Night.TUNES, 1, None)
    assert {one.organ: (one.learns, one.code, one.studies, one.patients) for one in night.organs} == {
        "liver": (False, "too-few-studies", 0, 0),
        "stomach": (True, "", 3, 3),
        "aorta": (True, "", 3, 3),
    }
    assert [(one.correction, one.organs) for one in night.cases] == [
        (one.correction, one.organs) for one in run.evidence.corrected
    ]
    assert (night.older, night.replayed_at_most, night.refused) == (0, 0, ())


def test_what_tonight_says_is_what_the_night_does(
    tuned: tuple[Site, dict[str, Any]], corrected: Site
) -> None:
    night, document = tonight(corrected.services, TUNING), tuned[1]
    assert [one.organ for one in night.organs if one.learns] == document["organs"]
    assert {one.organ: f"{one.code}: {one.detail}" for one in night.organs if not one.learns} == document[
        "left_out"
    ]
    assert {one.organ: one.studies for one in night.organs if one.learns} == {
        organ: counts["corrected"] for organ, counts in document["studies"].items()
    }


@pytest.mark.parametrize(
    ("state", "incumbent"),
    [("candidate", 1), ("refused", 1), ("declined", 1), ("promoted", 2)],
)
def test_a_learnt_correction_names_its_release_and_how_far_that_came(
    tuned: tuple[Site, dict[str, Any]], tmp_path: Path, state: str, incumbent: int
) -> None:
    services = tuned[0].copy(tmp_path).services
    digest = services.releases.release(2).digest
    if state == "declined":
        services.records.decline(2, digest, approver="Dr B", reason="too small")
    else:
        services.records.record_release(2, digest, ReleaseState(state))
    if incumbent == 2:
        services.records.set_incumbent(2, approver="test", reason="gate passed", replacing=1)
    for name in names(services):
        (fate,) = fates(name, services, TUNING)
        of = {one.organ: one for one in fate.organs}
        for organ in tuned[1]["organs"]:
            assert of[organ].code == "learnt"
            (found,) = of[organ].learnt
            assert (found.release, found.state, found.serves) == (2, state, incumbent == 2)
    night = tonight(services, TUNING)
    assert (night.night, night.release) == (
        (Night.LEARNT_ALREADY, 2) if incumbent == 1 else (Night.NOTHING_TO_LEARN, None)
    )


def test_why_a_correction_is_not_learnt_is_said_organ_by_organ(
    corrected: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = corrected.copy(tmp_path).services
    first, second, third = names(services)
    with monkeypatch.context() as patched:
        patched.setattr(evidence, "FEWEST_EDITED_STUDIES", 4)
        assert said(services, first)["aorta"] == ("too-few-studies", [])
    with monkeypatch.context() as patched:
        patched.setattr(label_doubts, "TOO_LARGE", 1e-6)
        assert said(services, first)["aorta"] == ("absurd-volume", [])
        refused = {(one.organ, one.correction, one.code) for one in tonight(services, TUNING).refused}
        assert ("aorta", first, "absurd-volume") in refused
        assert tonight(services, TUNING).night is Night.NOTHING_TO_LEARN
    withdraw(first, "Dr A", "wrong phase", services.records, services.releases)
    assert said(services, first) == dict.fromkeys(ORGANS, ("withdrawn", []))
    assert said(services, second)["aorta"] == ("too-few-studies", []), "two are left"
    erase(str(corrected.folder / "ct-2"), "Dr A", "consent withdrawn", services)
    assert said(services, second)["aorta"] == ("patient-erased", [])
    assert said(services, third)["aorta"] == ("too-few-studies", [])


def test_a_damaged_case_is_named_and_an_organ_that_no_label_shows_is_not_learnt(
    corrected: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = corrected.copy(tmp_path).services
    first, second, _ = names(services)
    path = services.cases.folder / services.cases.pseudonym(first) / "volume.nii.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert said(services, first)["aorta"] == ("case-damaged", [])
    assert said(services, second)["aorta"] == ("too-few-studies", [])
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    read = CaseStore.read

    def deleted(store: CaseStore, case: Case) -> CaseContent:
        found = read(store, case)
        aorta = found.labels["aorta"]
        empty = replace(aorta, inside=BoxedMask.empty(aorta.inside.shape))
        return replace(found, labels={**found.labels, "aorta": empty})

    monkeypatch.setattr(CaseStore, "read", deleted)
    night = tonight(services, TUNING)
    assert {one.organ: one.code for one in night.organs} == {
        "liver": "too-few-studies", "stomach": "", "aorta": "never-shown",
    }  # fmt: skip
    assert {one.organs for one in night.cases} == {("stomach",)}
    assert said(services, first)["aorta"] == ("never-shown", [])


def test_what_was_tried_in_vain_says_how_its_ladder_ended(corrected: Site, tmp_path: Path) -> None:
    services = corrected.copy(tmp_path).services
    run = plan(services, None, TUNING)
    rung = TriedLevel("incumbent", 0, None, None, None)
    ladders = {organ: Climb("no-gain", None, None, (rung,)) for organ in run.evidence.organs}
    report = TuningReport(ladders=ladders, levels=dict.fromkeys(ladders, "incumbent"))
    declined = TuningDeclined(run=run.key, report=report, seconds={"total": 1.0})
    services.records.record(declined, who="tune_heads", key=run.key)
    (fate,) = fates(names(services)[0], services, TUNING)
    aorta = next(one for one in fate.organs if one.organ == "aorta")
    assert aorta.code == "no-better"
    assert "no-gain" in aorta.detail
    assert tonight(services, TUNING).night is Night.NO_BETTER
    assert tune_document(services, settings=TUNING)["release"] is None, "as it says"


def test_a_study_names_all_that_came_of_it_the_refused_too(corrected: Site, tmp_path: Path) -> None:
    services = corrected.copy(tmp_path).services
    (one, *_) = services.records.corrections()
    refused = Arrival(
        "1.2.3", one.study_uid, ArrivalState.REFUSED, code="grid-mismatch", detail="Other.", touched=False
    )
    services.records.change_arrival(None, refused)
    found = fates(one.study_uid, services, TUNING)
    assert [(each.correction, each.code) for each in found] == [(one.name, "kept"), (None, "grid-mismatch")]
    assert [each.code for each in fates("1.2.3", services, TUNING)] == ["grid-mismatch"]
    services.records.change_arrival(None, Arrival("1.2.4", "1.9.9", touched=False))
    assert [each.code for each in fates("1.9.9", services, TUNING)] == ["waiting"]
    with pytest.raises(Refused, match="unknown-correction"):
        fates("1.2.99", services, TUNING)


def test_both_verbs_answer_and_change_nothing(
    corrected: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = corrected.copy(tmp_path).services
    monkeypatch.setenv("ORGANLOOP_HOME", str(services.settings.home))
    name = names(services)[0]
    memory_of(services.settings)
    before = rows_of(services), home_of(services)
    for words in (["tonight"], ["corrections", name], ["corrections"], ["releases"], ["arrivals"]):
        for more in ([], ["--json"]):
            answer = CliRunner().invoke(app, [*words, *more])
            assert answer.exit_code == 0, answer.output
            if more:
                json.loads(answer.stdout)
    assert (rows_of(services), home_of(services)) == before
    night = json.loads(CliRunner().invoke(app, ["tonight", "--json"]).stdout)
    assert (night["night"], [one["organ"] for one in night["organs"]]) == ("tunes", list(ORGANS))
    (fate,) = json.loads(CliRunner().invoke(app, ["corrections", name, "--json"]).stdout)
    assert (fate["correction"], fate["code"]) == (name, "kept")
    unknown = CliRunner().invoke(app, ["corrections", "1.2.99", "--json"])
    assert (unknown.exit_code, json.loads(unknown.stdout)["code"]) == (3, "unknown-correction")
