"""A silent site: results are made, kept and compared with labels; nothing reaches a real archive at all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.demo.simulated_reader import save_like_ohif
from deploy.doctor.rounds import rounds
from flows.calibration.random_audit import check_bounds
from flows.cases.erase import erase
from flows.cases.independent_truth import CODE
from flows.cases.keep import add_case
from flows.corrections.ingest import ingest, memory_of
from flows.segmentation.segment import segment
from flows.speech.compared import compared
from flows.speech.speech import be_silent, is_unsent, speak, speech_of
from models.corrections.ledger import INDEPENDENT
from models.errors import Refused
from models.metrics.dsc import dsc
from models.organs import organ
from models.phantom.case import make_case
from services.dicom.ct.loaded import load
from services.dicom.ct.phantom_series import write_phantom_series, write_truth
from services.dicom.ct.series import read_series
from services.dicom.seg.reader import read_seg
from services.pacs.unsent import UnsentResults
from services.records.entries.arrivals import Arrival, ArrivalState
from services.records.entries.cases import Purpose
from services.records.events.results import SpeechChanged
from services.records.store import open_records
from tests.support.archive import Archive
from tests.support.arrivals import Hospital, open_hospital, write_short_phantom
from tests.support.learning import ORGANS, SAVED_AT, SPACING, Site, open_site
from tests.support.log import lines

QUIET = ("Dr A", "a new network")
LOUD = ("Dr B", "figures read")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return open_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_short_phantom(tmp_path_factory.mktemp("phantom") / "ct")


@pytest.fixture
def hospital(site: Site, phantom: Path, clean_archive: Archive, tmp_path: Path) -> Hospital:
    """Return a hospital that a person had be silent."""
    found = open_hospital(site, clean_archive, phantom, tmp_path, waits=False)
    be_silent(*QUIET, found.services.records)
    return found


def held(hospital: Hospital) -> int:
    return int(hospital.archive.ask("/statistics")["CountInstances"])


def kept_in(hospital: Hospital) -> list[Path]:
    return sorted(hospital.services.settings.unsent_store.glob("*/*/*/*.dcm"))


def the_command(hospital: Hospital, *words: str) -> str:
    environment = {"ORGANLOOP_HOME": str(hospital.services.settings.home)} | hospital.archive.variables
    done = CliRunner().invoke(app, list(words), env=environment)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def test_in_silence_nothing_reaches_the_archive_by_any_way(hospital: Hospital, tmp_path: Path) -> None:
    hospital.push()
    before = held(hospital)
    assert before > 0
    hospital.segmented()  # the watch and the worker
    document = segment(hospital.study_uid, None, hospital.services, organs=ORGANS).document  # a person
    segment(hospital.study_uid, tmp_path / "out", hospital.services, organs=ORGANS)
    segment(hospital.ct, None, hospital.services, organs=ORGANS)
    found = list(rounds(hospital.services.settings, store=True, progress=lambda _: None))
    assert held(hospital) == before, "results, review SEG, report, the doctor's test object: none came"
    assert hospital.results() == []
    [stow] = [one for one in found if one.name == "archive, store (STOW)"]
    assert (stow.state, "silent" in stow.detail) == ("skipped", True)
    [speech] = [one for one in found if one.name == "speech"]
    assert (speech.state, speech.measured) == ("warning", {"unsent_studies": 1})
    arrival = hospital.arrival
    assert (arrival.state, arrival.code, arrival.patient) == (ArrivalState.MADE, "silent", "")
    kept = kept_in(hospital)
    assert [one.name for one in kept] == sorted(Path(str(one.path)).name for one in document.objects)
    assert document.silent
    assert {str(one) for one in kept} == {one.path for one in document.objects}
    assert str(kept[0].parent.relative_to(hospital.services.settings.home)) in arrival.detail
    [event] = lines(hospital.services.records, "result-kept")
    digests = {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in kept}
    assert event.payload["files"].items() >= digests.items()
    for verb in ("arrivals", "status"):
        assert "the site is silent" in the_command_of_any_end(hospital, verb)
    assert archive_of_status(hospital)["silent"] is True
    speak(*LOUD, hospital.services.records)
    assert archive_of_status(hospital)["silent"] is False


def archive_of_status(hospital: Hospital) -> dict[str, Any]:
    """Return what `status --json` says of the archive."""
    environment = {"ORGANLOOP_HOME": str(hospital.services.settings.home)} | hospital.archive.variables
    parts = json.loads(CliRunner().invoke(app, ["status", "--json"], env=environment).stdout)
    return {one["part"]: one for one in parts}["archive"]


def the_command_of_any_end(hospital: Hospital, verb: str) -> str:
    """Return what a verb says; `status` ends with 1 where no stack runs."""
    environment = {"ORGANLOOP_HOME": str(hospital.services.settings.home)} | hospital.archive.variables
    return " ".join(CliRunner().invoke(app, [verb], env=environment).output.split())


def test_what_was_made_in_silence_is_sent_when_it_is_asked_for_again_and_not_before(
    hospital: Hospital,
) -> None:
    hospital.push()
    hospital.segmented()
    kept = {one.name: one.read_bytes() for one in kept_in(hospital)}
    records = hospital.services.records
    [result] = records.results_of_study(hospital.study_uid)
    assert is_unsent(result.key, records)
    assert speak(*LOUD, records).unsent == 1
    for _ in range(2):
        hospital.settle()
        hospital.worker.work()
    assert hospital.results() == []
    document = segment(hospital.study_uid, None, hospital.services, organs=ORGANS).document
    assert hospital.results() == sorted(one.uid for one in document.objects)
    assert hospital.arrival.state is ArrivalState.SEGMENTED
    assert sorted(kept.values()) == sorted(hospital.archive.bytes_of(one.uid) for one in document.objects)
    assert not is_unsent(result.key, records)
    be_silent(*QUIET, records)
    segment(hospital.study_uid, None, hospital.services, organs=ORGANS)
    assert hospital.arrival.state is ArrivalState.SEGMENTED, "it is in the archive, whatever came since"


def test_a_study_drawn_for_the_audit_in_silence_is_on_record_and_waits_for_nobody_until_it_is_sent(
    hospital: Hospital,
) -> None:
    hospital.push()
    records, releases = hospital.services.records, hospital.services.releases
    settings = hospital.services.settings.model_copy(update={"audit_share": 1.0})
    services = dataclasses.replace(hospital.services, settings=settings)
    segment(hospital.study_uid, None, services, organs=ORGANS)
    [drawn] = lines(records, "audit-drawn")
    assert drawn.payload["study_uid"] == hospital.study_uid
    found = check_bounds(records, releases)
    assert (found.drawn, found.unsent, found.waiting) == (1, 1, ())
    assert "made in silence and not sent" in the_command(hospital, "bounds")
    speak(*LOUD, records)
    segment(hospital.study_uid, None, services, organs=ORGANS)
    assert len(lines(records, "audit-drawn")) == 1
    found = check_bounds(records, releases)
    assert (found.drawn, found.unsent) == (1, 0)
    assert [one.study_uid for one in found.waiting] == [hospital.study_uid]


def test_what_was_only_made_in_silence_stands_in_no_corrections_way(
    hospital: Hospital, tmp_path: Path
) -> None:
    hospital.push()
    records, settings = hospital.services.records, hospital.services.settings
    segment(hospital.study_uid, None, hospital.services, organs=ORGANS[:2])
    [silent] = records.results_of_study(hospital.study_uid)
    series, told = load(read_series(hospital.ct)[0]), memory_of(settings)

    def saved(sent: bytes) -> Path:
        painted = np.zeros(series.volume.geometry.shape, dtype=bool)
        painted[:, 5:9, 5:9] = True
        found = save_like_ohif(sent, series, {organ("liver").label: painted}, written_at=SAVED_AT)
        (tmp_path / "saved.dcm").write_bytes(found)
        return tmp_path / "saved.dcm"

    seg = next(one for one in kept_in(hospital) if "organ-seg" in one.name)
    with pytest.raises(Refused, match="made in silence, and not sent") as refused:
        ingest(saved(seg.read_bytes()), hospital.ct, memory=told)
    assert refused.value.code == "no-result"
    speak(*LOUD, records)
    segment(hospital.study_uid, None, hospital.services, organs=ORGANS)
    [sent] = [one for one in records.results_of_study(hospital.study_uid) if one.key != silent.key]
    assert is_unsent(silent.key, records)
    document = ingest(saved(hospital.archive.bytes_of(sent.objects["organ-seg"])), hospital.ct, memory=told)
    assert document.status == "correction", document
    assert {one.organ: one.state for one in document.organs}["liver"] == "edited"


def test_a_late_slice_in_silence_is_made_anew_and_kept(hospital: Hospital) -> None:
    *most, last = sorted(hospital.ct.iterdir())
    hospital.push(*most)
    hospital.segmented()
    early = kept_in(hospital)
    hospital.push(last)
    hospital.segmented()
    assert hospital.arrival.state is ArrivalState.MADE
    assert set(early) < set(kept_in(hospital))
    assert hospital.results() == []


def test_a_new_home_is_silent_and_one_that_has_sent_speaks_on(tmp_path: Path) -> None:
    records = open_records(f"sqlite:///{tmp_path / 'records.sqlite'}")
    assert (speech_of(records).speaks, speech_of(records).approver) == (False, None)
    records.change_arrival(None, Arrival("1.2", "1.2", ArrivalState.REFUSED))
    assert not speech_of(records).speaks
    records.change_arrival(None, Arrival("1.3", "1.3", ArrivalState.SEGMENTED, patient="a" * 64))
    assert speech_of(records).speaks, "as an earlier version left it"
    assert not be_silent(*QUIET, records).speaks
    records.close()


@pytest.mark.parametrize(("act", "code"), [(speak, "speaks-already"), (be_silent, "silent-already")])
def test_an_act_told_again_is_one_and_by_another_it_is_refused(tmp_path: Path, act: Any, code: str) -> None:
    records = open_records(f"sqlite:///{tmp_path / 'records.sqlite'}")
    first = act(*LOUD, records)
    assert act(*LOUD, records) == first
    with pytest.raises(Refused) as refused:
        act("Dr C", "another reason", records)
    assert (refused.value.code, refused.value.measured["approver"]) == (code, "Dr B")
    with pytest.raises(Refused, match="no-name"):
        act(" ", "reason", records)
    assert [(one.who, one.said.reason) for one in records.all(SpeechChanged)] == [LOUD]
    records.close()


def test_labels_are_compared_with_what_was_made_in_silence_organ_by_organ(
    site: Site, clean_archive: Archive, tmp_path: Path
) -> None:
    """Whatever the two masks are: the figures are those of the masks in the kept SEG and in the truth."""
    ct = tmp_path / "ct"
    case = make_case("B", 1, spacing_mm=SPACING)
    write_phantom_series(case, ct)
    write_truth(case, tmp_path / "truth.npz")
    hospital = open_hospital(site, clean_archive, ct, tmp_path, waits=False)
    services = hospital.services
    be_silent(*QUIET, services.records)
    unsent = UnsentResults(services.settings.unsent_store)
    add = (ct, tmp_path / "truth.npz", Purpose.CALIBRATION, INDEPENDENT, services)
    added = add_case(*add)
    nothing = compared(services.records, services.cases, unsent)
    assert [(one.case, one.code) for one in nothing.not_compared] == [(added.case_id, "no-result")]
    hospital.push()
    hospital.segmented()
    found = compared(services.records, services.cases, unsent)
    assert (found.studies, found.not_compared) == (1, ())
    [seg] = [one for one in kept_in(hospital) if one.name == "organ-seg.dcm"]
    series = load(read_series(ct)[0])
    drawn = {one.label.lower(): one.mask for one in read_seg(seg, series).segments}
    for one in found.organs:
        expected = dsc(drawn[one.organ].dense(), case.truth[one.organ])
        assert (one.release, one.studies, one.median_dsc) == (1, 1, expected)
        assert (one.worst[0].case, one.worst[0].dsc) == (added.case_id, expected)
    assert {one.organ for one in found.organs} == set(ORGANS)
    assert "stomach" in the_command(hospital, "compared")

    seg.write_bytes(seg.read_bytes() + b"\0\0")
    assert [one.code for one in compared(services.records, services.cases, unsent).not_compared] == [
        "result-changed"
    ]
    seg.unlink()
    assert [one.code for one in compared(services.records, services.cases, unsent).not_compared] == [
        "result-unreadable"
    ]


def test_labels_on_another_grid_are_named_and_not_compared(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    services = hospital.services
    case = make_case("B", 1, spacing_mm=SPACING)
    hospital.push()
    hospital.segmented()
    write_phantom_series(case, tmp_path / "whole")
    write_truth(case, tmp_path / "truth.npz")
    add_case(tmp_path / "whole", tmp_path / "truth.npz", Purpose.CALIBRATION, INDEPENDENT, services)
    found = compared(services.records, services.cases, UnsentResults(services.settings.unsent_store))
    assert (found.studies, [one.code for one in found.not_compared]) == (0, ["case-off-grid"])


def test_a_kept_result_is_no_independent_truth(hospital: Hospital) -> None:
    hospital.push()
    hospital.segmented()
    [seg] = [one for one in kept_in(hospital) if one.name == "organ-seg.dcm"]
    with pytest.raises(Refused) as refused:
        add_case(hospital.ct, seg, Purpose.CALIBRATION, INDEPENDENT, hospital.services)
    assert refused.value.code == CODE


def test_kept_results_go_with_their_time_or_their_patient_and_stay_with_a_label(
    hospital: Hospital,
) -> None:
    hospital.push()
    hospital.segmented()
    services = hospital.services
    unsent = UnsentResults(services.settings.unsent_store)
    [folder] = {one.parent for one in kept_in(hospital)}
    series = services.cases.pseudonym(load(read_series(hospital.ct)[0]).series_uid)
    assert unsent.forget(30, ()) == 0
    old = time.time() - 31 * 86400
    os.utime(folder, (old, old))
    assert unsent.forget(30, [series]) == 0
    assert unsent.forget(30, ()) == 1
    assert list(services.settings.unsent_store.glob("*")) == []
    segment(hospital.study_uid, None, services, organs=ORGANS)
    assert kept_in(hospital), "made again"
    erase(hospital.study_uid, "Dr A", "asked for", services)
    assert kept_in(hospital) == []


def test_what_shares_no_organ_or_is_not_on_record_is_named_by_its_code(
    site: Site, clean_archive: Archive, tmp_path: Path
) -> None:
    ct = tmp_path / "ct"
    case = make_case("B", 1, spacing_mm=SPACING)
    write_phantom_series(case, ct)
    other = dataclasses.replace(case, truth={"gallbladder": case.truth["gallbladder"]})
    write_truth(other, tmp_path / "truth.npz")
    hospital = open_hospital(site, clean_archive, ct, tmp_path, waits=False)
    services = hospital.services
    be_silent(*QUIET, services.records)
    hospital.push()
    hospital.segmented()
    add_case(ct, tmp_path / "truth.npz", Purpose.CALIBRATION, INDEPENDENT, services)
    unsent = UnsentResults(services.settings.unsent_store)
    codes = [one.code for one in compared(services.records, services.cases, unsent).not_compared]
    assert codes == ["no-common-organ"]
    [folder] = {one.parent for one in kept_in(hospital)}
    folder.rename(folder.with_name("f" * 64))
    codes = [one.code for one in compared(services.records, services.cases, unsent).not_compared]
    assert codes == ["not-on-record"]
