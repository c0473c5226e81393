"""The case store on disk: what goes in comes out, and the key stays the site's."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from models.corrections.ledger import INDEPENDENT, HybridLabel, Provenance
from models.errors import Refused, StorageFailed
from models.geometry import Geometry
from models.masks import BoxedMask
from models.volume import Volume
from services.cases.store import CaseContent, CaseStore
from services.records.entries.cases import Purpose
from services.records.store import open_records

RANDOM = np.random.default_rng(7)
SHEARED = Geometry(
    (3, 5, 4), np.array([[0, 0.2, 1.5, -120], [1, 2.5, 0, 80.5], [5, 0, 0, -901.25], [0, 0, 0, 1]])
)


@pytest.fixture
def records(tmp_path):
    opened = open_records(f"sqlite:///{tmp_path / 'records.sqlite'}")
    yield opened
    opened.close()


def content() -> CaseContent:
    hu = RANDOM.integers(-1024, 3000, size=SHEARED.shape, dtype=np.int16)
    inside = RANDOM.random(SHEARED.shape) > 0.5
    provenance = RANDOM.integers(0, len(Provenance), size=SHEARED.shape, dtype=np.uint8)
    return CaseContent(
        Volume(hu, SHEARED),
        SHEARED,
        {"liver": BoxedMask.of(~inside)},
        {"liver": HybridLabel.of(inside, provenance)},
    )


def test_a_case_comes_back_voxel_for_voxel_and_in_its_place(tmp_path, records):
    store = CaseStore(tmp_path / "cases")
    kept = content()
    case = store.add(records, "phantom 1", "patient 1", Purpose.GATE, INDEPENDENT, kept)
    read = store.read(case)
    assert np.array_equal(read.volume.hu, kept.volume.hu)
    assert read.volume.hu.dtype == np.int16
    assert read.volume.geometry.same_grid(SHEARED)
    assert read.ct.same_grid(SHEARED)
    assert read.sent["liver"] == kept.sent["liver"]
    assert read.labels["liver"].inside == kept.labels["liver"].inside
    assert np.array_equal(read.labels["liver"].provenance, kept.labels["liver"].provenance)


def test_the_same_case_has_the_same_digest_and_another_content_is_refused(tmp_path, records):
    store = CaseStore(tmp_path / "cases")
    kept = content()
    arguments = (records, "phantom 1", "patient 1", Purpose.GATE, INDEPENDENT)
    assert store.add(*arguments, kept) == store.add(*arguments, kept)
    with pytest.raises(Refused, match="case-changed"):
        store.add(*arguments, content())


def test_a_patient_who_leaks_leaves_nothing_on_disk(tmp_path, records):
    store = CaseStore(tmp_path / "cases")
    gate = store.add(records, "phantom 1", "patient 1", Purpose.GATE, INDEPENDENT, content())
    with pytest.raises(Refused, match="patient-leak"):
        store.add(records, "phantom 2", "patient 1", Purpose.TUNING, "edited-from-1", content())
    assert sorted(path.name for path in store.folder.iterdir()) == sorted([gate.case_id, "site.key"])


def test_a_pseudonym_is_the_same_at_one_site_and_another_elsewhere(tmp_path):
    here, elsewhere = CaseStore(tmp_path / "here"), CaseStore(tmp_path / "elsewhere")
    assert here.pseudonym("P1") == CaseStore(tmp_path / "here").pseudonym("P1") != here.pseudonym("P2")
    assert here.pseudonym("P1") != elsewhere.pseudonym("P1")
    assert (here.folder / "site.key").stat().st_mode & 0o777 == 0o600


def test_processes_that_start_together_agree_on_one_key(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        pseudonyms = set(pool.map(lambda _: CaseStore(tmp_path / "cases").pseudonym("P1"), range(16)))
    assert len(pseudonyms) == 1
    assert [path.name for path in (tmp_path / "cases").iterdir()] == ["site.key"]


def test_a_damaged_key_is_an_error_and_never_replaced(tmp_path):
    store = CaseStore(tmp_path)
    (tmp_path / "site.key").write_bytes(b"half a key")
    with pytest.raises(StorageFailed, match="not a key"):
        store.pseudonym("P1")
    assert (tmp_path / "site.key").read_bytes() == b"half a key"


def _swap(folder: Path) -> None:
    (folder / "labels" / "liver.nii.gz").write_bytes((folder / "sent" / "liver.nii.gz").read_bytes())


def _one_too_many(folder: Path) -> None:
    (folder / "labels" / "spleen.nii.gz").write_bytes((folder / "labels" / "liver.nii.gz").read_bytes())


@pytest.mark.parametrize(
    "change",
    [
        _swap,
        _one_too_many,
        lambda folder: (folder / "volume.nii.gz").unlink(),
        lambda folder: (folder / "volume.nii.gz").write_bytes(b"damaged"),
        shutil.rmtree,
    ],
)
def test_a_case_that_is_not_what_was_kept_is_a_storage_failure(tmp_path, records, change):
    store = CaseStore(tmp_path / "cases")
    case = store.add(records, "phantom 1", "patient 1", Purpose.GATE, INDEPENDENT, content())
    change(store.folder / case.case_id)
    with pytest.raises(StorageFailed, match="is not what was kept"):
        store.read(case)


def test_what_a_killed_process_left_aside_is_no_part_of_a_case(tmp_path, records):
    store = CaseStore(tmp_path / "cases")
    case = store.add(records, "phantom 1", "patient 1", Purpose.GATE, INDEPENDENT, content())
    (store.folder / case.case_id / "labels" / f".liver.nii.gz.{'0' * 32}").write_bytes(b"half")
    assert store.read(case).labels.keys() == {"liver"}
