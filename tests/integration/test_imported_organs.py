"""A public checkpoint of 32 classes in service: served by Triton, its results written and corrected."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from deploy.demo.simulated_reader import save_like_ohif
from flows.corrections.ingest import ingest, memory_of
from flows.segmentation.segment import SegmentedStudy, segment
from flows.serving.serve import write
from flows.training.import_checkpoint import make_first
from models.documents import to_json
from models.errors import Refused
from models.geometry import Geometry
from models.organs import CATALOGUE, KEYS, organ
from models.phantom.case import PhantomCase
from models.volume import Volume
from services.dicom.ct.phantom_series import write_phantom_series
from services.settings import Settings
from services.triton.client import TritonSegmenter
from services.wiring import Services, connect_in_process
from tests.support.ct_files import case as small_case
from tests.support.established import AS_THE_CATALOGUE
from tests.support.imported import Imported
from tests.support.learning import SAVED_AT
from tests.support.log import lines
from tests.support.serving import server_at
from tests.support.waiting import GUARD_SECONDS

BY_LABEL = {entry.label: entry for entry in CATALOGUE}


@dataclass(frozen=True)
class Result:
    services: Services
    ct: Path
    out: Path
    study: SegmentedStudy

    @property
    def seg(self) -> Dataset:
        return dcmread(self.out / "organ-seg.dcm")


def ct_series(folder: Path) -> Path:
    """Write a block of tissue, 30 x 40 x 40 mm: one window of the network."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = 2.5, 1.0, 1.0, 1.0
    geometry = Geometry((12, 40, 40), affine)
    hu = np.random.default_rng(3).integers(-150, 250, geometry.shape).astype(np.int16)
    example = small_case()
    write_phantom_series(PhantomCase(Volume(hu, geometry), {}, "A", 1, dict(example.acquisition)), folder)
    return folder


@pytest.fixture(scope="module")
def result(imported: Imported, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Result]:
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(imported.home, folder / "home")
    services, number = connect_in_process(Settings(home=folder / "home")), imported.document["release"]
    make_first(number, services.releases, services.records, "Ada", "a first release of our own")
    write(services.releases.release(number), services)
    with (
        server_at(folder / "home" / "triton") as process,
        closing(TritonSegmenter(process.url, deadline_seconds=GUARD_SECONDS)) as client,
    ):
        served = replace(services, segmenter=client, endpoints=(client,), targets=AS_THE_CATALOGUE)
        ct, out = ct_series(folder / "ct"), folder / "out"
        yield Result(services, ct, out, segment(ct, out, served, now=lambda: SAVED_AT))


def test_the_organ_seg_has_a_segment_for_each_of_the_32_classes_with_its_codes(result: Result) -> None:
    segments = result.seg.SegmentSequence
    assert [item.SegmentLabel for item in segments] == [entry.label for entry in CATALOGUE]
    for item in segments:
        entry = BY_LABEL[item.SegmentLabel]
        (type_,) = item.SegmentedPropertyTypeCodeSequence
        (category,) = item.SegmentedPropertyCategoryCodeSequence
        assert (type_.CodeValue, category.CodeValue) == (entry.type.value, entry.category.value)
        regions = [region.CodeValue for region in item.get("AnatomicRegionSequence", ())]
        assert regions == ([entry.region.value] if entry.region else [])
    tumour = next(item for item in segments if item.SegmentLabel == "Kidney tumour")
    assert tumour.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Neoplasm"
    assert tumour.AnatomicRegionSequence[0].CodeMeaning == "Kidney"
    assert "no-target" in tumour.SegmentDescription
    assert "no DSC bound is claimed" in tumour.SegmentDescription
    assert "; DEMO NOT FOR CLINICAL USE; " in result.seg.SeriesDescription
    found = [one for one in result.study.findings.organs if one.presence == "found"]
    assert len(found) >= 5


def test_every_finding_is_told_none_is_clear_and_what_has_no_target_is_not_judged(result: Result) -> None:
    organs = to_json(result.study.document)["organs"]
    assert [one["organ"] for one in organs] == list(KEYS)
    judged = [one for one in organs if organ(one["organ"]).dsc_target is not None]
    assert {one["flag"] for one in judged} <= {"review", "reject"}
    assert [one["flag"] for one in organs if one not in judged] == ["not-judged"] * 9
    assert "; 9 not judged" in result.seg.SeriesDescription
    regions = {region.organ for region in result.study.findings.regions}
    assert regions <= {one["organ"] for one in judged}
    report = dcmread(result.out / "report-sr.dcm")
    assert str(report.to_json()).count('"no-target"') == 0  # codes, not words
    assert str(report.to_json()).count("NO-TARGET") == 9


@pytest.mark.parametrize("name", ["organ-seg.dcm", "report-sr.dcm", "review-seg.dcm"])
def test_dciodvfy_finds_no_error(result: Result, name: str) -> None:
    tool = shutil.which("dciodvfy")
    if tool is None:
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    path = result.out / name
    if name == "review-seg.dcm" and not path.exists():
        assert not result.study.findings.regions
        return
    told = subprocess.run([tool, str(path)], capture_output=True, text=True, check=False)
    assert [line for line in (told.stdout + told.stderr).splitlines() if line.startswith("Error")] == []


@pytest.mark.parametrize("key", ["duodenum", "liver_tumour", "portal_and_splenic_vein"])
def test_a_correction_of_a_further_organ_is_taken_in(result: Result, tmp_path: Path, key: str) -> None:
    label = organ(key).label
    box = np.zeros(result.study.series.volume.geometry.shape, bool)
    box[3:9, 10:25, 8:20] = True
    was = result.study.findings.masks[key].dense()
    painted = was | box
    content = save_like_ohif(
        (result.out / "organ-seg.dcm").read_bytes(),
        result.study.series,
        {label: painted},
        written_at=SAVED_AT,
    )
    file = tmp_path / "saved.dcm"
    file.write_bytes(content)
    document = ingest(file, result.ct, result.out / "organ-seg.dcm", memory_of(result.services.settings))
    assert document.status == "correction", document
    said = {one.organ: one for one in document.organs}
    assert said[key].state == "edited"
    assert said[key].added_voxels == int((painted & ~was).sum())


def test_an_imported_release_is_made_first_only_where_none_serves(result: Result) -> None:
    with pytest.raises(Refused) as refused:
        make_first(1, result.services.releases, result.services.records, "Ada", "again")
    assert refused.value.code == "incumbent-exists"
    (change,) = lines(result.services.records, "incumbent-changed")
    assert (change.who, change.payload["to"], change.payload["from"]) == ("Ada", 1, None)
