"""`organloop segment`, as its user runs it: one CT folder in, proven DICOM objects out, or a clear no."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from statistics import mean

import pytest
from pydicom import dcmread
from pydicom.uid import RTStructureSetStorage

from models.metrics.dsc import dsc
from models.organs import CATALOGUE, ORGANS
from services.dicom.ct.chosen import choose_series
from services.dicom.ct.loaded import load
from services.dicom.ct.phantom_series import read_truth
from services.dicom.ct.series import read_series
from services.dicom.seg.reader import read_seg
from tests.support.ct_files import UNUSABLE
from tests.support.instances import ct_slice

KINDS = {"organ-seg", "review-seg", "report-sr"}
KEY_OF = {entry.label: entry.key for entry in CATALOGUE}


def errors_of(path: Path) -> list[str]:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian's dicom3tools)")
    judged = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    return [line for line in judged.stderr.splitlines() if line.startswith("Error")]


def test_a_phantom_is_segmented_well_and_says_so(organloop, phantom_study, tmp_path):
    answer = organloop("segment", phantom_study / "ct", "--out", tmp_path / "out")
    assert answer.exit_code == 0
    assert [one["organ"] for one in answer.document["organs"]] == list(ORGANS)
    assert {one["presence"] for one in answer.document["organs"]} == {"found"}
    assert "out-of-domain" not in {r for one in answer.document["organs"] for r in one["reasons"]}
    series = load(choose_series(read_series(phantom_study / "ct")))
    truth, _ = read_truth(phantom_study / "truth.npz")
    path = next(o["path"] for o in answer.document["objects"] if o["kind"] == "organ-seg")
    found = {KEY_OF[s.label]: s.mask.dense() for s in read_seg(Path(path), series).segments}
    assert mean(dsc(found[key], truth[key].dense()) for key in ORGANS) > 0.85


def test_what_is_written_conforms_to_dicom_and_bears_the_demonstration_warning(
    organloop, phantom_study, tmp_path
):
    answer = organloop("segment", phantom_study / "ct", "--out", tmp_path / "out")
    paths = {one["kind"]: Path(one["path"]) for one in answer.document["objects"]}
    assert {"organ-seg", "report-sr"} <= set(paths) <= KINDS
    for path in paths.values():
        assert errors_of(path) == []
        assert b"DEMO NOT FOR CLINICAL USE" in path.read_bytes()


def test_a_repeated_step_makes_the_same_bytes(organloop, phantom_study, tmp_path):
    first = organloop("segment", phantom_study / "ct", "--out", tmp_path / "first").document["objects"]
    again = organloop("segment", phantom_study / "ct", "--out", tmp_path / "again").document["objects"]
    assert [Path(one["path"]).read_bytes() for one in first] == [
        Path(one["path"]).read_bytes() for one in again
    ]


def test_without_a_folder_named_each_result_has_one_of_its_own(organloop, phantom_study, tmp_path):
    first = organloop("segment", phantom_study / "ct")
    again = organloop("segment", phantom_study / "ct")
    folder = Path(first.document["objects"][0]["path"]).parent
    assert folder.parent == organloop.home / "results" / first.document["study_uid"]
    assert first.document["objects"] == again.document["objects"]


def test_a_real_patient_is_out_of_the_demonstration_s_domain(organloop, test_data, tmp_path):
    patient = test_data("ct-abdomen-series", "a real patient, whom the demonstration was not made for")
    answer = organloop("segment", patient, "--out", tmp_path / "out")
    assert answer.exit_code == 0
    for one in answer.document["organs"]:
        assert one["flag"] == "review"
        assert "out-of-domain" in one["reasons"]
        assert one["dsc_lower_bound"] is None
    for one in answer.document["objects"]:
        assert errors_of(Path(one["path"])) == []


@pytest.mark.parametrize("code", UNUSABLE)
def test_data_that_cannot_be_used_is_refused_with_a_code(organloop, tmp_path, code):
    UNUSABLE[code](tmp_path / "in")
    answer = organloop("segment", tmp_path / "in", "--out", tmp_path / "out")
    assert (answer.exit_code, answer.document["code"]) == (3, code)
    assert answer.document["detail"].endswith(".")
    assert not (tmp_path / "out").exists()


def test_a_gap_in_the_slices_is_refused_with_its_millimetres(organloop, phantom_study, tmp_path):
    gapped = tmp_path / "ct"
    shutil.copytree(phantom_study / "ct", gapped)
    sorted(gapped.iterdir())[10].unlink()
    answer = organloop("segment", gapped, "--out", tmp_path / "out")
    assert (answer.exit_code, answer.document["code"]) == (3, "missing-slices")
    assert answer.document["measured"]["gap_mm"] == pytest.approx(10.0)
    assert not (tmp_path / "out").exists()


def test_an_empty_folder_a_text_file_and_a_single_slice_are_refused(organloop, phantom_study, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    text = tmp_path / "letter.txt"
    text.write_text("Dear colleague,")
    single = tmp_path / "single"
    single.mkdir()
    shutil.copy(sorted((phantom_study / "ct").iterdir())[0], single)
    codes = [organloop("segment", source, "--out", tmp_path / "out") for source in (empty, text, single)]
    assert [(one.exit_code, one.document["code"]) for one in codes] == [
        (3, "not-dicom"),
        (3, "not-dicom"),
        (3, "too-few-slices"),
    ]
    assert not (tmp_path / "out").exists()


def test_without_a_triton_nothing_is_written_and_the_reason_is_said(organloop, phantom_study, tmp_path):
    answer = organloop(
        "segment", phantom_study / "ct", "--out", tmp_path / "out", ORGANLOOP_TRITON_URL="127.0.0.1:9"
    )
    assert (answer.exit_code, answer.document["code"]) == (1, "serving-unavailable")
    assert "127.0.0.1:9" in answer.document["detail"]
    assert not (tmp_path / "out").exists()


def test_a_release_that_does_not_exist_is_named(organloop, phantom_study, tmp_path):
    answer = organloop("segment", phantom_study / "ct", "--out", tmp_path / "out", "--release", "9")
    assert (answer.exit_code, answer.document["code"]) == (1, "invalid-release")
    assert "release 9" in answer.document["detail"]


def test_a_full_disk_leaves_nothing_half_written(organloop, phantom_study, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, check=False
    ).returncode == 0  # fmt: skip
    if not mounted:
        pytest.skip("a small disk can only be made as root with the right to mount")
    try:
        answer = organloop("segment", phantom_study / "ct", "--out", disk / "out")
        assert (answer.exit_code, answer.document["code"]) == (1, "storage-failed")
        assert list(disk.rglob("*.dcm")) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_wrong_setting_and_a_wrong_word_are_wrong_usage():
    command = shutil.which("organloop", path=str(Path(os.sys.executable).parent))
    wrong_setting = subprocess.run(
        [command, "status"], env={"ORGANLOOP_THREADS": "none"}, capture_output=True, text=True, check=False
    )
    assert wrong_setting.returncode == 2
    assert "threads" in wrong_setting.stderr
    assert subprocess.run([command, "segmnt"], capture_output=True, check=False).returncode == 2


def test_a_study_the_archive_does_not_hold_is_refused_and_a_silent_archive_is_a_failure(
    organloop, clean_archive
):
    unknown = organloop("segment", "1.2.3", **clean_archive.variables)
    assert (unknown.exit_code, unknown.document["code"]) == (3, "study-gone")
    silent = organloop("segment", "1.2.3", ORGANLOOP_ORTHANC_URL="http://127.0.0.1:9")
    assert (silent.exit_code, silent.document["code"]) == (1, "pacs-unavailable")
    assert "127.0.0.1:9" in silent.document["detail"]


def test_a_study_of_the_archive_is_segmented_into_it_or_into_a_folder_that_is_named(
    organloop, phantom_study, clean_archive, tmp_path
):
    """Contours under the CT's series UID decide nothing and are named, be they there first or later."""
    image = dcmread(min((phantom_study / "ct").iterdir()), stop_before_pixels=True)
    values = {"PatientID": image.PatientID, "SOPClassUID": RTStructureSetStorage, "Modality": "RTSTRUCT"}
    first, later = (ct_slice(image.StudyInstanceUID, image.SeriesInstanceUID, **values) for _ in range(2))
    clean_archive.put(first.content)
    clean_archive.put(phantom_study / "ct")
    study_uid = clean_archive.instances("Study")[0]["StudyInstanceUID"]
    words, home = ("segment", study_uid), clean_archive.variables
    folder = organloop(*words, "--out", tmp_path / "out", **home)
    assert folder.exit_code == 0
    contours = [{"sop_instance_uid": first.sop_instance_uid, "modality": "RTSTRUCT", "code": "not-ct"}]
    assert folder.document["set_aside"] == contours
    clean_archive.put(later.content)
    assert {Path(one["path"]).parent for one in folder.document["objects"]} == {tmp_path / "out"}
    assert clean_archive.instances("Series", Modality="SEG") == []
    stored = organloop(*words, **home)
    assert stored.exit_code == 0
    assert len(stored.document["set_aside"]) == 2
    assert all(set(one) == {"kind", "uid"} for one in stored.document["objects"])
    for one, written in zip(stored.document["objects"], folder.document["objects"], strict=True):
        assert one["uid"] == written["uid"]
        assert clean_archive.bytes_of(one["uid"]) == Path(written["path"]).read_bytes()
