"""Whatever is not taken says so: every verb that refuses, and every list, table and page that shows it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from flows.arrivals.archived_study import note_refused
from flows.cases.erase import erase
from flows.corrections import flow as corrections
from flows.corrections.flow import publish_ledger_task
from flows.corrections.ingest import NO_STRANGER
from flows.corrections.outcome import note_outcome, note_refused_save
from flows.corrections.report import refusal
from flows.corrections.withdraw import withdraw
from flows.gate.gate_candidate import gate_candidate
from flows.promotion.promote import fail_canary
from flows.promotion.roll_back import decline
from flows.promotion.standing import standings
from flows.segmentation import flow as segmentation
from flows.segmentation.flow import publish_task
from flows.speech.speech import speak
from models.corrections.ledger import INDEPENDENT, HybridLabel, Provenance
from models.errors import Refused
from models.geometry import Geometry
from models.masks import BoxedMask
from models.series.verdict import Code
from models.volume import Volume
from services import wiring
from services.cases.store import CaseContent
from services.dicom.seg.frames import SegCode
from services.metrics.tally import Tally
from services.pacs.port import ArchivedSeries, ArchivedStudy
from services.records.entries.arrivals import Arrival, ArrivalState
from services.records.entries.cases import Purpose
from services.records.entries.corrections import Correction
from services.records.entries.releases import ReleaseState
from services.records.store import SqlRecords
from services.wiring import Services
from tests.conftest import ROOT
from tests.support.every_verb import verbs_of
from tests.support.log import lines, write_line
from tests.support.promotion import BETTER, GRID, SHAPE, Gated, add_candidate, copy_of, gated_site
from tests.support.returned_segs import everything
from tests.support.tiny_networks import noisy_body

WHO = ("--approver", "Dr B", "--reason", "seen on the ward")
READER = ("--reader", "Dr B", "--reason", "seen on the ward")
NOBODY = ("--approver", " ", "--reason", "seen on the ward")
FIRST = ("Dr A", "figures read")
ADD = ("--purpose", "gate", "--origin", "independent", "--truth", "TRUTH.npz")

NEVER = {
    "phantom", "up", "down", "status", "doctor", "prepare", "register", "metrics", "bounds", "releases",
    "arrivals", "tonight", "backup", "audit verify", "audit export", "audit witness", "cases list", "tune",
    "compared", "account",
}  # fmt: skip
"""Verbs that refuse nothing before they work: they fail, or answer."""

CASES: list[tuple[str, tuple[str, ...]]] = [
    ("not-dicom", ("check", "FOLDER")),
    ("not-dicom", ("segment", "FILE")),
    ("not-dicom", ("ingest", "FILE")),
    ("not-dicom", ("ingest", "NOTHING")),
    ("no-result", ("accept", "1.2.99", "--organs", "liver", "--reader", "Dr B")),
    ("several-series", ("accept", "1.5", "--organs", "liver", "--reader", "Dr B")),
    ("unknown-organ", ("accept", "1.5", "--series", "1.5.1", "--organs", "aorta", "--reader", "Dr B")),
    ("no-name", ("accept", "1.5", "--series", "1.5.1", "--organs", "liver", "--reader", " ")),
    ("unknown-origin", ("cases", "add", "FOLDER", *ADD, "--origin", "guessed")),
    ("not-dicom", ("cases", "add", "FOLDER", *ADD)),
    ("empty-set", ("cases", "freeze", "--purpose", "calibration")),
    ("unknown-patient", ("cases", "erase", "nobody", *WHO)),
    ("no-name", ("cases", "erase", "gate patient 1", *NOBODY)),
    ("patient-erased", ("cases", "erase", "gate patient 0", *WHO)),
    ("too-few-cases", ("calibrate",)),
    ("too-few-cases", ("train", "--begin", "incumbent")),
    ("is-incumbent", ("gate", "1")),
    ("is-incumbent", ("promote", "1", *WHO)),
    ("refused-by-gate", ("promote", "3", *WHO)),
    ("declined", ("promote", "4", *WHO)),
    ("no-name", ("promote", "2", *NOBODY)),
    ("is-incumbent", ("decline", "1", *WHO)),
    ("declined", ("decline", "4", *WHO)),
    ("no-name", ("decline", "2", *NOBODY)),
    ("no-earlier-incumbent", ("rollback", *WHO)),
    ("no-earlier-incumbent", ("rollback", "3", *WHO)),
    ("no-name", ("rollback", *NOBODY)),
    ("unreadable-checkpoint", ("import-checkpoint", "FILE")),
    ("no-name", ("import-checkpoint", "FILE", "--first")),
    ("incumbent-exists", ("import-checkpoint", "FILE", "--first", *WHO)),
    ("no-name", ("releases", "export", "1", "FILE", "--approver", " ")),
    ("not-a-release-file", ("releases", "import", "FILE")),
    ("no-name", ("releases", "first", "FILE", "--serve", "silently", *NOBODY)),
    ("incumbent-exists", ("releases", "first", "FILE", "--serve", "silently", *WHO)),
    ("unknown-correction", ("withdraw", "1.2.99", *READER)),
    ("withdrawn", ("withdraw", "1.2.3", *READER)),
    ("no-name", ("withdraw", "1.2.3", "--reader", " ", "--reason", "x")),
    ("unknown-correction", ("corrections", "1.2.99")),
    ("not-a-backup", ("restore", "FOLDER")),
    ("no-name", ("speak", *NOBODY)),
    ("speaks-already", ("speak", *WHO)),
    ("no-name", ("silence", *NOBODY)),
    ("nobody-to-tell", ("tell",)),
]


@dataclass(frozen=True)
class Home:
    """A site where 1 serves, 2 passed the gate, 3 was refused by it, 4 was declined by a person."""

    services: Services
    folder: Path

    def command(self, *words: str) -> tuple[int, str]:
        told = [str(self.folder / word) if word in ("FILE", "FOLDER", "NOTHING") else word for word in words]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ORGANLOOP_HOME", str(self.services.settings.home))
            patch.setattr(
                wiring, "connect", lambda _: self.services
            )  # Triton's verbs, served in this process
            result = CliRunner().invoke(app, told)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout

    def listed(self, *words: str) -> Any:
        code, out = self.command(*words, "--json")
        assert code == 0
        return json.loads(out)

    @property
    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        assert isinstance(self.services.records, SqlRecords)
        return everything(self.services.records)


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Gated:
    return gated_site(tmp_path_factory.mktemp("gated"), 12)


@pytest.fixture(scope="module")
def home(gated: Gated, tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("walk")
    services = copy_of(gated, folder / "home")
    records = services.records
    add_candidate(services, 3, {"liver": 1, "spleen": 5})
    gate_candidate(3, services)
    add_candidate(services, 4, BETTER)
    decline(4, *FIRST, services.records, services.releases, services.repository)
    records.record_correction(
        Correction("1.2.3", "1.9", "1.1", "1.1.1", 1, "correction", "Dr A", "OHIF", (), content="a" * 64)
    )
    records.change_arrival(None, Arrival("1.2.3", "1.1", ArrivalState.INGESTED, code="kept", touched=False))
    withdraw("1.2.3", *FIRST, records, services.releases)
    for number in (1, 2):
        records.first_written(f"{number}" * 64, lines(records)[0].at)
        objects = {"organ-seg": f"1.5.{number}.1"}
        series = f"1.5.{number}"
        records.record_result(
            f"{number}" * 64, study_uid="1.5", series_uid=series, release=1, objects=objects
        )
    erase("gate patient 0", *FIRST, services)
    speak(*FIRST, records)
    records.freeze(Purpose.GATE)
    (folder / "FOLDER").mkdir()
    for file in (folder / "FILE", folder / "FOLDER" / "notes.txt"):
        file.write_text("no DICOM")
    return Home(services, folder)


def test_every_verb_is_walked_or_refuses_nothing() -> None:
    walked = {" ".join(words[:2]) if words[0] in ("cases", "releases") else words[0] for _, words in CASES}
    assert walked | NEVER == verbs_of(app)
    assert not walked & NEVER


@pytest.mark.parametrize(
    ("code", "words"), CASES, ids=[f"{' '.join(words[:2])}: {code}" for code, words in CASES]
)
def test_a_verb_that_refuses_says_code_detail_and_numbers_and_changes_nothing(
    home: Home, code: str, words: tuple[str, ...]
) -> None:
    before = home.rows
    exit_code, out = home.command(*words, "--json")
    document = json.loads(out)
    assert (exit_code, document["code"]) == (3, code)
    assert document["detail"]
    assert isinstance(document["measured"], dict)
    exit_code, text = home.command(*words)
    assert exit_code == 3
    assert text.startswith(f"refused: {code}: ")
    assert home.rows == before


def test_every_code_that_the_program_refuses_with_is_asked_for_by_a_test() -> None:
    rooms = ("models", "services", "flows", "deploy")
    source = "".join(path.read_text() for room in rooms for path in sorted((ROOT / room).rglob("*.py")))
    codes = set(re.findall(r'Refused\(\s*"([a-z-]+)"', source))
    tests = "".join(path.read_text() for path in sorted((ROOT / "tests").rglob("*.py")))
    assert len(codes) > 50
    assert {code for code in codes if not re.search(rf"\b{code}\b(?!-)", tests)} == set()


def test_a_gate_case_that_lies_on_another_grid_is_refused_and_decides_nothing(
    gated: Gated, tmp_path: Path
) -> None:
    home = Home(copy_of(gated, tmp_path / "home"), tmp_path)
    services, coarse = home.services, Geometry(SHAPE, np.diag([4.0, 4.0, 4.0, 1.0]))
    labels = {organ: HybridLabel(BoxedMask.empty(SHAPE), Provenance.READER) for organ in ("liver", "spleen")}
    content = CaseContent(Volume(noisy_body(SHAPE, seed=50), coarse), GRID, {}, labels)
    services.cases.add(services.records, "off", "somebody", Purpose.GATE, INDEPENDENT, content)
    services.records.freeze(Purpose.GATE)
    code, out = home.command("gate", "2", "--json")
    assert (code, json.loads(out)["code"]) == (3, "case-off-grid")
    assert len(lines(services.records, "gate-decided")) == 1, "only the one on the set before"


SAVES = sorted({*map(str, SegCode), *map(str, Code), *NO_STRANGER, "not-in-archive", "several-studies"})
"""Codes with which `ingest` refuses: the SEG, the CT it lies on, or what it was made from."""


def test_a_refused_save_bears_its_code_wherever_saves_are_listed(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr(corrections, "create_table_artifact", lambda **given: shown.append(given))
    records, seen = home.services.records, len(lines(home.services.records))
    for number, code in enumerate(SAVES):
        uid = f"1.7.{number}"
        records.change_arrival(None, Arrival(uid, "1.7", ArrivalState.SUBMITTED, attempts=1, touched=False))
        refused = Refused(code, f"why {code}", {"number": number})
        if code in NO_STRANGER:
            note_refused_save(uid, refused, records)
            document = refusal("refused", None, refused)
        else:
            document = refusal("stranger", "1.7", refused)
            note_outcome(uid, document, records)
        publish_ledger_task.fn(document)
    expected = {f"1.7.{number}": code for number, code in enumerate(SAVES)}
    listed = [one for one in home.listed("arrivals") if one["uid"] in expected]
    assert {one["uid"]: one["code"] for one in listed} == expected
    assert {(one["state"], one["detail"] == f"why {one['code']}") for one in listed} == {("refused", True)}
    sums = home.listed("corrections")["not_taken"]
    assert {one["uid"]: one["code"] for one in sums if one["uid"] in expected} == expected
    assert {one["sop_instance_uid"]: one["code"] for one in home.listed("corrections", "1.7")} == expected
    assert [one["table"][0]["code"] for one in shown] == SAVES
    assert all("refused" in one["description"] or "stranger" in one["description"] for one in shown)
    texts = [home.command(*words)[1] for words in (("arrivals",), ("corrections",), ("corrections", "1.7"))]
    assert all(f"why {code}" in text for text in texts for code in SAVES)
    tally = Tally()
    tally.add(lines(records)[seen:])
    assert tally.corrections["refused"] == len(SAVES)


def test_a_refused_study_bears_its_code_wherever_studies_are_listed(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr(segmentation, "create_table_artifact", lambda **given: shown.append(given))
    for number, code in enumerate(map(str, Code)):
        uid = f"1.8.{number}"
        study = ArchivedStudy(uid, ("P",), True, False, (ArchivedSeries(f"{uid}.1", "CT", (f"{uid}.1.1",)),))
        refused = Refused(code, f"why {code}", {"number": number})
        note_refused(study, refused, home.services.records)
        publish_task.fn(uid, refused.said)
    expected = {f"1.8.{number}": str(code) for number, code in enumerate(Code)}
    listed = [one for one in home.listed("arrivals") if one["uid"] in expected]
    assert {one["uid"]: one["code"] for one in listed} == expected
    assert {one["state"] for one in listed} == {"refused"}
    assert [one["table"][0]["code"] for one in shown] == list(expected.values())
    assert all(code in one["description"] for one, code in zip(shown, expected.values(), strict=True))
    assert all(f"why {code}" in home.command("arrivals")[1] for code in expected.values())


def test_a_release_that_is_not_taken_says_why_where_releases_are_listed(home: Home) -> None:
    listed = {one["release"]: one for one in home.listed("releases")}
    assert (listed[3]["state"], "worse-than-incumbent" in listed[3]["reasons"]) == ("refused", True)
    assert (listed[4]["state"], listed[4]["reasons"]) == ("declined", ["declined"])
    assert listed[4]["said"] == "Dr A: figures read"
    assert listed[1]["said"] == "IT: first release"
    text = home.command("releases")[1]
    assert "gate: refuse (" in text
    assert "Dr A: figures read" in text
    code, out = home.command("gate", "4")
    assert (code, "release 4 was declined by a person: it can never serve" in out) == (0, True)
    assert home.listed("gate", "4")["state"] == "declined"
    with pytest.raises(Refused, match="refused-by-canary"):
        fail_canary(2, {"empty": ("spleen",)}, home.services.records)
    assert standings(home.services.records)[2].reasons == ("refused-by-canary",)
    for differing, reasons in (({"c": ["spleen"]}, ("refused-by-golden-study",)), ({}, ())):
        payload = {"release": 2, "differing": differing}
        write_line(home.services.records, "golden-failed", who="promote_release", payload=payload)
        assert standings(home.services.records)[2].reasons == reasons
    assert home.services.records.release_states()[2] is ReleaseState.NEEDS_APPROVAL


def test_what_was_undone_says_so_where_it_is_listed(home: Home, gated: Gated, tmp_path: Path) -> None:
    arrivals = {one["uid"]: one for one in home.listed("arrivals")}
    assert (arrivals["1.2.3"]["state"], arrivals["1.2.3"]["code"]) == ("ingested", "withdrawn")
    assert [one["code"] for one in home.listed("corrections", "1.2.3")] == ["withdrawn"]
    home = Home(copy_of(gated, tmp_path / "home"), tmp_path)
    erase("gate patient 1", *FIRST, home.services)
    (gate,) = home.listed("cases", "list", "--purpose", "gate")
    assert len(gate["lost"]) == 1
    assert "the gate set must be frozen anew" in home.command("cases", "list")[1]


def test_a_home_of_an_earlier_version_keeps_its_arrivals_and_says_what_ingest_says_anew(home: Home) -> None:
    records = home.services.records
    records.change_arrival(None, Arrival("1.6.1", "1.6", ArrivalState.INGESTED, touched=False))
    assert next(one for one in home.listed("arrivals") if one["uid"] == "1.6.1")["code"] == ""
    assert [one["code"] for one in home.listed("corrections", "1.6.1")] == ["not-on-record"]
    note_refused_save("1.6.1", Refused("no-result", "nothing is on record"), records)
    arrival = records.arrival("1.6.1")
    assert arrival is not None
    assert (arrival.state, arrival.code) == (ArrivalState.REFUSED, "no-result")
