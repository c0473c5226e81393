from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.bounds.domain import fit_domain
from models.calibration import Calibration, Expectation, OrganCalibration
from models.errors import InvalidRelease
from models.findings import Figure, Flag, Presence, StudyFindings
from models.geometry import Geometry
from models.inference.segmentation import Segmentation
from models.judgement import assess as study
from models.judgement.reasons import Reason
from models.judgement.review_regions import REGIONS_PER_ORGAN, REGIONS_PER_STUDY, organ_regions
from models.organs import ORGANS
from models.release import Release
from models.resampling import model_grid, to_model_grid
from models.targets import Targets
from models.volume import Volume
from tests.support.established import established
from tests.support.paper_releases import paper_contract, paper_release

# An abdomen of ellipsoids: centre and radii in LPS mm (x left, y back, z head).
ANATOMY = {
    "spleen": ((95, 30, 60), (30, 30, 40)),
    "right_kidney": ((-60, 50, -10), (25, 25, 50)),
    "left_kidney": ((60, 50, 0), (25, 25, 50)),
    "pancreas": ((10, -10, 20), (40, 15, 20)),
    "liver": ((-75, -10, 60), (60, 60, 70)),
    "stomach": ((45, -40, 50), (35, 35, 45)),
    "aorta": ((10, 40, 0), (10, 10, 400)),
    "postcava": ((-15, 40, 0), (10, 10, 400)),
    "gallbladder": ((-50, -50, -10), (15, 15, 25)),
}
PROFILE = "python/test/cpu/f32/2-threads"
CT = Geometry(
    (54, 100, 130), np.array([[0, 0, -2.5, 160], [0, 2.5, 0, -120], [5, 0, 0, -100], [0, 0, 0, 1.0]])
)
SPACING = (3.0, 3.0, 3.0)
GRID = model_grid(CT, SPACING)
MODEL = Volume(np.full(GRID.shape, 40, np.int16), GRID)
CALIBRATION_FEATURES = np.random.default_rng(5).normal(size=(30, 16))
CONTRACT = paper_contract(ORGANS)


def release(calibrated: bool = True, quantile: float = 0.02) -> Release:
    calibration = Calibration(
        profile=PROFILE,
        organs={organ: OrganCalibration(quantile, 0.9, 30) for organ in ORGANS},
        domain=fit_domain(CALIBRATION_FEATURES),
    )
    return replace(paper_release(CONTRACT), calibration=calibration if calibrated else None)


def signed_depth(lps: np.ndarray, organ: str) -> np.ndarray:
    """Millimetres inside the ellipsoid, roughly; negative outside."""
    centre, radii = (np.array(v, dtype=float) for v in ANATOMY[organ])
    return (1 - np.linalg.norm((lps - centre) / radii, axis=-1)) * radii.min()


def world(geometry: Geometry) -> np.ndarray:
    return geometry.to_lps(np.moveaxis(np.indices(geometry.shape), 0, -1))


def segmentation() -> Segmentation:
    lps = world(GRID)
    depth = np.stack([signed_depth(lps, organ) for organ in ORGANS])
    return Segmentation(
        probability=(1 / (1 + np.exp(-np.clip(depth * 3, -30, 30)))).astype(np.float16),
        disagreement=np.zeros(depth.shape, dtype=np.float16),
        global_feature=CALIBRATION_FEATURES.mean(axis=0, keepdims=True).astype(np.float32),
        window_origin=np.zeros((1, 3), dtype=np.int32),
    )


@pytest.fixture(scope="module")
def answer() -> Segmentation:
    return segmentation()


def assess(
    answer: Segmentation, model: Volume, ct: Geometry, release: Release, *more, **asked
) -> StudyFindings:
    """Assess an answer as one of the release at hand."""
    return study.assess(replace(answer, release_digest=release.digest), model, ct, release, *more, **asked)


def test_the_answer_of_another_release_of_the_same_number_and_shape_is_refused(answer):
    asked, other = release(), release(quantile=0.3)
    assert asked.number == other.number
    theirs = replace(answer, release_digest=other.digest)
    with pytest.raises(InvalidRelease, match=f"{asked.digest}.*{other.digest}"):
        study.assess(theirs, MODEL, CT, asked, PROFILE)
    with pytest.raises(InvalidRelease, match="no release"):
        study.assess(answer, MODEL, CT, asked, PROFILE)


def changed(answer: Segmentation, organ: str, probability: np.ndarray) -> Segmentation:
    field = answer.probability.copy()
    field[ORGANS.index(organ)] = probability
    return replace(answer, probability=field)


def test_a_confident_study_of_the_calibrated_kind_is_clear(answer):
    findings = assess(answer, MODEL, CT, release(), PROFILE)
    assert [f.organ for f in findings.organs] == list(ORGANS)
    assert tuple(findings.masks) == ORGANS
    for f in findings.organs:
        assert (f.flag, f.reasons) == (Flag.CLEAR, ())
        assert f.presence is Presence.FOUND
        assert 0.9 < f.dsc_lower_bound <= 1.0
        assert f.confidence == 0.9
        assert f.volume_ml == pytest.approx(findings.masks[f.organ].voxels * CT.voxel_ml)
        assert f.cut_by_field_of_view == (f.organ in {"aorta", "postcava"})
    assert findings.regions == ()
    assert findings.geometry is CT


def test_masks_lie_where_the_organs_are(answer):
    findings = assess(answer, MODEL, CT, release(), PROFILE)
    lps = world(CT)
    for organ, mask in findings.masks.items():
        truth = signed_depth(lps, organ) >= 0
        overlap = 2 * np.count_nonzero(mask.dense() & truth) / (mask.voxels + np.count_nonzero(truth))
        assert overlap > 0.95


def test_an_uncalibrated_release_claims_nothing(answer):
    findings = assess(answer, MODEL, CT, release(calibrated=False), PROFILE)
    for f in findings.organs:
        assert (f.flag, f.reasons) == (Flag.REVIEW, ("uncalibrated",))
        assert f.dsc_lower_bound is None
        assert f.confidence is None


def test_an_organ_in_doubted_slices_is_for_review_without_a_bound_and_no_other(answer):
    sure = assess(answer, MODEL, CT, release(), PROFILE)
    held = {organ: np.flatnonzero(mask.by_slice()) for organ, mask in sure.masks.items()}
    doubted = (int(held["spleen"].max()), int(held["spleen"].max()) + 1)
    beside = range(doubted[0] - 1, doubted[-1] + 2)  # one slice of 5 mm is more than a voxel of the model
    for f in assess(answer, MODEL, CT, release(), PROFILE, doubted=doubted).organs:
        touched = bool(np.isin(beside, held[f.organ]).any())
        assert (f.reasons, f.dsc_lower_bound is None) == (("doubtful-slices",) * touched, touched)
    assert {organ for organ in held if np.isin(beside, held[organ]).any()} < set(held), (
        "some organ lies elsewhere"
    )


@pytest.mark.parametrize(("thinner", "reach"), [(1, 1), (5, 3)])
def test_an_organ_that_ends_beside_a_doubted_slice_may_end_there_because_of_it(answer, thinner, reach):
    """Within a voxel of the model, 3 mm: one slice of 5 mm, three of 1 mm."""
    affine = CT.affine.copy()
    affine[:3, 0] /= thinner
    ct = Geometry((CT.shape[0] * thinner, *CT.shape[1:]), affine)
    spleen = assess(answer, MODEL, ct, release(), PROFILE).masks["spleen"].by_slice()
    end = int(np.flatnonzero(spleen).max())

    def reasons(k: int) -> tuple[str, ...]:
        found = assess(answer, MODEL, ct, release(), PROFILE, asked=["spleen"], doubted=(k,)).organs
        return next(f.reasons for f in found if f.organ == "spleen")

    assert reasons(end + reach) == ("doubtful-slices",)
    assert reasons(end + reach + 1) == ()


def test_an_organ_with_a_hole_round_a_doubted_slice_is_in_doubt(answer):
    k = 27  # of 54 slices; all of the aorta's
    height = world(GRID)[:, 0, 0, 2] - CT.to_lps((k, 0, 0))[2]
    aorta = answer.probability[ORGANS.index("aorta")].copy()
    aorta[np.abs(height) < 25] = 0
    found = assess(changed(answer, "aorta", aorta), MODEL, CT, release(), PROFILE, doubted=(k,))
    assert not found.masks["aorta"].by_slice()[k - 3 : k + 4].any()
    (said,) = (f for f in found.organs if f.organ == "aorta")
    assert "doubtful-slices" in said.reasons
    assert said.dsc_lower_bound is None


def test_out_of_domain_every_organ_is_for_review_without_a_bound(answer):
    strange = replace(answer, global_feature=answer.global_feature + 20)
    for f in assess(strange, MODEL, CT, release(), PROFILE).organs:
        assert (f.flag, f.reasons) == (Flag.REVIEW, ("out-of-domain",))
        assert f.dsc_lower_bound is None


def test_a_low_bound_is_for_review_and_a_very_low_one_is_rejected(answer):
    review = assess(answer, MODEL, CT, release(quantile=0.3), PROFILE).organs
    assert {(f.flag, f.reasons) for f in review} == {(Flag.REVIEW, ("bound-under-target",))}
    reject = assess(answer, MODEL, CT, release(quantile=0.7), PROFILE).organs
    assert {(f.flag, f.reasons) for f in reject} == {(Flag.REJECT, ("bound-under-half-target",))}


def test_an_organ_between_two_slices_of_the_ct_is_absent_without_a_bound(answer):
    """It is on the model grid, and on no slice that a reader has."""
    k = GRID.shape[0] // 2
    field = np.zeros(GRID.shape, np.float16)
    field[k, 10:20, 10:20] = 1
    sparse = np.array(CT.affine)
    sparse[2, 0] = 60.0
    sparse[2, 3] = GRID.to_lps((k, 0, 0))[2] - 90.0  # half-way between the second slice and the third
    ct = Geometry((4, *CT.shape[1:]), sparse)
    findings = assess(changed(answer, "gallbladder", field), MODEL, ct, release(), PROFILE)
    (found,) = (one for one in findings.organs if one.organ == "gallbladder")
    assert found.presence is Presence.ABSENT
    assert found.dsc_lower_bound is found.confidence is found.importance_ml is None
    assert not findings.masks["gallbladder"].any()


def test_an_absent_organ_is_declared_with_an_empty_mask(answer):
    nothing = changed(answer, "stomach", np.zeros(GRID.shape))
    findings = assess(nothing, MODEL, CT, release(), PROFILE)
    stomach = findings.organs[ORGANS.index("stomach")]
    assert stomach.presence is Presence.ABSENT
    assert (stomach.flag, stomach.reasons) == (Flag.REJECT, ("not-found",))
    assert (stomach.volume_ml, stomach.dsc_lower_bound) == (0.0, None)
    assert not findings.masks["stomach"].any()


def behind(findings: StudyFindings, organ: str) -> dict[tuple[str, str, str], Figure]:
    return {(one.reason, one.what, one.organ): one for one in findings.organs[ORGANS.index(organ)].figures}


def test_the_numbers_behind_each_reason_stand_with_it_and_behind_no_other(answer):
    nothing = changed(answer, "stomach", np.zeros(GRID.shape))
    findings = assess(nothing, MODEL, CT, release(), PROFILE)
    volumes = {one.organ: one.volume_ml for one in findings.organs}
    told = behind(findings, "stomach")
    assert {key[2] for key in told} == {"spleen", "left_kidney"}
    for (reason, what, other), one in told.items():
        assert (reason, what, one.value) == ("not-found", "volume_ml", round(volumes[other], 4))
    assert all(one.figures == () for one in findings.organs if not one.reasons)
    far = changed(answer, "gallbladder", answer.probability[ORGANS.index("spleen")])
    told = behind(assess(far, MODEL, CT, release(), PROFILE), "gallbladder")
    beyond = told["wrong-side", "beyond_mm", ""]
    assert beyond.value == pytest.approx(95 + (15 - 10) / 2, abs=2)
    shared = told["overlapping", "shared_ml", "spleen"]
    assert shared.value == pytest.approx(volumes["spleen"], rel=0.01)
    gap = told["not-adjacent", "gap_mm", "liver"]
    assert (gap.usual, gap.value > 20) == ((0.0, 20.0), True)
    large = changed(answer, "gallbladder", answer.probability[ORGANS.index("liver")])
    told = behind(assess(large, MODEL, CT, release(), PROFILE), "gallbladder")
    volume = told["volume-out-of-range", "volume_ml", ""]
    assert volume.usual[1] < volume.value == pytest.approx(volumes["liver"], rel=0.01)


def test_pieces_and_what_lies_outside_are_measured(answer):
    parts = answer.probability[ORGANS.index("liver")].copy()
    parts[20:36, 55:75, 70:85] = 1
    body = np.full(GRID.shape, 40, np.int16)
    body[:, :, :18] = -1000
    findings = assess(changed(answer, "liver", parts), Volume(body, GRID), CT, release(), PROFILE)
    told = behind(findings, "liver")
    pieces, largest = told["fragmented", "pieces", ""], told["fragmented", "largest_share", ""]
    assert (pieces.value, pieces.usual) == (2, (1.0,))
    assert 0.5 < largest.value < 0.96
    assert told["outside-body", "outside_ml", ""].value > 10


def test_organs_not_asked_for_have_no_mask_and_no_opinion(answer):
    findings = assess(answer, MODEL, CT, release(), PROFILE, asked=("liver", "spleen"))
    assert tuple(findings.masks) == ("spleen", "liver")
    others = [f for f in findings.organs if f.organ not in findings.masks]
    assert len(others) == 7
    assert {(f.presence, f.flag, f.reasons) for f in others} == {(Presence.NOT_ASKED, None, ())}


def test_a_missed_gallbladder_under_a_liver_cut_by_the_scan_is_for_review(answer):
    below_the_dome = Geometry((38, *CT.shape[1:]), CT.affine)
    grid = model_grid(below_the_dome, SPACING)
    cut = replace(
        answer,
        probability=answer.probability[:, : grid.shape[0]].copy(),
        disagreement=answer.disagreement[:, : grid.shape[0]],
    )
    missed = changed(cut, "gallbladder", np.zeros(grid.shape))
    findings = assess(missed, Volume(MODEL.hu[: grid.shape[0]], grid), below_the_dome, release(), PROFILE)
    gallbladder = findings.organs[ORGANS.index("gallbladder")]
    assert findings.organs[ORGANS.index("liver")].cut_by_field_of_view
    assert gallbladder.presence is Presence.ABSENT
    assert (gallbladder.flag, gallbladder.reasons) == (Flag.REVIEW, ("presence-not-checked",))


def test_the_doubt_in_and_near_an_organ_is_told_of_that_organ_only(answer):
    sure = assess(answer, MODEL, CT, release(), PROFILE).organs
    doubtful = unsure(answer, "liver", ANATOMY["liver"][0])
    liver = ORGANS.index("liver")
    spread = doubtful.disagreement.copy()
    spread[liver, 30:36, 30:36, 30:36] = 0.3
    told = assess(replace(doubtful, disagreement=spread), MODEL, CT, release(), PROFILE).organs
    assert told[liver].entropy > sure[liver].entropy > 0
    assert told[liver].disagreement > sure[liver].disagreement == 0
    assert [f for f in told if f.organ != "liver"] == [f for f in sure if f.organ != "liver"]


def test_where_members_disagree_less_is_claimed_of_that_organ_only(answer):
    liver = ORGANS.index("liver")
    asked = release()
    by_members = replace(
        asked.calibration.organs["liver"], expectation=Expectation((1, 0, 0, 0.5), (1, 0, 9, 1), -0.5)
    )
    organs = {**asked.calibration.organs, "liver": by_members}
    asked = replace(asked, calibration=replace(asked.calibration, organs=organs))
    sure = assess(answer, MODEL, CT, asked, PROFILE).organs
    spread = np.where(answer.probability[liver] > 0.02, 0.3, 0).astype(np.float16)
    doubtful = replace(answer, member_disagreement={liver: spread})
    told = assess(doubtful, MODEL, CT, asked, PROFILE).organs
    assert told[liver].dsc_lower_bound < sure[liver].dsc_lower_bound - 0.03
    assert (sure[liver].member_disagreement, told[liver].disagreement) == (None, 0.0)
    assert 0.1 < told[liver].member_disagreement <= 0.3
    assert told[liver].importance_ml > sure[liver].importance_ml
    assert [f for f in told if f.organ != "liver"] == [f for f in sure if f.organ != "liver"]


def test_of_an_absent_organ_or_one_not_asked_for_no_doubt_is_told(answer):
    nothing = changed(answer, "stomach", np.full(GRID.shape, 0.3))
    findings = assess(nothing, MODEL, CT, release(), PROFILE, ["stomach"])
    told = {(f.entropy, f.disagreement, f.member_disagreement) for f in findings.organs}
    assert told == {(None, None, None)}


def test_asked_alone_an_organ_that_is_not_found_is_for_review(answer):
    nothing = changed(answer, "stomach", np.zeros(GRID.shape))
    (stomach,) = (f for f in assess(nothing, MODEL, CT, release(), PROFILE, ["stomach"]).organs if f.flag)
    assert (stomach.organ, stomach.reasons) == ("stomach", ("presence-not-checked",))


def test_a_liver_on_the_left_is_rejected(answer):
    mirrored = np.roll(answer.probability[ORGANS.index("liver")], 50, axis=2)
    f = assess(changed(answer, "liver", mirrored), MODEL, CT, release(), PROFILE).organs[
        ORGANS.index("liver")
    ]
    assert f.flag is Flag.REJECT
    assert f.reasons[0] == Reason.WRONG_SIDE


def test_what_cannot_be_answered_is_refused(answer):
    with pytest.raises(ValueError, match="livr"):
        assess(answer, MODEL, CT, release(), PROFILE, asked=("livr",))
    with pytest.raises(ValueError, match="does not fit"):
        assess(answer, to_model_grid(MODEL, (4.0, 4.0, 4.0)), CT, release(), PROFILE)


def unsure(answer: Segmentation, organ: str, *centres: tuple[float, float, float]) -> Segmentation:
    """A probability of 0.45 in a ball of 12 mm at each centre."""
    lps, field = world(GRID), answer.probability[ORGANS.index(organ)].copy()
    for centre in centres:
        field[np.linalg.norm(lps - np.array(centre), axis=-1) < 12] = 0.45
    return changed(answer, organ, field)


def test_a_region_is_where_the_doubt_is(answer):
    centre = (-75.0, -10.0, 60.0)
    findings = assess(unsure(answer, "liver", centre), MODEL, CT, release(quantile=0.3), PROFILE)
    region = findings.regions[0]
    assert (region.organ, region.rank) == ("liver", 1)
    assert region.centre_lps_mm == pytest.approx(centre, abs=1.5)
    assert region.volume_ml == pytest.approx(7.2, rel=0.2)
    assert region.expected_error_ml == pytest.approx(0.45 * 7.2, rel=0.2)
    assert region.mask.shape == CT.shape
    assert region.slices == tuple(np.flatnonzero(region.mask.by_slice())[[0, -1]])


def test_regions_are_few_and_the_worst_come_first(answer):
    spots = [(-75.0 + dx, -10.0, 60.0 + dz) for dx in (-26, 0, 26) for dz in (-28, 0, 28)]
    doubtful = unsure(answer, "liver", *spots)
    for organ in ("spleen", "stomach", "left_kidney", "right_kidney", "pancreas"):
        doubtful = unsure(doubtful, organ, ANATOMY[organ][0], (0.0, -90.0, 0.0), (60.0, -90.0, -60.0))
    findings = assess(doubtful, MODEL, CT, release(quantile=0.3), PROFILE)
    assert len(findings.regions) == REGIONS_PER_STUDY
    assert [r.rank for r in findings.regions] == list(range(1, REGIONS_PER_STUDY + 1))
    errors = [r.expected_error_ml for r in findings.regions]
    assert errors == sorted(errors, reverse=True)
    per_organ = [sum(r.organ == organ for r in findings.regions) for organ in ORGANS]
    assert max(per_organ) <= REGIONS_PER_ORGAN


def test_an_organ_that_is_clear_has_no_region(answer):
    findings = assess(unsure(answer, "liver", (-60.0, -10.0, 50.0)), MODEL, CT, release(), PROFILE)
    assert findings.organs[ORGANS.index("liver")].flag is Flag.CLEAR
    assert findings.regions == ()


def test_windows_that_disagree_make_a_region_where_the_mean_is_sure(answer):
    index = ORGANS.index("liver")
    spread = np.zeros(GRID.shape, dtype=np.float16)
    spread[30:36, 30:36, 30:36] = 0.3
    liver = answer.probability[index]
    regions = organ_regions("liver", liver, spread, liver >= 0.5, GRID, CT)
    assert len(regions) == 1


def test_a_thin_shell_is_no_region(answer):
    index = ORGANS.index("liver")
    lps = world(GRID)
    shell = (1 / (1 + np.exp(-signed_depth(lps, "liver")))).astype(np.float16)
    assert organ_regions("liver", shell, answer.disagreement[index], shell >= 0.5, GRID, CT) == []


def test_a_calibration_from_another_serving_profile_claims_nothing(answer):
    findings = assess(answer, MODEL, CT, release(), "python/test/cpu/f32/4-threads")
    assert {f.reasons for f in findings.organs} == {("uncalibrated",)}
    assert {f.dsc_lower_bound for f in findings.organs} == {None}


def test_of_a_network_made_elsewhere_nothing_is_judged_though_it_is_calibrated(answer):
    foreign = release()
    foreign = replace(foreign, contract=replace(foreign.contract, imported=True))
    nothing = assess(answer, MODEL, CT, foreign, PROFILE)
    assert {f.flag for f in nothing.organs} == {Flag.NOT_JUDGED}
    assert {f.dsc_lower_bound for f in nothing.organs} == {None}
    assert nothing.regions == ()
    targets = established({"liver": (0.6, None)})
    judged = assess(answer, MODEL, CT, foreign, PROFILE, targets=targets)
    flags = {f.organ: f.flag for f in judged.organs}
    assert flags == dict.fromkeys(ORGANS, Flag.NOT_JUDGED) | {"liver": Flag.CLEAR}
    assert (nothing.targets, judged.targets) == (Targets().digest, targets.digest)
    assert assess(answer, MODEL, CT, release(), PROFILE).targets is None
