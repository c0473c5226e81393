"""What a person may ask of `organloop segment` beyond one clean series: rules, and lost identifiers made."""

from __future__ import annotations

import shutil
from pathlib import Path

from pydicom import dcmread

from services.dicom.identity import hashed_uid
from tests.support.ct_files import edit, setting

THICKEST = """
[[prefer]]
name = "thickest of this site"
fact = "step_mm"
most = true
"""


def with_thick_series(ct: Path, folder: Path) -> str:
    """Copy a series and every second slice of it as another one, with a sharp kernel; return its UID."""
    shutil.copytree(ct, folder / "thin")
    uid = hashed_uid("thick", str(ct))
    (folder / "thick").mkdir()
    for path in sorted(ct.iterdir())[::2]:
        copy = Path(shutil.copy(path, folder / "thick"))
        edit(
            copy,
            setting(SeriesInstanceUID=uid, SOPInstanceUID=hashed_uid(path.name), ConvolutionKernel="B70f"),
        )
    return uid


def test_the_rules_of_the_site_choose_the_series_and_say_so(organloop, phantom_study, tmp_path):
    study = tmp_path / "study"
    thick = with_thick_series(phantom_study / "ct", study)
    thin = str(dcmread(next((phantom_study / "ct").iterdir())).SeriesInstanceUID)
    shipped = organloop("segment", study, "--out", tmp_path / "shipped").document
    assert shipped["series_uid"] == thin
    assert any(note.startswith(f"Series {thick} is fit; another is preferred") for note in shipped["notes"])
    rules = tmp_path / "rules.toml"
    rules.write_text(THICKEST)
    own = organloop("segment", study, "--out", tmp_path / "own", ORGANLOOP_SERIES_RULES=str(rules)).document
    assert own["series_uid"] == thick
    assert "Of 2 series 2 are fit; this one was chosen: thickest of this site." in own["notes"]


def test_lost_identifiers_are_refused_or_made_and_marked_when_asked_for(organloop, phantom_study, tmp_path):
    ct = tmp_path / "ct"
    shutil.copytree(phantom_study / "ct", ct)
    for path in ct.iterdir():
        edit(path, setting(SOPInstanceUID="", StudyInstanceUID="", SeriesInstanceUID=""))
    refused = organloop("segment", ct, "--out", tmp_path / "refused")
    assert (refused.exit_code, refused.document["code"]) == (3, "missing-uid")
    assert not (tmp_path / "refused").exists()
    made = organloop("segment", ct, "--make-identifiers", "--out", tmp_path / "made")
    assert made.exit_code == 0
    assert made.document["verdict"] == "repaired"
    for item in made.document["objects"]:
        written = dcmread(item["path"])
        assert written.StudyInstanceUID == made.document["study_uid"]
        if item["kind"] == "organ-seg":
            assert all(
                "series repaired: missing-uid" in s.SegmentDescription for s in written.SegmentSequence
            )
