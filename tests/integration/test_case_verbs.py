"""The command's verbs about truth: `cases add`, `freeze`, `list`, and `accept`."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid
from typer.testing import CliRunner

from deploy.cli.main import app
from flows.corrections.ingest import ingest, memory_of
from models.corrections.ledger import Provenance
from models.phantom.case import PhantomCase
from services.cases.store import CaseStore
from services.dicom.ct.chosen import choose_series
from services.dicom.ct.loaded import load
from services.dicom.ct.phantom_series import phantom_images, write_phantom_series, write_truth
from services.dicom.ct.provenance import patient_of
from services.dicom.ct.series import read_series
from services.records.entries.cases import Purpose
from services.records.store import open_records
from services.releases.store import ReleaseStore
from services.settings import Settings
from tests.support.ct_files import case, edit, setting, written
from tests.support.log import lines
from tests.support.returned_segs import frames_of, put_on_record, repainted
from tests.support.tiny_networks import publish_tiny


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home where a release of liver and spleen serves."""
    settings = Settings(home=tmp_path / "home")
    publish_tiny(ReleaseStore(settings.release_store), 1, {"liver": 1, "spleen": 2})
    open_records(settings.records_url).set_incumbent(1, approver="IT", reason="first release")
    return settings


def study(folder: Path, seed: int = 1, organs: tuple[str, ...] = ("liver", "spleen")) -> PhantomCase:
    """Write ``ct/`` and ``truth.npz`` of a small phantom of site A."""
    made = case(seed=seed)
    made = PhantomCase(
        made.volume, {o: made.truth[o] for o in organs}, made.site, made.seed, made.acquisition
    )
    write_phantom_series(made, folder / "ct")
    write_truth(made, folder / "truth.npz")
    return made


def organloop(settings: Settings, *words: object) -> tuple[int, Any]:
    result = CliRunner().invoke(app, [*map(str, words), "--json"], env={"ORGANLOOP_HOME": str(settings.home)})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, json.loads(result.stdout)


def add(settings: Settings, folder: Path, *words: object) -> tuple[int, Any]:
    truth = ("--truth", folder / "truth.npz", "--origin", "independent", "--purpose", "gate")
    return organloop(settings, "cases", "add", folder / "ct", *truth, *words)


def add_seg(settings: Settings, ct: Path, seg: Path, origin: str = "independent") -> tuple[int, Any]:
    truth = ("--truth", seg, "--origin", origin, "--purpose", "gate")
    return organloop(settings, "cases", "add", ct, *truth)


def test_a_case_is_kept_once_under_pseudonyms_with_its_truth_and_site(
    settings: Settings, tmp_path: Path
) -> None:
    made = study(tmp_path)
    code, kept = add(settings, tmp_path)
    assert code == 0
    assert (kept["purpose"], kept["origin"], kept["site"]) == ("gate", "independent", "A")
    assert "PHANTOM" not in json.dumps(kept)
    assert add(settings, tmp_path) == (0, kept)
    (case,) = open_records(settings.records_url).cases(Purpose.GATE)
    content = CaseStore(settings.case_store).read(case)
    assert content.ct.same_grid(made.volume.geometry)
    assert content.sent == {}
    for organ, label in content.labels.items():
        assert np.array_equal(label.inside.dense(), made.truth[organ])
        assert (label.provenance == Provenance.READER).all()
    code, frozen = organloop(settings, "cases", "freeze", "--purpose", "gate")
    assert (code, frozen["cases"]) == (0, 1)
    code, sets = organloop(settings, "cases", "list", "--purpose", "gate")
    assert sets == [
        {
            "purpose": "gate", "frozen": frozen["digest"], "version": 1, "pending": [], "lost": [],
            "cases": [kept],
        }
    ]  # fmt: skip
    assert kept["acquisition"] == {
        "scanner": "Organloop Phantom",
        "kernel": str(made.acquisition["kernel"]),
        "thickness_mm": made.acquisition["thickness_mm"],
        "contrast": "not stated",
    }


def test_a_frozen_set_grows_by_freezing_it_again_and_a_case_keeps_its_purpose(
    settings: Settings, tmp_path: Path
) -> None:
    study(tmp_path / "one", seed=1)
    study(tmp_path / "two", seed=2)
    add(settings, tmp_path / "one", "--site", "scanner 7")
    assert add(settings, tmp_path / "one", "--purpose", "calibration")[1]["code"] == "case-changed"
    assert organloop(settings, "cases", "freeze", "--purpose", "gate")[1]["version"] == 1
    code, added = add(settings, tmp_path / "two")
    assert code == 0
    (listed,) = organloop(settings, "cases", "list", "--purpose", "gate")[1]
    assert (listed["version"], listed["pending"]) == (1, [added["case_id"]])
    assert {case["site"] for case in listed["cases"]} == {"scanner 7", "A"}
    code, frozen = organloop(settings, "cases", "freeze", "--purpose", "gate")
    assert (frozen["version"], frozen["cases"]) == (2, 2)


def test_a_truth_that_cannot_judge_is_refused(settings: Settings, tmp_path: Path) -> None:
    study(tmp_path / "part", organs=("liver",))
    code, refusal = add(settings, tmp_path / "part")
    assert (code, refusal["code"]) == (3, "truth-incomplete")
    assert refusal["measured"] == {"missing": ["spleen"]}
    made = study(tmp_path / "off")
    shifted = made.volume.geometry.affine + np.eye(4, k=3)
    np.savez(
        tmp_path / "off" / "truth.npz",
        affine=shifted,
        shape=made.volume.geometry.shape,
        organ_liver=made.truth["liver"],
    )
    assert add(settings, tmp_path / "off")[1]["code"] == "truth-off-grid"
    study(tmp_path / "whole")
    assert add(settings, tmp_path / "whole", "--origin", "guessed")[1]["code"] == "unknown-origin"
    assert open_records(settings.records_url).cases(Purpose.GATE) == ()


def test_a_scan_that_shows_no_body_is_kept_for_nothing(settings: Settings, tmp_path: Path) -> None:
    made = study(tmp_path)
    air = replace(made, volume=replace(made.volume, hu=np.full_like(made.volume.hu, -1000)))
    shutil.rmtree(tmp_path / "ct")
    write_phantom_series(air, tmp_path / "ct")
    code, refused = add(settings, tmp_path)
    assert (code, refused["code"]) == (3, "no-body"), "every gate and calibration would end at it"
    assert open_records(settings.records_url).cases(Purpose.GATE) == ()


def test_whose_the_truth_is_must_be_said(settings: Settings, tmp_path: Path) -> None:
    study(tmp_path)
    words = ("cases", "add", tmp_path / "ct", "--truth", tmp_path / "truth.npz", "--purpose", "gate")
    result = CliRunner().invoke(app, [*map(str, words)], env={"ORGANLOOP_HOME": str(settings.home)})
    assert result.exit_code == 2
    assert open_records(settings.records_url).cases(Purpose.GATE) == ()


def test_our_own_seg_is_no_independent_truth(settings: Settings, ohif: Path) -> None:
    code, refusal = add_seg(settings, ohif / "ct", ohif / "sent.dcm")
    assert (code, refusal["code"]) == (3, "not-independent")
    assert refusal["measured"] == {"segment": 1}, "by its SegmentAlgorithmType, with no result on record"
    saved = dcmread(ohif / "saved-by-ohif.dcm", stop_before_pixels=True)
    records = open_records(settings.records_url)
    records.first_written("key", lines(records)[0].at)
    records.record_result(
        "key",
        study_uid=saved.StudyInstanceUID,
        series_uid="1.2",
        release=1,
        objects={"organ-seg": saved.SOPInstanceUID},
    )
    assert add_seg(settings, ohif / "ct", ohif / "saved-by-ohif.dcm")[1]["code"] == "not-independent"
    assert records.cases(Purpose.GATE) == ()
    code, kept = add_seg(settings, ohif / "ct", ohif / "saved-by-ohif.dcm", "edited-from-1")
    assert (code, kept["origin"]) == (0, "edited-from-1")


def test_the_correction_of_a_result_is_no_independent_truth(settings: Settings, ohif: Path) -> None:
    sent = dcmread(ohif / "sent.dcm", stop_before_pixels=True)
    records = open_records(settings.records_url)
    records.first_written("key", lines(records)[0].at)
    records.record_result(
        "key",
        study_uid=sent.StudyInstanceUID,
        series_uid="1.2",
        release=1,
        objects={"organ-seg": sent.SOPInstanceUID},
    )
    ingest(ohif / "saved-by-ohif.dcm", ohif / "ct", ohif / "sent.dcm", memory_of(settings))
    assert add_seg(settings, ohif / "ct", ohif / "saved-by-ohif.dcm")[1]["code"] == "not-independent"


def _by_hand(seg: Dataset, _: np.ndarray) -> None:
    """Say of every segment what a viewer says that saves it again."""
    for item in seg.SegmentSequence:
        item.SegmentAlgorithmType = "MANUAL"


def test_our_result_saved_again_under_another_uid_is_no_independent_truth(
    settings: Settings, ohif: Path, tmp_path: Path
) -> None:
    shutil.copytree(ohif, tmp_path, dirs_exist_ok=True)
    ct, sent = tmp_path / "ct", tmp_path / "sent.dcm"
    records = open_records(settings.records_url)
    header = put_on_record(records, sent, ct)
    own = {"SOPInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
    again = repainted(sent, tmp_path / "again.dcm", _by_hand, **own)
    code, refusal = add_seg(settings, ct, again)
    assert (code, refusal["code"]) == (3, "not-independent"), "what is on record cannot be read"
    assert refusal["measured"] == {"on_record": 1, "unread": 1}
    assert "archive" in refusal["detail"]
    shutil.copy(sent, ct / "result.dcm")
    code, refusal = add_seg(settings, ct, again)
    assert (code, refusal["code"]) == (3, "not-independent")
    assert refusal["measured"]["as_ours"] == refusal["measured"]["slices"]

    def redrawn(seg: Dataset, frames: np.ndarray) -> None:
        _by_hand(seg, frames)
        frames[:] = np.roll(frames, 1, axis=2)

    moved = repainted(sent, tmp_path / "moved.dcm", redrawn, **own)
    cites = dcmread(moved)
    other = Dataset()
    other.SeriesInstanceUID, image = "1.2.3", Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    other.ReferencedInstanceSequence = [image]
    cites.ReferencedSeriesSequence.append(other)
    cites.save_as(tmp_path / "cites.dcm")
    code, refusal = add_seg(settings, ct, tmp_path / "cites.dcm")
    assert (code, refusal["code"]) == (3, "not-independent"), "it refers to our result"
    assert records.cases(Purpose.GATE) == ()
    assert add_seg(settings, ct, moved)[0] == 0, "other voxels on the same slices are another drawing"


def test_our_result_with_a_few_slices_redrawn_is_no_independent_truth(
    settings: Settings, ohif: Path, tmp_path: Path
) -> None:
    shutil.copytree(ohif, tmp_path, dirs_exist_ok=True)
    ct, sent = tmp_path / "ct", tmp_path / "sent.dcm"
    put_on_record(open_records(settings.records_url), sent, ct)
    shutil.copy(sent, ct / "result.dcm")

    def touched(seg: Dataset, frames: np.ndarray) -> None:
        _by_hand(seg, frames)
        for item in seg.SegmentSequence:
            for n in frames_of(seg, item.SegmentLabel)[:2]:
                frames[n] = np.roll(frames[n], 1, axis=1)

    edited = repainted(sent, tmp_path / "edited.dcm", touched, SOPInstanceUID=generate_uid())
    code, refusal = add_seg(settings, ct, edited)
    assert (code, refusal["code"]) == (3, "not-independent")
    assert 0 < refusal["measured"]["as_ours"] < refusal["measured"]["slices"]


@pytest.mark.parametrize(
    ("value", "scheme", "meaning"), [("4147007", "SCT", "Mass"), ("78961009", "SCT", "Spleen")]
)
def test_a_segment_whose_code_is_not_what_its_label_says_is_no_truth(
    settings: Settings, ohif: Path, tmp_path: Path, value: str, scheme: str, meaning: str
) -> None:
    shutil.copytree(ohif, tmp_path, dirs_exist_ok=True)

    def coded(seg: Dataset, frames: np.ndarray) -> None:
        _by_hand(seg, frames)
        (liver,) = (item for item in seg.SegmentSequence if item.SegmentLabel == "Liver")
        type_ = liver.SegmentedPropertyTypeCodeSequence[0]
        type_.CodeValue, type_.CodingSchemeDesignator, type_.CodeMeaning = value, scheme, meaning

    seg = repainted(tmp_path / "sent.dcm", tmp_path / "mass.dcm", coded, SOPInstanceUID=generate_uid())
    code, refusal = add_seg(settings, tmp_path / "ct", seg)
    assert (code, refusal["code"]) == (3, "truth-unreadable")
    assert refusal["measured"].keys() == {"segment"}
    assert open_records(settings.records_url).cases(Purpose.GATE) == ()


def test_kidneys_whose_names_are_swapped_are_no_truth(settings: Settings, ohif: Path, tmp_path: Path) -> None:
    sides = {"Left kidney": "Right kidney", "Right kidney": "Left kidney"}

    def swapped(seg: Dataset, frames: np.ndarray) -> None:
        _by_hand(seg, frames)
        kidneys = [item for item in seg.SegmentSequence if item.SegmentLabel in sides]
        types = [item.SegmentedPropertyTypeCodeSequence for item in kidneys]
        for item, type_ in zip(kidneys, reversed(types), strict=True):
            item.SegmentLabel = sides[item.SegmentLabel]
            item.SegmentedPropertyTypeCodeSequence = type_

    seg = repainted(ohif / "sent.dcm", tmp_path / "s.dcm", swapped, SOPInstanceUID=generate_uid())
    code, refusal = add_seg(settings, ohif / "ct", seg)
    assert (code, refusal["code"]) == (3, "sides-swapped")
    assert open_records(settings.records_url).cases(Purpose.GATE) == ()


def test_a_truth_belongs_to_the_series_it_was_drawn_on(
    settings: Settings, ohif: Path, tmp_path: Path
) -> None:
    both = tmp_path / "ct"
    shutil.copytree(ohif / "ct", both)
    for path in sorted((ohif / "ct").glob("*.dcm")):
        image = dcmread(path)
        series = image.SeriesInstanceUID
        image.SeriesInstanceUID = "1.2.3"  # first by UID: it would be chosen
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{image.InstanceNumber}"
        image.save_as(both / f"other-{path.name}")
    assert choose_series(read_series(both)).series_uid == "1.2.3"
    seg = dcmread(ohif / "saved-by-ohif.dcm")
    for frame in seg.PerFrameFunctionalGroupsSequence:
        del frame.DerivationImageSequence
    del seg.ReferencedSeriesSequence
    seg.save_as(tmp_path / "uncited.dcm")
    code, refusal = add_seg(settings, both, tmp_path / "uncited.dcm")
    assert (code, refusal["code"]) == (3, "series-not-cited")
    assert refusal["measured"] == {"series_cited": 0, "series_fit": 2}
    code, kept = add_seg(settings, both, ohif / "saved-by-ohif.dcm")
    assert (code, kept["case_id"]) == (0, CaseStore(settings.case_store).pseudonym(series))


def test_a_patient_without_a_number_is_in_no_set(settings: Settings, tmp_path: Path) -> None:
    study(tmp_path)
    for path in (tmp_path / "ct").glob("*.dcm"):
        edit(path, setting(PatientID=" "))
    code, refusal = add(settings, tmp_path)
    assert (code, refusal["code"]) == (3, "missing-patient-id")


def test_numbers_of_two_issuers_are_two_patients(tmp_path: Path) -> None:
    written(tmp_path)
    ct = load(read_series(tmp_path)[0])
    images = []
    for issuer, number in (("", " P1 "), ("A", "P1"), (" B", "P1 ")):
        images.append(Dataset())
        setting(PatientID=number, IssuerOfPatientID=issuer)(images[-1])
    names = [patient_of(replace(ct, images=(image,))) for image in images]
    assert names == ["P1", "A\\P1", "B\\P1"]


def test_an_acceptance_names_the_release_whose_result_was_seen(settings: Settings, tmp_path: Path) -> None:
    made = study(tmp_path)
    uid = str(next(phantom_images(made)).StudyInstanceUID)
    words = ("accept", tmp_path / "ct", "--reader", "Dr A", "--organs")
    assert organloop(settings, *words, "liver")[1]["code"] == "no-result"
    records = open_records(settings.records_url)
    records.first_written("key", lines(records)[0].at)
    records.record_result("key", study_uid=uid, series_uid="1.2", release=1, objects={"organ-seg": "1.3"})
    assert organloop(settings, *words, "kidney") == (
        3,
        {
            "code": "unknown-organ",
            "detail": "kidney named; release 1 has liver, spleen",
            "measured": {},
        },
    )
    code, document = organloop(settings, *words, "spleen, liver")
    assert (code, document["organs"], document["release"]) == (0, ["liver", "spleen"], 1)
    assert records.accepted_organs("1.2", 1) == {"liver", "spleen"}


def test_of_a_study_with_results_of_two_series_one_is_named(settings: Settings) -> None:
    records = open_records(settings.records_url)
    records.set_incumbent(1, approver="IT", reason="told again")
    for series in ("1.2.1", "1.2.2"):
        records.first_written(series, lines(records)[0].at)
        objects = {"organ-seg": f"{series}.9"}
        records.record_result(series, study_uid="1.2", series_uid=series, release=1, objects=objects)
    words = ("accept", "1.2", "--reader", "Dr A", "--organs", "liver")
    code, refusal = organloop(settings, *words)
    assert (code, refusal["code"]) == (3, "several-series")
    for uid in ("1.2.1", "1.2.1.9"):
        words_of_another_kind = ("accept", uid, "--reader", "Dr A", "--organs", "liver")
        assert organloop(settings, *words_of_another_kind)[1]["code"] == "no-result"
    assert organloop(settings, *words, "--series", "1.2")[1]["code"] == "no-result"
    code, document = organloop(settings, *words, "--series", "1.2.2")
    assert (code, document["series_uid"]) == (0, "1.2.2")
    assert records.accepted_organs("1.2.1", 1) == frozenset()
    assert records.accepted_organs("1.2.2", 1) == {"liver"}
