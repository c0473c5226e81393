"""`organloop audit`: whatever is done to a line, a row or a file that the log speaks of is found."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from flows import promote_release
from flows.audit_log import export
from flows.gate_candidate import gate_candidate
from services.records.port import Purpose
from services.records.store import open_records
from services.settings import Settings
from services.wiring import connect_in_process
from tests.integration.test_case_verbs import organloop
from tests.promotion import add_candidate, freeze_gate_set, in_process_site, small_canary

promote = partial(promote_release.promote, canary=small_canary)


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a site where release 2 was gated and promoted; made once and copied for each test."""
    services, endpoint = in_process_site(tmp_path_factory.mktemp("promoted") / "home")
    candidate = add_candidate(services, 2, {"liver": 1, "spleen": 3})
    services.repository.write_version(candidate, services.releases)
    endpoint.load()
    freeze_gate_set(services, endpoint, 10, spleen_truth=2)
    gate_candidate(2, services)
    promote(2, services, "Dr B", "better spleens at site B")
    services.records.close()
    return services.settings.home


@pytest.fixture
def home(promoted: Path, tmp_path: Path) -> Path:
    shutil.copytree(promoted, tmp_path / "home")
    return tmp_path / "home"


def found(home: Path, against: Path | None = None) -> set[str]:
    code, document = organloop(
        Settings(home=home), "audit", "verify", *(("--against", against) if against else ())
    )
    assert code == (3 if document["faults"] else 0)
    return {f"{fault['code']}: {fault['what']}" for fault in document["faults"]}


def database(home: Path, *statements: str) -> None:
    """Do what somebody can who has the file: past the triggers."""
    connection = sqlite3.connect(home / "records.sqlite")
    with connection:
        for statement in ("DROP TRIGGER events_unchanged", "DROP TRIGGER events_kept", *statements):
            connection.execute(statement)
    connection.close()


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def test_a_log_and_files_as_they_were_recorded_have_no_fault(home: Path, tmp_path: Path) -> None:
    assert found(home) == set()
    code, document = organloop(Settings(home=home), "audit", "export", tmp_path / "log.jsonl")
    assert (code, document["events"]) == (0, len((tmp_path / "log.jsonl").read_text().splitlines()))
    assert document["head"]["number"] == document["events"]
    assert found(home, tmp_path / "log.jsonl") == set()


def test_a_line_changed_or_dropped_is_found(home: Path) -> None:
    nobody = "UPDATE events SET who = 'nobody' WHERE number = 3"
    database(home, nobody, "DELETE FROM events WHERE number = 5")
    assert {"line-changed: event 3", "line-missing: event 6"} <= found(home)


def test_an_end_cut_off_before_the_promotion_is_found_by_its_evidence_pack(home: Path) -> None:
    records = open_records(Settings(home=home).records_url)
    change = records.events("incumbent-changed")[-1].number
    records.close()
    database(home, f"DELETE FROM events WHERE number >= {change}")
    assert f"truncated: event {change}" in found(home)


def test_an_end_cut_off_after_it_is_found_by_an_export(home: Path, tmp_path: Path) -> None:
    settings = Settings(home=home)
    records = open_records(settings.records_url)
    records.event("thing", who="somebody")
    records.event("thing", who="somebody")
    last = len(records.events())
    export(records, tmp_path / "log.jsonl")
    records.close()
    database(home, f"DELETE FROM events WHERE number = {last}")
    assert found(home) == set()
    assert found(home, tmp_path / "log.jsonl") == {f"truncated: event {last}"}
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    (tmp_path / "log.jsonl").write_text("\n".join([*lines[:3], *lines[4:]]))
    assert any(fault.startswith("export-changed") for fault in found(home, tmp_path / "log.jsonl"))


FILES: dict[str, tuple[Callable[[Path], list[Path]], str]] = {
    "release": (lambda h: [h / "releases" / "releases" / "2" / "release.json"], "release 2"),
    "trunk": (lambda h: sorted((h / "releases" / "trunks").iterdir()), "release 1"),
    "head": (lambda h: sorted((h / "releases" / "heads").iterdir())[:1], "release"),
    "export": (lambda h: sorted((h / "releases" / "exports").iterdir())[:1], "release"),
    "report": (lambda h: sorted((h / "releases/releases/2/gate").glob("*.json")), "gate report of release 2"),
    "page": (lambda h: sorted((h / "releases/releases/2/gate").glob("*.html")), "gate report of release 2"),
    "pack": (lambda h: sorted((h / "releases" / "evidence").iterdir()), "evidence pack of release 2"),
    "case": (lambda h: sorted((h / "cases").rglob("labels/spleen.nii.gz"))[:1], "case"),
    "served": (lambda h: sorted((h / "triton/repository").rglob("2/heads/*.onnx"))[:1], "served version 2"),
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("deed", ["one bit", "gone"])
def test_a_file_changed_by_one_bit_or_gone_is_found(home: Path, file: str, deed: str) -> None:
    paths, what = FILES[file]
    (path, *_) = paths(home)
    if deed == "gone":
        path.unlink()
    else:
        flip(path)
    assert any(what in one for one in found(home))


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE incumbent SET release = 1", "row-changed: incumbent"),
        ("UPDATE releases SET state = 'promoted' WHERE number = 2", None),
        ("UPDATE releases SET state = 'refused' WHERE number = 2", "row-changed: state of release 2"),
        ("UPDATE frozen_sets SET digest = 'x'", "row-changed: gate set, version 1"),
        ("UPDATE frozen_sets SET manifest = '[]'", "row-changed: gate set, version 1"),
        ("UPDATE cases SET origin = 'independent', site = 'B'", "row-changed: case"),
        ("DELETE FROM cases", "row-missing: case"),
    ],
)
def test_a_row_that_is_not_what_the_log_says_is_found(home: Path, statement: str, what: str | None) -> None:
    database(home, statement)
    faults = found(home)
    assert (faults == set()) if what is None else any(fault.startswith(what) for fault in faults)


def test_a_patient_taken_out_by_an_act_is_no_fault(home: Path) -> None:
    services = connect_in_process(Settings(home=home))
    case = services.records.cases(Purpose.GATE)[0]
    services.records.erase_patient(case.patient, who="IT", reason="asked for it")
    services.records.close()
    shutil.rmtree(home / "cases" / case.case_id)
    assert found(home) == set()
