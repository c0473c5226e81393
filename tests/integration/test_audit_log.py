"""`organloop audit`: whatever is done to a line, a row or a file that the log speaks of is found."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from flows.audit.verify import export
from flows.cases.erase import erase
from flows.gate.gate_candidate import gate_candidate
from flows.promotion import promote as promote_release
from flows.serving.serve import write
from services.records.entries.cases import Case, Purpose
from services.records.store import open_records
from services.releases.gate_reports import pictured
from services.settings import Settings
from services.wiring import Services, connect_in_process
from tests.integration.test_case_verbs import organloop
from tests.support.log import lines, write_line
from tests.support.promotion import add_candidate, freeze_gate_set, in_process_site, small_canary

promote = partial(promote_release.promote, canary=small_canary)


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a site where release 2 was gated and promoted; made once and copied for each test."""
    services, endpoint = in_process_site(tmp_path_factory.mktemp("promoted") / "home")
    candidate = add_candidate(services, 2, {"liver": 1, "spleen": 3})
    write(candidate, services)
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
    change = lines(records, "incumbent-changed")[-1].number
    records.close()
    database(home, f"DELETE FROM events WHERE number >= {change}")
    assert f"truncated: event {change}" in found(home)


def test_an_end_cut_off_after_it_is_found_by_an_export(home: Path, tmp_path: Path) -> None:
    settings = Settings(home=home)
    records = open_records(settings.records_url)
    write_line(records, "thing", who="somebody")
    write_line(records, "thing", who="somebody")
    last = len(lines(records))
    export(records, tmp_path / "log.jsonl")
    records.close()
    database(home, f"DELETE FROM events WHERE number = {last}")
    assert found(home) == set()
    assert found(home, tmp_path / "log.jsonl") == {f"truncated: event {last}"}
    kept = (tmp_path / "log.jsonl").read_text().splitlines()
    (tmp_path / "log.jsonl").write_text("\n".join([*kept[:3], *kept[4:]]))
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
    "score": (lambda h: sorted((h / "scores").rglob("*.json"))[:1], "score of case"),
    "program": (
        lambda h: sorted((h / "triton/repository").rglob("2/model.py")),
        "served version 2, model.py",
    ),
    "bytecode": (
        lambda h: sorted((h / "triton/repository").rglob("2/*/*.pyc")),
        "served version 2, __pycache__",
    ),
    "served": (lambda h: sorted((h / "triton/repository").rglob("2/heads/*.onnx"))[:1], "served version 2"),
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("deed", ["one bit", "gone"])
def test_a_file_changed_by_one_bit_or_gone_is_found(home: Path, file: str, deed: str) -> None:
    paths, what = FILES[file]
    (path, *_) = paths(home)
    if deed == "gone":
        path.unlink()
        if file == "score":  # measured again when it is asked for
            assert found(home) == set()
            return
    else:
        flip(path)
    assert any(what in one for one in found(home))


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE incumbent SET release = 1", "row-changed: incumbent"),
        ("UPDATE incumbent SET approver = 'Dr C'", "row-changed: incumbent:[1]"),
        ("UPDATE incumbent SET reason = 'none'", "row-changed: incumbent:[1]"),
        ("UPDATE frozen_sets SET frozen_at = 'yesterday'", "row-unreadable: rows of the records"),
        ("UPDATE releases SET state = 'promoted' WHERE number = 2", None),
        ("UPDATE releases SET state = 'refused' WHERE number = 2", "row-changed: state of release 2"),
        ("UPDATE frozen_sets SET digest = 'x'", "row-changed: gate set, version 1"),
        ("UPDATE frozen_sets SET manifest = '[]'", "row-changed: gate set, version 1"),
        ("UPDATE cases SET origin = 'independent', site = 'B'", "row-changed: case"),
        ("DELETE FROM cases", "row-missing: case"),
        ("INSERT INTO releases VALUES (9, 'd', 'promoted')", "row-changed: state of release 9"),
        (
            "INSERT INTO frozen_sets (purpose, version, digest, manifest, frozen_at) "
            "SELECT purpose, 2, digest, manifest, frozen_at FROM frozen_sets",
            "row-changed: gate set, version 2",
        ),
    ],
)
def test_a_row_that_is_not_what_the_log_says_is_found(home: Path, statement: str, what: str | None) -> None:
    database(home, statement)
    faults = found(home)
    assert (faults == set()) if what is None else any(fault.startswith(what) for fault in faults)


def test_a_patient_taken_out_by_an_act_is_no_fault_and_no_page_shows_its_images(home: Path) -> None:
    services = connect_in_process(Settings(home=home))
    (report,) = (home / "releases/releases/2/gate").glob("*.json")
    case = next(c for c in services.records.cases(Purpose.GATE) if c.case_id in pictured(report))
    erase("gate patient " + name_of(case, services), "IT", "asked for it", services)
    services.records.close()
    assert not report.with_suffix(".html").exists()
    assert not list((home / "scores").rglob(f"{case.digest}*"))
    assert found(home) == set()


def name_of(case: Case, services: Services) -> str:
    """Return the number of a gate patient by its pseudonym."""
    return next(str(n) for n in range(10) if services.cases.pseudonym(f"gate patient {n}") == case.patient)


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("7/model.py", "file-unknown: served version 7"),
        ("2/sitecustomize.py", "file-changed: served version 2"),
    ],
)
def test_what_nobody_wrote_into_the_repository_is_found(home: Path, file: str, what: str) -> None:
    path = home / "triton/repository/organ_segmenter" / file
    path.parent.mkdir(exist_ok=True)
    path.write_text("import os")
    assert any(fault.startswith(what) for fault in found(home))
