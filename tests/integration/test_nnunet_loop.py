"""A network that nnU-Net planned learns from its readers: one head, by cases on the CT's own grid."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from scipy.spatial.transform import Rotation

from deploy.cli.studies import said_below
from flows.calibration import measure
from flows.cases.keep import add_case
from flows.gate.gate_candidate import gate_candidate
from flows.promotion.promote import promote
from flows.promotion.roll_back import rollback
from flows.segmentation.segment import SegmentedStudy, segment
from flows.serving.serve import write
from flows.tuning.believed_labels import on_grid
from flows.tuning.plan import plan
from flows.tuning.tune import tune
from models.corrections.ledger import INDEPENDENT, HybridLabel, Provenance
from models.errors import Refused
from models.gate.report import Decision
from models.gate.scores import OrganScore, score_organs
from models.geometry import Geometry
from models.inference.segmentation import Segmentation
from models.masks import BoxedMask
from models.network.tuning.seen_windows import window_at, window_origins
from models.release import Release
from models.resampling import to_model_grid
from models.targets import Targets
from models.tuning.ladder import ANY_TARGET
from models.tuning.settings import Level, TuningSettings
from models.volume import Volume
from services.cases.disagreements import Policy
from services.cases.features import FeatureStore
from services.cases.store import CaseContent
from services.cases.tuning_evidence import LabelledCase, gather
from services.cases.tuning_study import read_tuning_study
from services.dicom.ct.phantom_series import write_phantom_series, write_truth
from services.records.entries.cases import Purpose
from services.releases.evidence_packs import EvidencePacks
from services.settings import Settings
from services.wiring import Services, connect_in_process
from tests.support.established import established
from tests.support.nnunet_site import THREADS, NnunetSite, open_nnunet_site
from tests.support.promotion import InProcessEndpoint

TUNING = TuningSettings(Level.NEIGHBOURHOOD, steps=120, batch_voxels=1024, window_voxels=256)
CORRECTED, UNSEEN, GATE = (1, 2, 3), (11, 12, 13), tuple(range(21, 33))
ORGAN = "aorta"
MARGIN = """
[organs.aorta]
gate_margin = 0.02
by = "Dr No"
on = 2026-12-01
from = "the gate's own cases"
cases = 12
interval = [0.1, 0.9]
"""


@dataclass(frozen=True)
class Learnt:
    """A site whose readers corrected the aorta, and the candidate that came of it."""

    site: NnunetSite
    incumbent: Release
    candidate: Release
    endpoint: InProcessEndpoint

    def answers(self, seed: int) -> tuple[Segmentation, Segmentation]:
        """Return what incumbent and candidate answer about a patient."""
        volume = self.site.case(seed).volume
        incumbent, candidate = (
            self.endpoint.segment(volume.hu, one.number, ct=volume.geometry)
            for one in (self.incumbent, self.candidate)
        )
        return incumbent, candidate

    def scores(self, seed: int) -> tuple[dict[str, OrganScore], dict[str, OrganScore]]:
        """Return how both do on a patient."""
        case = self.site.case(seed)
        truth = {key: BoxedMask.of(mask) for key, mask in case.truth.items()}
        incumbent, candidate = (
            score_organs(answer, release, case.volume, case.volume.geometry, truth, "a profile")
            for answer, release in zip(self.answers(seed), (self.incumbent, self.candidate), strict=True)
        )
        return incumbent, candidate


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Learnt:
    """Correct three studies and tune."""
    site = open_nnunet_site(tmp_path_factory.mktemp("loop"), "plain", "RPI", ORGAN)
    for seed in CORRECTED:
        site.correct(seed)
    document = tune(site.services, (ORGAN,), settings=TUNING)
    assert document.release is not None
    assert document.cost.windows_extracted > 0
    store = site.services.releases
    incumbent, candidate = store.release(1), store.release(document.release)
    write(candidate, site.services)
    endpoint = InProcessEndpoint(site.services.repository.versions_folder, THREADS)
    endpoint.load()
    return Learnt(site, incumbent, candidate, endpoint)


def test_only_the_corrected_organ_learns_and_every_other_bit_stays(learnt: Learnt) -> None:
    old, new = learnt.incumbent, learnt.candidate
    assert new.trunk == old.trunk
    assert [organ for organ in old.heads if new.heads[organ] != old.heads[organ]] == [ORGAN]
    assert new.contract == old.contract
    gains = []
    for seed in UNSEEN:
        before, after = learnt.scores(seed)
        assert [organ for organ in before if after[organ].digest != before[organ].digest] == [ORGAN]
        one, other = before[ORGAN].dsc, after[ORGAN].dsc
        assert one is not None
        assert other is not None
        gains.append(other - one)
        was, found = learnt.answers(seed)
        assert was.drawn is not None
        assert found.drawn is not None
        channels = [n for n, organ in enumerate(old.contract.organs) if organ != ORGAN]
        assert np.array_equal(was.probability[channels], found.probability[channels])
        assert np.array_equal(was.disagreement[channels], found.disagreement[channels])
        assert all(was.drawn.on_ct[n] == found.drawn.on_ct[n] for n in channels)
    assert min(gains) > 0.05, gains


def test_two_organs_may_claim_a_voxel_and_the_gate_counts_it(learnt: Learnt) -> None:
    before, after = learnt.scores(UNSEEN[0])
    assert all(not score.overlaps for score in before.values()), "of one softmax none does"
    shared = after[ORGAN].overlaps
    _, answer = learnt.answers(UNSEEN[0])
    assert answer.drawn is not None
    masks = dict(zip(learnt.candidate.contract.organs, answer.drawn.on_ct.values(), strict=True))
    counted = {o: (masks[ORGAN] & masks[o]).voxels for o in masks if o != ORGAN}
    assert shared == {organ: count for organ, count in counted.items() if count}
    assert shared


def test_the_ladder_of_an_imported_network_aims_at_nothing_that_nobody_established(learnt: Learnt) -> None:
    services = learnt.site.services
    organs = learnt.incumbent.contract.organs
    assert plan(services, None, TUNING).settings.targets == dict.fromkeys(organs, ANY_TARGET)
    site = replace(services, targets=established({ORGAN: (0.71, None)}))
    assert plan(site, (ORGAN,), TUNING).settings.targets == {ORGAN: 0.71}


def test_each_study_says_which_organs_claim_the_same_voxels(learnt: Learnt, tmp_path: Path) -> None:
    services = replace(_copy(learnt, tmp_path), segmenter=learnt.endpoint)
    write_phantom_series(learnt.site.case(UNSEEN[0]), tmp_path / "ct")
    before, after = (
        segment(tmp_path / "ct", tmp_path / f"out-{number}", services, release=number).document
        for number in (1, learnt.candidate.number)
    )
    assert before.conflicts == ()
    _, scores = learnt.scores(UNSEEN[0])
    said = {one.organ: one.shared_voxels for one in after.organs if one.shared_voxels}
    assert said == {organ: score.overlaps for organ, score in scores.items() if score.overlaps}
    (line,) = [line for line in said_below(after) if line.startswith("voxels that two organs claim: ")]
    assert all(str(voxels) in line for voxels in said[ORGAN].values())


def test_a_leaning_ct_is_asked_along_its_own_axes_and_the_reader_is_told(
    learnt: Learnt, tmp_path: Path
) -> None:
    services = replace(_copy(learnt, tmp_path), segmenter=learnt.endpoint)
    case = learnt.site.case(UNSEEN[0])

    def segmented(degrees: float) -> SegmentedStudy:
        affine = np.eye(4)
        affine[:3, :3] = Rotation.from_rotvec([degrees, 0, 0], degrees=True).as_matrix()
        grid = Geometry(case.volume.geometry.shape, affine @ case.volume.geometry.affine)
        folder = tmp_path / f"ct {degrees}"
        write_phantom_series(replace(case, volume=Volume(case.volume.hu, grid)), folder)
        return segment(folder, tmp_path / f"out {degrees}", services, release=1)

    upright, leaning = segmented(0), segmented(17.3)
    (always,) = upright.document.notes
    assert leaning.findings.masks == upright.findings.masks, "as nnU-Net, which sees an array"
    (note,) = set(leaning.document.notes) - {always}
    assert "lean 17.3 17.3 0.0 degrees" in note
    report = dcmread(tmp_path / "out 17.3" / "report-sr.dcm")
    assert note in [item.TextValue for item in report.ContentSequence[-1].ContentSequence]
    with pytest.raises(Refused, match=r"lean 45\.0 45\.0 0\.0") as refused:
        segmented(45)
    assert refused.value.code == "askew-axes"
    assert not (tmp_path / "out 45").exists()


def test_windows_are_learnt_from_as_they_are_served_and_kept_features_are_theirs(learnt: Learnt) -> None:
    services, release = learnt.site.services, learnt.incumbent
    evidence = gather(services.records, services.cases, set(), [ORGAN], Policy())
    store = FeatureStore(services.cases)
    assert len(evidence.corrected) == len(CORRECTED)
    for one in evidence.corrected:
        study = read_tuning_study(services.cases, one, release, store)
        places = window_origins(study.seen, release.contract)
        assert study.seen.dtype == np.float32
        assert study.truth[ORGAN].shape == study.seen.shape
        assert study.warm is not None, "sampled while it was served"
        assert study.warm.window_origin.tolist() == [list(place) for place in places]
        content = services.cases.read(one.case)
        assert content.volume.geometry.same_grid(content.ct)
        asked: list[bytes] = []
        engine = learnt.endpoint._engine(1)
        heard = _Heard(engine.predict, asked)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engine, "predict", heard)
            learnt.endpoint.segment(content.volume.hu, 1, ct=content.ct)
        assert asked == [window_at(study.seen, place, release.contract).tobytes() for place in places]


class _Heard:
    """Remembers the windows that a network was asked about."""

    def __init__(self, predict: Callable, asked: list[bytes]) -> None:
        self._predict, self._asked = predict, asked

    def __call__(self, window: np.ndarray) -> object:
        self._asked.append(window.tobytes())
        return self._predict(window)


def test_a_calibration_measures_the_masks_that_are_served(learnt: Learnt) -> None:
    case, release = learnt.site.case(UNSEEN[0]), learnt.candidate
    truth = {key: BoxedMask.of(mask) for key, mask in case.truth.items()}
    content = CaseContent(
        case.volume,
        case.volume.geometry,
        {},
        {key: HybridLabel(mask, Provenance.READER) for key, mask in truth.items()},
    )
    engine = learnt.endpoint._engine(release.number)
    questions = measure._kept([content], release.contract)
    (found,) = measure._measured(release, engine, questions, lambda _: None)
    _, scores = learnt.scores(UNSEEN[0])
    assert {organ: one.dsc for organ, one in found.organs.items()} == {
        organ: score.dsc for organ, score in scores.items()
    }


def test_a_case_that_was_kept_for_a_model_grid_teaches_an_imported_network_nothing(
    learnt: Learnt, tmp_path: Path
) -> None:
    services = _copy(learnt, tmp_path)
    for case in services.records.cases(Purpose.TUNING):
        content = services.cases.read(case)
        coarse = to_model_grid(content.volume, (9.0, 9.0, 9.0))
        services.cases.add(
            services.records, f"of {case.case_id}", "another", Purpose.TUNING, "edited-from-1",
            replace(content, volume=coarse),
        )  # fmt: skip
        assert services.cases.other_grid(case, learnt.incumbent.contract) is None
    kept = services.records.cases(Purpose.TUNING)
    labelled = [LabelledCase(case, (ORGAN,), None, None) for case in kept]
    there, refused = on_grid(services.cases, labelled, learnt.incumbent)
    assert (len(there), {one.code for one in refused}) == (len(CORRECTED), {"other-grid"})
    assert "kept at 9 x 9 x 9 mm, where the incumbent's is the CT's" in refused[0].detail


def test_a_candidate_is_gated_promoted_and_rolled_back_as_any_other(learnt: Learnt, tmp_path: Path) -> None:
    services = replace(_copy(learnt, tmp_path), segmenter=learnt.endpoint, endpoints=(learnt.endpoint,))
    for seed in GATE:
        case = learnt.site.case(seed)
        labels = {
            key: HybridLabel(BoxedMask.of(case.truth[key]), Provenance.READER)
            for key in ((ORGAN, "liver") if seed % 2 else (ORGAN,))  # nobody draws all of them
        }
        content = CaseContent(case.volume, case.volume.geometry, {}, labels)
        services.cases.add(
            services.records, f"case {seed}", f"patient {seed}", Purpose.GATE, INDEPENDENT, content, "B"
        )
    services.records.freeze(Purpose.GATE)
    document = gate_candidate(learnt.candidate.number, services)
    found = {one.organ: one for one in document.organs}
    assert found[ORGAN].gate_set is not None
    assert found[ORGAN].gate_set.mean > 0.05
    assert not found["liver"].reasons
    codes = {reason.code for reason in found[ORGAN].reasons}
    assert "no-margin" in codes, "nobody said by how much it may be worse"
    with pytest.raises(Refused) as refused:
        promote(learnt.candidate.number, services, "Dr. No", "it learnt")
    assert refused.value.code == "refused-by-gate"
    (tmp_path / "targets.toml").write_text(MARGIN)
    services = replace(services, targets=Targets.read(tmp_path / "targets.toml"))
    document = gate_candidate(learnt.candidate.number, services)
    assert [reason.code for one in document.organs for reason in one.reasons] == ["few-patients"]
    assert document.decision is Decision.NEEDS_APPROVAL
    promoted = promote(learnt.candidate.number, services, "Dr. No", "it learnt")
    assert services.records.incumbent() == learnt.candidate.number, promoted
    pack = EvidencePacks(services.releases.folder).read(promoted.evidence)
    said = pack["description_of_modifications"]["weights"]
    assert said == {"licence": "Apache-2.0", "origin": "made for tests"}, "tuned heads stand on them"
    rollback(None, services, "Dr. No", "back")
    assert services.records.incumbent() == 1


def test_a_gate_case_needs_the_truth_of_one_of_its_organs(learnt: Learnt, tmp_path: Path) -> None:
    services = _copy(learnt, tmp_path)
    case = learnt.site.case(UNSEEN[0])
    for name, organs in (("one", (ORGAN,)), ("none", ("stomach",))):
        folder = tmp_path / name
        write_phantom_series(case, folder)
        write_truth(replace(case, truth={key: case.truth[key] for key in organs}), folder / "truth.npz")
    with pytest.raises(Refused, match="truth of one organ at least") as refused:
        add_case(tmp_path / "none", tmp_path / "none" / "truth.npz", Purpose.GATE, INDEPENDENT, services)
    assert refused.value.code == "truth-incomplete"
    kept = add_case(tmp_path / "one", tmp_path / "one" / "truth.npz", Purpose.GATE, INDEPENDENT, services)
    assert services.cases.read(kept).volume.hu.shape == case.volume.hu.shape


def _copy(learnt: Learnt, to: Path) -> Services:
    shutil.copytree(learnt.site.services.settings.home, to / "home")
    return connect_in_process(Settings(home=to / "home", threads=THREADS))
