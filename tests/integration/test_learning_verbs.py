"""The verbs `ingest` and `tune`, as a person or a job calls them."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from tests.corrections import KIDNEY_OVERPAINTED, LIVER_ADDED
from tests.support.returned_segs import without_spleen


@pytest.fixture
def organloop(tmp_path):
    """The command in a home where nothing has happened yet."""

    def call(*words):
        home = {"ORGANLOOP_HOME": str(tmp_path / "home")}
        result = CliRunner().invoke(app, [*map(str, words)], env=home)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


def test_a_correction_is_understood_exactly_where_nothing_has_served(organloop, ohif, tmp_path):
    arguments = ("ingest", ohif / "saved-by-ohif.dcm", "--study", ohif / "ct", "--sent", ohif / "sent.dcm")
    result = organloop(*arguments, "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (document["status"], document["code"], document["questions"]) == ("correction", None, [])
    changed = {
        one["organ"]: (one["state"], one["added_voxels"], one["removed_voxels"], one["by_overpaint_voxels"])
        for one in document["organs"]
    }
    untouched = ("not-reviewed", 0, 0, 0)
    assert changed == {
        "spleen": untouched,
        "liver": ("edited", LIVER_ADDED, 0, 0),
        "stomach": untouched,
        "right_kidney": untouched,
        "left_kidney": ("edited", 0, KIDNEY_OVERPAINTED, KIDNEY_OVERPAINTED),
    }
    assert not (tmp_path / "home").exists()
    text = organloop(*arguments)
    assert (document["kept"], document["why"].split(":")[0]) == (False, "no-release")
    assert "not kept for tuning: no-release" in text.stdout
    assert (
        f"left_kidney   edited            0       {KIDNEY_OVERPAINTED}            {KIDNEY_OVERPAINTED}"
        in text.stdout
    )


def test_a_question_says_how_it_is_answered(organloop, ohif, tmp_path):
    saved = without_spleen(ohif / "saved-by-ohif.dcm", tmp_path / "saved.dcm")
    where = ("--study", ohif / "ct", "--sent", ohif / "sent.dcm")
    asked = organloop("ingest", saved, *where)
    said = "spleen did not come back; answer --as spleen=deleted or --as spleen=not-reviewed"
    assert f"question: {said}" in asked.stdout
    answered = organloop("ingest", saved, *where, "--as", "spleen=deleted", "--reader", "Dr A")
    assert answered.exit_code == 0
    assert "question" not in answered.stdout


def test_ours_unchanged_is_0_and_a_stranger_is_3(organloop, ohif):
    where = ("--study", ohif / "ct", "--sent", ohif / "sent.dcm", "--json")
    ours = organloop("ingest", ohif / "sent.dcm", *where)
    assert (ours.exit_code, json.loads(ours.stdout)["status"]) == (0, "ours-unchanged")
    stranger = organloop("ingest", ohif / "ct", *where)
    document = json.loads(stranger.stdout)
    assert (stranger.exit_code, document["status"], document["code"]) == (3, "stranger", "not-a-seg")
    nowhere = organloop("ingest", ohif / "sent.dcm", "--study", ohif / "nowhere", *where[2:])
    assert (nowhere.exit_code, json.loads(nowhere.stdout)["code"]) == (3, "not-dicom")


@pytest.mark.parametrize(
    "words",
    [
        ("ingest",),
        ("ingest", "1.2.3", "--scope", "half"),
        ("ingest", "1.2.3", "--as", "3=stomach"),
        ("tune", "--organs", "liver,appendix"),
        ("tune", "--level", "all"),
    ],
)
def test_wrong_usage_is_2(organloop, words):
    assert organloop(*words).exit_code == 2


def test_an_answer_that_is_none_is_wrong_usage(organloop, ohif):
    where = ("--study", ohif / "ct", "--sent", ohif / "sent.dcm", "--reader", "Dr A")
    for words in ("3=appendix", "liver", "liver=deleted"):
        result = organloop("ingest", ohif / "saved-by-ohif.dcm", *where, "--as", words)
        assert result.exit_code == 2, "no such organ; no answer; not asked"


def test_without_an_archive_a_uid_is_a_failure_that_says_what_to_name(organloop):
    result = organloop("ingest", "1.2.3", "--json")
    document = json.loads(result.stdout)
    assert (result.exit_code, document["code"]) == (1, "pacs-failed")
    assert "--study and --sent" in document["detail"]


def test_a_home_where_nothing_serves_cannot_tune(organloop):
    result = organloop("tune", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["code"] == "invalid-release"
