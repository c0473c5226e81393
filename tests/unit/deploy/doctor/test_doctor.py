"""What the doctor makes of what it measures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import OperationalError

from deploy.doctor.advisories import advisories, unsafe
from deploy.doctor.archive import ae_title, certificate_of, rights, version
from deploy.doctor.clock import clock
from deploy.doctor.finding import Check, Finding, State, examine
from deploy.doctor.flows import polled, registered
from deploy.doctor.machine import described, memory_of, privacy, room, write_speed
from deploy.doctor.organs import organs
from deploy.doctor.records import backup, freed, watched
from deploy.doctor.serving import calibrated, judged
from models.documents import to_json
from models.errors import PacsFailed, Refused
from models.targets import FROM_THE_CATALOGUE
from services.records.entries.arrivals import Watch
from tests.conftest import ROOT
from tests.support.established import established
from tests.support.paper_releases import paper_contract, paper_release

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
GOOD, WARNING, BAD = State.GOOD, State.WARNING, State.BAD


@pytest.mark.parametrize(
    ("finding", "state"),
    [
        (room(20.0), GOOD),
        (room(19.9), WARNING),
        (room(4.9), BAD),
        (memory_of(8192, 8192), GOOD),
        (memory_of(8193, 8192), BAD),
        (write_speed(20.0, 1), GOOD),
        (write_speed(19.0, 1), WARNING),
        (backup(25.9), GOOD),
        (backup(26.1), WARNING),
        (backup(None), WARNING),
        (clock("it", -2.9), GOOD),
        (clock("it", -3.1), WARNING),
        (clock("it", 61), BAD),
        (certificate_of("TLS", "TLSv1.3", 31), GOOD),
        (certificate_of("TLS", "TLSv1.3", 29), WARNING),
        (version("1.12.1", ["dicom-web"]), GOOD),
        (version("1.10.1", ["dicom-web"]), GOOD),
        (version("1.9.3", ["dicom-web"]), BAD),
        (version("mainline", ["dicom-web"]), GOOD),
        (version("1.12.1", ["explorer.js"]), BAD),
        (ae_title("AE", "WARD 3 GATEWAY"), GOOD),
        (ae_title("AE", "SIXTEEN_LETTERS_"), GOOD),
        (ae_title("AE", "SEVENTEEN_LETTERS"), BAD),
        (ae_title("AE", "WARD\\3"), BAD),
        (ae_title("AE", "   "), BAD),
        (ae_title("AE", "KÖLN"), BAD),
        (ae_title("AE", "Orthanc"), WARNING),
        (calibrated("a/2-threads", "a/2-threads"), GOOD),
        (calibrated("a/4-threads", "a/2-threads"), WARNING),
        (calibrated("a/2-threads", None), WARNING),
        (watched(Watch(NOON), NOON + timedelta(seconds=119)), GOOD),
        (watched(Watch(NOON), NOON + timedelta(seconds=121)), BAD),
        (watched(Watch(NOON, "PacsFailed: nobody answers"), NOON), BAD),
        (watched(None, NOON), WARNING),
        (freed(0), GOOD),
        (freed(1), WARNING),
        (registered(9), GOOD),
        (registered(0), BAD),
        (polled("organloop", 2, paused=False), GOOD),
        (polled("organloop", 0, paused=False), BAD),
        (polled("organloop", 2, paused=True), BAD),
    ],
    ids=lambda value: f"{value.name}: {value.detail}" if isinstance(value, Finding) else str(value),
)
def test_what_is_not_good_says_what_to_do(finding: Finding, state: State) -> None:
    assert finding.state is state
    assert bool(finding.remedy) == (state is not GOOD)


def test_a_gpu_is_described_as_nvidia_smi_names_it() -> None:
    finding = described("NVIDIA H200, 570.86.15, 143771, 143162")
    assert finding.measured == {"driver": "570.86.15", "memory_mib": 143771, "free_mib": 143162}
    assert finding.detail == "NVIDIA H200, driver 570.86.15, 143162 of 143771 MiB free"


def test_one_check_that_fails_hides_neither_what_it_found_before_nor_the_others() -> None:
    def fails_in_the_middle() -> Iterator[Finding]:
        yield Finding("first", GOOD, "fine")
        raise PacsFailed("The archive at here answered with HTTP 418.")

    told: list[str] = []
    checks = [
        Check("archive", fails_in_the_middle, "look at its log"),
        Check("next", lambda: [Finding("last", GOOD, "fine")], ""),
    ]
    found = list(examine(checks, told.append))
    assert [(one.name, one.state) for one in found] == [("first", GOOD), ("archive", BAD), ("last", GOOD)]
    assert (found[1].detail, found[1].remedy) == (
        "The archive at here answered with HTTP 418.",
        "look at its log",
    )
    assert told == ["looking at archive", "looking at next"]


def test_a_database_that_fails_is_told_without_the_words_of_its_driver() -> None:
    def fails() -> Iterator[Finding]:
        raise OperationalError("SELECT 1", {}, Exception("password=sesame refused"))
        yield

    [found] = examine([Check("database", fails, "does it run?")], lambda _: None)
    assert found.state is BAD
    assert "sesame" not in f"{to_json(found)}"


def test_a_gpu_that_tells_no_memory_of_its_own_is_named_all_the_same() -> None:
    found = described("NVIDIA GB10, 580.95, [N/A], [N/A]")
    assert (found.state, found.detail, found.measured) == (
        GOOD,
        "NVIDIA GB10, driver 580.95",
        {"driver": "580.95"},
    )


@pytest.mark.parametrize(
    ("program", "version", "mended"),
    [
        ("Orthanc", "1.10.1", {"1.12.11", "1.11.3"}),
        ("Orthanc", "1.12.7", {"1.12.11"}),
        ("Orthanc", "1.12.11", set()),
        ("Orthanc", "mainline", set()),
        ("Triton", "2.51.0", {"2.59.1"}),
        ("Triton", "2.60.0", set()),
    ],
)
def test_a_version_that_is_known_to_be_unsafe_is_named_with_what_mends_it(
    program: str, version: str, mended: set[str]
) -> None:
    found = list(unsafe(program, version))
    assert {one.name for one in found} == {f"{program} older than {number}" for number in mended}
    assert all(one.state is WARNING and one.remedy for one in found)


def test_every_advisory_is_public_or_says_what_happens() -> None:
    named = {cve for one in advisories() for cve in one.cves}
    assert {f"CVE-2026-{number}" for number in range(5437, 5446)} <= named
    assert all(one.cves or "deletes" in one.what for one in advisories())


def test_a_modality_that_may_take_every_study_is_named() -> None:
    [left_out] = rights("ct1", {"AET": "CT1"})
    assert "AllowFind, AllowGet, AllowMove" in left_out.detail
    assert list(rights("ct1", {"AllowFind": False, "AllowGet": False, "AllowMove": False})) == []


@pytest.mark.parametrize(
    ("mode", "state"), [(0o700, State.GOOD), (0o750, State.GOOD), (0o755, State.BAD), (0o701, State.BAD)]
)
def test_a_home_that_every_user_may_enter_is_a_fault(tmp_path, mode, state):
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(mode)
    found = privacy(home)
    assert (found.state, found.measured) == (state, {"mode": f"{mode:04o}"})
    assert bool(found.remedy) == (state is State.BAD)


def test_organs_that_nobody_can_judge_are_named():
    own = paper_release(paper_contract(("liver", "aorta")))
    foreign = replace(own, contract=replace(own.contract, imported=True))
    assert judged(own, FROM_THE_CATALOGUE).state is GOOD
    found = judged(foreign, established({"liver": (0.9, None)}))
    assert (found.state, found.measured) == (WARNING, {"organs": 2, "without_target": 1})
    assert "not judged: aorta" in found.detail


def test_a_file_of_organs_is_read_as_an_import_would_read_it(tmp_path):
    (found,) = organs(ROOT / "deploy" / "site" / "organs.csv")
    assert (found.state, found.measured) == (WARNING, {"organs": 7, "unverified": 1})
    assert "rib_left_1" in found.detail
    text = (ROOT / "deploy" / "site" / "organs.csv").read_text()
    path = tmp_path / "organs.csv"
    path.write_text("\n".join(line for line in text.splitlines() if not line.startswith("rib_")))
    (found,) = organs(path)
    assert found.state is GOOD
    path.write_text(text.replace("sacrum,Sacrum,91723000", "sacrum,Sacrum,123037004"))
    with pytest.raises(Refused, match="organ-category"):
        list(organs(path))
