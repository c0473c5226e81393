"""A text of a header or a person, of any length and content, is kept on both databases, or cut by a rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset

from models.corrections.ledger import OrganLedger, OrganState
from models.series.acquisition import Acquisition
from models.words import LONGEST, storable
from services.cases.store import CaseStore
from services.dicom.ct.provenance import acquisition_of, patient_of_image, site_of
from services.dicom.seg.saving import _viewer, _words
from services.records.chain import chain_faults
from services.records.entries.arrivals import Arrival
from services.records.entries.cases import Case, Purpose
from services.records.entries.corrections import Answer, Correction, OpenQuestion
from services.records.events.event import Event
from services.records.events.operations import BackupFailed
from services.records.log import recorded
from services.records.seals import sealed_rows
from services.records.store import SqlRecords, open_records
from services.records.transactions import local_now
from tests.support.postgresql import new_database

# pydicom warns of what no header should hold; it reads it all the same.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

TEXTS = st.text(st.characters(codec=None), max_size=200)
"""Of every character there is, NUL and halves of a character too."""
NUMBERS = count()

# What a hospital has, and what it cannot mean.
HARD = ("Krankenhaus " * 20, "\0", "A\0B", "\ud800", "\udfffX", "x" * 10_000, "a\\b", "\ufffd", "🫀" * 600)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def records(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlRecords]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('strings') / 'records.sqlite'}"
    else:
        url = new_database(request.getfixturevalue("postgresql"), "any_string")
    opened = open_records(url)
    yield opened
    opened.close()


def hard(test):
    """Have a test try each of the hard texts, besides what is drawn."""
    for text in HARD:
        test = example(text)(test)
    return settings(
        max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )(test)


@hard
@given(TEXTS)
def test_a_header_of_any_text_is_kept_as_it_was_read(records: SqlRecords, text: str) -> None:
    number = next(NUMBERS)
    image = Dataset()
    image.InstitutionName = image.Manufacturer = image.ConvolutionKernel = text
    site, acquisition = (read(SimpleNamespace(images=[image])) for read in (site_of, acquisition_of))
    assert len(site) <= LONGEST
    case = Case(f"case-{number}", Purpose.GATE, f"{number:064x}", "independent", "1" * 64, site, acquisition)
    for _ in range(2):
        records.add_case(case)
    assert case in records.cases(Purpose.GATE)
    records.first_written(f"k{number}", local_now())
    records.record_result(
        f"k{number}",
        study_uid="1.2",
        series_uid="1.3",
        release=1,
        objects={"organ-seg": f"1.{number}"},
        site=site,
    )
    assert site in records.studies_by_site()


@hard
@given(TEXTS)
def test_a_seg_saved_by_any_name_is_one_version_however_often_it_is_told(
    records: SqlRecords, text: str
) -> None:
    seg = Dataset()
    seg.file_meta = FileMetaDataset()
    seg.SpecificCharacterSet = "ISO_IR 192"
    seg.ContentCreatorName = seg.Manufacturer = text
    correction = Correction(
        sop_instance_uid=f"2.{next(NUMBERS)}",
        sent_uid="1.3",
        study_uid="1.2",
        series_uid="1.2.1",
        release=1,
        status="correction",
        reader=_words(seg, "ContentCreatorName"),
        viewer=_viewer(seg),
        organs=(OrganLedger("liver", OrganState.EDITED, 1, 0, 0, 0.1, 0.0, 0.5),),
        questions=(OpenQuestion(1, text, (), "no-name"),),
        answers=(Answer(text, text),),
    )
    kept = records.record_correction(correction)
    assert kept == storable(correction)
    assert records.record_correction(correction) == kept
    assert records.corrections(sop_instance_uid=correction.sop_instance_uid) == (kept,)


@hard
@given(TEXTS)
def test_what_a_person_says_in_any_words_is_kept_and_told_again_changes_nothing(
    records: SqlRecords, text: str
) -> None:
    number = next(NUMBERS)
    for _ in range(2):
        records.record_acceptance("1.2", f"3.{number}", 1, ["liver"], text)
        records.set_incumbent(number + 1, approver=text, reason=text)
        records.decline(number + 100_000, "a" * 64, approver=text, reason=text)
        records.record(BackupFailed(why=text), who=text, key=f"{number}:{text}")
        records.erase_patient(f"erased {number}", who=text, reason=text)
        records.change_arrival(None, Arrival(f"4.{number}", f"4.{number}", detail=text))
        records.note_watch(text)
    assert records.accepted_organs(f"3.{number}", 1) == {"liver"}
    assert records.arrival(f"4.{number}").detail == storable(text)


def test_what_was_kept_is_as_its_events_say(records: SqlRecords) -> None:
    events = [one for one in map(recorded, records.lines()) if one is not None]
    assert isinstance(events[0].said, Event)
    assert sealed_rows(events, records.guarded_rows()).faults == ()
    assert chain_faults(records.lines()) == []


@hard
@given(TEXTS)
def test_patients_of_other_texts_are_other_patients(tmp_path, text: str) -> None:
    store = CaseStore(tmp_path / "cases")
    image = Dataset()
    image.PatientID = text
    patient = patient_of_image(image)
    if patient is not None:
        assert store.pseudonym(patient) != store.pseudonym(f"{patient}\ufffd")
        assert len(store.pseudonym(patient)) == 64


def test_halves_of_characters_tell_two_patients_apart(tmp_path) -> None:
    store = CaseStore(tmp_path / "cases")
    assert store.pseudonym("\ud800") != store.pseudonym("\ud801") != store.pseudonym("\ufffd")


def test_a_text_that_can_be_kept_is_left_as_it_is() -> None:
    case = Case("c", Purpose.GATE, "p", "independent", "d", "Zürich", Acquisition("CT 7"))
    assert storable(case) is case
    assert storable(replace(case, site="A\0")) == replace(case, site="A\ufffd")
