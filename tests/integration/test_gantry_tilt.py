"""A regular tilt, repaired: landmarks of a sheared phantom stay where they are in the patient.

What "repaired" means: no slice is moved. The stack is read as the sheared grid it is, the model's grid
is sampled from it in patient space, and what was found goes back on the original slices, to which the
SEG refers.
"""

from __future__ import annotations

from datetime import datetime
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread
from scipy import ndimage

from models.geometry import Geometry
from models.organs import ORGANS
from models.phantom.case import PhantomCase
from models.resampling import to_model_grid
from models.series.verdict import Code, Verdict
from models.volume import Volume
from services.dicom.ct.loaded import CTSeries, load
from services.dicom.ct.phantom_series import write_phantom_series
from services.dicom.ct.series import read_series
from services.dicom.results.write import write_results
from tests.support.ct_files import ACQUISITION
from tests.support.on_ct import on_ct
from tests.support.result_cases import findings_of

RADIUS_MM = 9.0
LANDMARKS = np.array([(-42.0, -15.0, 22.0), (38.0, 21.0, 30.0), (-10.0, 30.0, 78.0), (25.0, -28.0, 84.0)])
"""Centres of four balls, LPS mm: low and high in the stack, left and right, front and back."""

MODEL_MM = (2.0, 2.0, 2.0)


def tilted(degrees: float) -> Geometry:
    """Return a stack whose slices lean about the left-right axis while the table moves along z."""
    lean = np.radians(degrees)
    affine = np.eye(4)
    affine[:3, 2] = (1.5, 0.0, 0.0)
    affine[:3, 1] = np.array((0.0, np.cos(lean), -np.sin(lean))) * 1.5
    affine[:3, 0] = (0.0, 0.0, 3.0)
    affine[:3, 3] = (-75.0, -75.0, 0.0)
    affine[2, 3] += 75.0 * np.sin(lean)
    return Geometry((36, 100, 100), affine)


def balls(grid: Geometry) -> np.ndarray:
    """Return how much of each voxel, by its centre's distance, lies in a ball; axes (ball, k, j, i)."""
    lps = grid.to_lps(np.moveaxis(np.indices(grid.shape), 0, -1))
    far = np.linalg.norm(lps[None] - LANDMARKS[:, None, None, None], axis=-1)
    return np.clip((RADIUS_MM - far) / 2 + 0.5, 0, 1)


def centroids(weights: np.ndarray, grid: Geometry) -> np.ndarray:
    """Return LPS mm of the centre of each ball's region in an image of all of them."""
    labels, _ = ndimage.label(weights > 0.1)
    places = grid.to_lps(np.array(ndimage.center_of_mass(weights, labels, range(1, labels.max() + 1))))
    nearest = np.linalg.norm(places[:, None] - LANDMARKS, axis=-1).argmin(axis=0)
    return np.asarray(places[nearest])


def off_mm(found: np.ndarray) -> float:
    return float(np.linalg.norm(found - LANDMARKS, axis=1).max())


@pytest.fixture(scope="module", params=[14.0, -22.0, 0.3], ids=lambda degrees: f"{degrees} degrees")
def series(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> CTSeries:
    grid = tilted(request.param)
    noise = np.random.default_rng(0).integers(-3, 4, grid.shape)  # no two slices are the same
    hu = (-100 + 500 * balls(grid).sum(axis=0) + noise).astype(np.int16)
    folder = tmp_path_factory.mktemp("tilted")
    paths = write_phantom_series(PhantomCase(Volume(hu, grid), {}, "A", 1, dict(ACQUISITION)), folder)
    tag = dcmread(paths[0])
    tag.GantryDetectorTilt = str(-request.param)  # its sign differs by maker: nothing may follow from it
    tag.save_as(paths[0])
    (reading,) = read_series(folder)
    assert (reading.verdict.verdict, reading.verdict.code) == (Verdict.REPAIRED, Code.GANTRY_TILT)
    assert reading.verdict.measured["tilt_degrees"] == pytest.approx(abs(request.param), abs=1e-3)
    return load(reading)


def test_landmarks_stay_where_they_are_on_the_grid_of_the_model(series: CTSeries) -> None:
    model = to_model_grid(series.volume, MODEL_MM)
    found = centroids((model.hu.astype(float) + 100).clip(0) / 500, model.geometry)
    assert off_mm(found) < 0.5 * min(MODEL_MM)
    assert off_mm(found) < 0.1


def test_a_stack_taken_as_straight_would_be_off_by_millimetres(series: CTSeries) -> None:
    """The proof can fail: the same voxels without the lean, as readers that ignore it place them."""
    straight = np.array(series.volume.geometry.affine)
    normal = np.cross(straight[:3, 2], straight[:3, 1])
    normal /= np.linalg.norm(normal)
    straight[:3, 0] = normal * (straight[:3, 0] @ normal)
    wrong = Volume(series.volume.hu, Geometry(series.volume.geometry.shape, straight))
    model = to_model_grid(wrong, MODEL_MM)
    off = off_mm(centroids((model.hu.astype(float) + 100).clip(0) / 500, model.geometry))
    lean = np.radians(series.verdict.measured["tilt_degrees"])
    assert off > 0.8 * 84 * np.tan(lean) * np.cos(lean)  # the highest landmark lies 84 mm up
    assert off > 10 * off_mm(centroids((series.volume.hu + 100) / 500, series.volume.geometry))


def test_what_was_found_goes_back_on_the_original_slices_and_the_seg_refers_to_them(
    series: CTSeries,
) -> None:
    model = to_model_grid(series.volume, MODEL_MM)
    found = (model.hu.astype(np.float32) + 100).clip(0) / 500
    back = on_ct(found, model.geometry, series.volume.geometry) > 0.5
    masks = {key: back if key == "liver" else np.zeros_like(back) for key in ORGANS}
    seg, _ = write_results(series, findings_of(series, masks, flagged=()), written_at=datetime(2026, 11, 22))
    sent = dcmread(BytesIO(seg.content))
    images = {str(image.SOPInstanceUID): image for image in series.images}
    shared = sent.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    spacing = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, float)
    places: list[np.ndarray] = []
    for frame, bits in zip(sent.PerFrameFunctionalGroupsSequence, sent.pixel_array, strict=True):
        source = images[str(frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID)]
        position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        np.testing.assert_array_equal(position, np.array(source.ImagePositionPatient, float))
        j, i = np.nonzero(bits)
        places.append(
            position + np.outer(j, cosines[3:] * spacing[0]) + np.outer(i, cosines[:3] * spacing[1])
        )
    lps = np.concatenate(places)
    nearest = np.linalg.norm(lps[:, None] - LANDMARKS, axis=-1)
    assert nearest.min(axis=1).max() < RADIUS_MM + 1.5
    centres = np.array([lps[nearest.argmin(axis=1) == n].mean(axis=0) for n in range(len(LANDMARKS))])
    assert off_mm(centres) < 0.5 * 1.5  # half of the smallest voxel side
