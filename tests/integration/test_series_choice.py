"""Several series in one study: which is taken, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import Refused
from services.dicom.ct.chosen import choose_series
from services.dicom.ct.series import read_series
from tests.support.ct_files import edit, setting, written


def another_series(folder: Path, uid: str, step: int, count: int | None = None) -> None:
    """Write the default series again under another UID, every so many slices."""
    for path in written(folder)[: None if count is None else count]:
        edit(path, setting(SeriesInstanceUID=uid))
        edit(
            path,
            lambda dataset: setattr(dataset, "SOPInstanceUID", f"{dataset.SOPInstanceUID[:40]}.{uid[-1]}"),
        )
    for n, path in enumerate(sorted(folder.iterdir())):
        if n % step:
            path.unlink()


def test_the_series_with_most_slices_is_chosen_and_said(tmp_path: Path) -> None:
    written(tmp_path / "all")
    another_series(tmp_path / "few", "1.2.7", step=2)
    readings = read_series(tmp_path)
    for arrival in (readings, readings[::-1]):
        chosen = choose_series(arrival)
        assert len(chosen.paths) == 6
        assert chosen.verdict.notes == (
            "Of 2 series 2 are fit; this one was chosen: longest.",
            "Series 1.2.7 is fit; another is preferred by the rule 'longest' (10 against 12.5).",
        )


def test_the_nearest_to_fit_gives_its_code_when_none_is(tmp_path: Path) -> None:
    written(tmp_path / "gap")[3].unlink()
    another_series(tmp_path / "one", "1.2.7", step=6)
    with pytest.raises(Refused, match="missing-slices"):
        choose_series(read_series(tmp_path))


def test_two_studies_are_not_chosen_from(tmp_path: Path) -> None:
    written(tmp_path / "first")
    written(tmp_path / "second", seed=2)
    with pytest.raises(Refused, match="several-studies"):
        choose_series(read_series(tmp_path))


@pytest.mark.parametrize(
    ("changes", "measured"),
    [
        ({"PatientID": "OTHER"}, {"patients": 2, "issuers": 0, "birth_dates": 1}),
        ({"PatientID": ""}, {"patients": 2, "issuers": 0, "birth_dates": 1}),
        ({"PatientBirthDate": "19010101"}, {"patients": 1, "issuers": 0, "birth_dates": 2}),
    ],
)
@pytest.mark.parametrize("fit", [True, False], ids=["fit", "not fit"])
def test_two_patients_in_one_study_are_not_chosen_from(
    tmp_path: Path, changes: dict[str, str], measured: dict[str, int], fit: bool
) -> None:
    for path in written(tmp_path / "one"):
        edit(path, setting(PatientBirthDate="19000101"))
    another_series(tmp_path / "other", "1.2.7", step=1, count=6 if fit else 1)
    for path in (tmp_path / "other").iterdir():
        edit(path, setting(PatientBirthDate="19000101"))
        edit(path, setting(**changes))
    with pytest.raises(Refused, match="mixed-patient") as refused:
        choose_series(read_series(tmp_path))
    assert refused.value.measured == {"series": 2} | measured
    assert "OTHER" not in str(refused.value)


def test_a_device_that_leaves_out_issuer_and_date_of_birth_names_no_other_patient(tmp_path: Path) -> None:
    for path in written(tmp_path / "all"):
        edit(path, setting(PatientBirthDate="19000101", IssuerOfPatientID="here"))
    another_series(tmp_path / "few", "1.2.7", step=2)
    for path in (tmp_path / "few").iterdir():
        edit(path, setting(PatientBirthDate=""))
    assert len(choose_series(read_series(tmp_path)).paths) == 6
