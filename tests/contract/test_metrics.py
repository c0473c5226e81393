"""Metrics: counted from what is on record, in both databases; once only, restart or not."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from models.errors import ServingUnavailable
from services.metrics.exposition import RecordsCollector
from services.records.entries.releases import ReleaseState
from services.records.events.gate import GateDecided
from services.records.events.operations import BackupFailed, BackupTaken
from services.records.events.results import BoundBroken, ResultDiffers, StudySegmented
from services.records.store import SqlRecords, open_records
from services.witnesses.file import FileWitness
from services.witnesses.port import Witness
from services.witnesses.syslog import SyslogWitness
from tests.conftest import ROOT
from tests.support.log import write_line
from tests.support.waiting import GUARD_SECONDS


@pytest.fixture
def records(url: str) -> Iterator[SqlRecords]:
    with closing(open_records(url)) as opened:
        yield opened


class Server:
    """A segmenter that has some releases loaded."""

    def __init__(self, *loaded: int) -> None:
        self._loaded = loaded

    def ready(self, release: int) -> bool:
        return release in self._loaded


def scraped(collector: RecordsCollector) -> dict[tuple[str, tuple[str, ...]], float]:
    """Return what a scrape reads: value by name and sorted label values."""
    registry = CollectorRegistry()
    registry.register(collector)
    text = generate_latest(registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.values()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def segmented(key: str, release: int, seconds: float, records: SqlRecords, **flags: str | None) -> None:
    spent = {"serve": seconds, "total": seconds}
    event = StudySegmented(study_uid="1.2", release=release, seconds=spent, flags=flags, result=key)
    records.record(event, who="segment_study", key=event.key(key))


def decided(decision: str, records: SqlRecords) -> None:
    records.record(GateDecided(release=2, decision=decision), who="gate")


def collector(records: SqlRecords, *servers: Server, witnesses: Iterable[Witness] = ()) -> RecordsCollector:
    return RecordsCollector(records, servers, witnesses)  # type: ignore[arg-type]


def test_a_study_counts_once_however_often_it_is_written(records: SqlRecords) -> None:
    for key, seconds in (("k1", 0.7), ("k1", 9.0), ("k2", 3.0)):
        segmented(key, 4, seconds, records, liver="clear", spleen="review", aorta=None)
    found = scraped(collector(records))
    assert found["organloop_studies_total", ("4",)] == 2
    assert found["organloop_organ_flags_total", ("clear", "liver")] == 2
    assert found["organloop_organ_flags_total", ("review", "spleen")] == 2
    assert found["organloop_organ_flags_total", ("aorta", "none")] == 2
    assert found["organloop_study_seconds_count", ("serve",)] == 2
    assert found["organloop_study_seconds_sum", ("serve",)] == pytest.approx(3.7)
    buckets = {
        le: found["organloop_study_seconds_bucket", tuple(sorted((le, "serve")))]
        for le in ("0.5", "1.0", "5.0", "+Inf")
    }
    assert buckets == {"0.5": 0, "1.0": 1, "5.0": 2, "+Inf": 2}


def test_a_second_scrape_counts_only_what_is_new_and_a_restart_counts_all(records: SqlRecords) -> None:
    segmented("k1", 1, 1.0, records, liver="clear")
    lasting = collector(records)
    assert scraped(lasting)["organloop_studies_total", ("1",)] == 1
    segmented("k2", 1, 1.0, records, liver="clear")
    assert scraped(lasting)["organloop_studies_total", ("1",)] == 2
    assert scraped(collector(records)) == pytest.approx(scraped(lasting))


def test_what_waits_and_what_serves_is_told(records: SqlRecords) -> None:
    assert scraped(collector(records))["organloop_incumbent", ()] == 0
    records.record_release(7, "d" * 64, ReleaseState.PROMOTED)
    records.set_incumbent(7, approver="test", reason="first")
    before = datetime.now(UTC)
    records.take_in(["1.2", "1.3"], cursor=1)
    found = scraped(collector(records, Server(7), Server(6)))
    longest = (datetime.now(UTC) - before).total_seconds()
    assert found["organloop_incumbent", ()] == 7
    assert (found["organloop_endpoints", ()], found["organloop_endpoints_ready", ()]) == (2, 1)
    assert found["organloop_arrivals", ("waiting",)] == 2
    assert 0 <= found["organloop_oldest_waiting_seconds", ()] <= longest
    assert found["organloop_promotions_total", ()] == 1


def test_what_the_archive_holds_instead_is_told(records: SqlRecords) -> None:
    assert scraped(collector(records))["organloop_results_differ_total", ()] == 0
    differs = ResultDiffers(result="k", study_uid="1.2", release=1, sop_instance_uid="1.3")
    records.record(differs, who="test")
    assert scraped(collector(records))["organloop_results_differ_total", ()] == 1


WITNESS_SECONDS = "organloop_last_witness_seconds"


def test_how_long_each_witness_of_the_settings_has_waited_is_told(url: str, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    clock = iter([now - timedelta(hours=hours) for hours in (9, 2, 5)])
    file, away = FileWitness(tmp_path / "w.log"), SyslogWitness("syslog.example")
    with closing(open_records(url, clock=lambda: next(clock))) as records:
        told = collector(records, witnesses=(file, away))
        assert not [name for name, _ in scraped(told) if name == WITNESS_SECONDS], "nothing is to be told"
        decided("refuse", records)
        records.note_witness(file.name, 1, "d" * 64)
        records.note_witness("file taken-out.log", 1, "d" * 64)
        never_tried = scraped(told)
        records.note_witness(away.name, 1, "d" * 64, "away")
        found = scraped(told)
    for one in (never_tried, found):
        ages = {labels: hours for (name, labels), hours in one.items() if name == WITNESS_SECONDS}
        assert ages == {
            (file.name,): pytest.approx(2 * 3600, abs=60),
            (away.name,): pytest.approx(9 * 3600, abs=60),
        }


def test_segmenters_that_are_away_are_asked_at_once(tmp_path: Any) -> None:
    class Away(Server):
        together = Barrier(3)

        def ready(self, release: int) -> bool:
            self.together.wait(GUARD_SECONDS)  # broken, which is an error, unless all are asked at a time
            raise ServingUnavailable("gone")

    with closing(open_records(f"sqlite:///{tmp_path / 'r.sqlite'}")) as opened:
        opened.record_release(7, "d" * 64, ReleaseState.PROMOTED)
        opened.set_incumbent(7, approver="test", reason="first")
        found = scraped(collector(opened, Away(), Away(), Away()))
    assert (found["organloop_endpoints", ()], found["organloop_endpoints_ready", ()]) == (3, 0)


def test_decisions_and_alarms_are_counted(records: SqlRecords) -> None:
    for decision in ("promote", "refuse", "refuse"):
        decided(decision, records)
    broken = BoundBroken(
        release=2, organ="liver", held=1, looked_at=9, low=0.1, high=0.4, promised=0.9, broken=True
    )
    records.record(broken, who="check_bounds")
    found = scraped(collector(records))
    assert found["organloop_gate_decisions_total", ("refuse",)] == 2
    assert found["organloop_bounds_broken_total", ()] == 1


def test_a_line_that_tells_nothing_of_its_kind_is_counted_and_hides_no_other(records: SqlRecords) -> None:
    write_line(records, "gate-decided", who="gate", payload={"release": 2})
    decided("refuse", records)
    found = scraped(collector(records))
    assert found["organloop_unreadable_lines_total", ()] == 1
    assert found["organloop_gate_decisions_total", ("refuse",)] == 1


def test_scrapes_at_the_same_time_count_nothing_twice(
    records: SqlRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        segmented(f"k{number}", 1, 1.0, records, liver="clear")
    monkeypatch.setattr("services.metrics.stretches.AT_ONCE", 3)  # and what is read in pieces is read whole
    both, read = Barrier(2), records.lines

    def slowly(*asked: int) -> Any:
        found = read(*asked)
        with suppress(BrokenBarrierError):
            both.wait(0.2)
        return found

    monkeypatch.setattr(records, "lines", slowly)
    lasting = collector(records)
    with ThreadPoolExecutor(2) as pool:
        found = [one.result() for one in [pool.submit(scraped, lasting) for _ in range(2)]]
    assert [one["organloop_studies_total", ("1",)] for one in found] == [7, 7]


def test_the_first_refusal_of_the_gate_is_an_increase(records: SqlRecords) -> None:
    lasting = collector(records)
    before = scraped(lasting)["organloop_gate_decisions_total", ("refuse",)]
    decided("refuse", records)
    assert scraped(lasting)["organloop_gate_decisions_total", ("refuse",)] - before == 1


def test_how_old_the_newest_backup_is_and_how_many_failed_since_is_told(records: SqlRecords) -> None:
    lasting = collector(records)
    assert ("organloop_last_backup_seconds", ()) not in scraped(lasting)
    for _ in range(2):
        records.record(BackupFailed(why="disk full"), who="backup")
    assert scraped(lasting)["organloop_backups_failed", ()] == 2
    taken_at = f"{datetime.now(UTC) - timedelta(hours=2):%Y-%m-%dT%H:%M:%SZ}"
    records.record(BackupTaken(taken_at=taken_at, files=1, copied_bytes=1), who="backup")
    found = scraped(lasting)
    assert found["organloop_last_backup_seconds", ()] == pytest.approx(7200, abs=30)
    assert found["organloop_backups_failed", ()] == 0


RULES = sorted((ROOT / "deploy" / "prometheus").glob("*.yaml"))


def test_the_alerts_go_off_when_they_should_and_not_before() -> None:
    """Prometheus's own tool, on series of made-up figures: a backup that ages, fails, or never came."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian's prometheus)")
    cases = ROOT / "tests" / "contract" / "alert_cases.yaml"
    read = yaml.safe_load(cases.read_text())["rule_files"]
    assert [(cases.parent / one).resolve() for one in read] == RULES
    tested = subprocess.run([promtool, "test", "rules", cases], capture_output=True, text=True)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_metric_an_alert_is_made_of_is_exposed(tmp_path: Any) -> None:
    with closing(open_records(f"sqlite:///{tmp_path / 'r.sqlite'}")) as records:
        registry = CollectorRegistry()
        registry.register(collector(records))
        exposed = set(re.findall(r"^# TYPE (\S+)", generate_latest(registry).decode(), re.M))
    rules = [
        rule
        for file in RULES
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    ]
    named = {name for rule in rules for name in re.findall(r"organloop_[a-z_]+", rule["expr"])}
    assert named
    assert named <= exposed
    assert all(rule["annotations"]["description"] for rule in rules)
