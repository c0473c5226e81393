"""CT series of every kind that the verdict lets pass, drawn up to its limits; a site that segments them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import count
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.valuerep import DSfloat

from flows.segmentation.segment import segment
from flows.serving.serve import write
from models.bounds.domain import fit_domain
from models.calibration import Calibration, FactsReference, OrganCalibration
from models.contract import ModelContract
from models.geometry import Geometry
from models.phantom.case import PhantomCase
from models.resampling import model_grid
from models.series.limits import (
    FARTHEST_MM,
    LONGEST_MM,
    SAME_ORIENTATION,
    SAME_PIXEL_SPACING_MM,
    THINNEST_MM,
    off_grid_mm,
)
from models.volume import Volume
from services.dicom.ct.check import check_folder
from services.dicom.ct.phantom_series import phantom_images
from services.dicom.seg.reader import read_seg
from services.settings import Settings
from services.wiring import Services, connect_in_process
from tests.support.ct_files import ACQUISITION
from tests.support.tiny_networks import publish_tiny, tiny_contract

MOST_VOXELS = 20_000
"""Of a series that is drawn: what more of them take is time."""

MOST_WINDOWS = 60
"""That its release evaluates."""

THIN_MM = 1.002 * THINNEST_MM
"""The least that is drawn: strings and a lean take a little of it."""

WINDOW = (16, 16, 16)
"""Of the releases, voxels along (k, j, i); half a window from one to the next."""

LEANS_DEGREES = 35.0
"""So far a stack is drawn to lean."""

ORGANS = {"spleen": 2, "right_kidney": 3, "liver": 1, "gallbladder": 5}
"""Of the releases, with the seeds of their heads."""

FIT = ("ok", "repaired")
"""Verdicts after which a series is segmented."""

SCANNED = ("tissue", "anything", "a speck", "a slice", "metal", "padding")

_seeds = count(1)


@dataclass(frozen=True, eq=False)
class FitSeries:
    """A series that the verdict should let pass.

    Parameters
    ----------
    grid
        Of its voxels, before positions and directions are written as strings.
    scanned
        One of `SCANNED`.
    astray, turned, stretched
        How much positions, directions and pixel spacings differ from slice to slice, of what they may; 0..1.
    digits
        Of its direction cosines.
    rescale
        Slope and intercept.
    lacking
        Attributes that its headers do not have.
    seed
        Of all that is random in it.
    """

    grid: Geometry
    scanned: str
    astray: float
    turned: float
    stretched: float
    digits: int
    rescale: tuple[float, float]
    lacking: frozenset[str]
    seed: int

    def __repr__(self) -> str:
        spacing = " x ".join(f"{mm:.4g}" for mm in self.grid.spacing_mm)
        return (
            f"<{self.grid.shape} voxels of {spacing} mm, affine {self.grid.affine.tolist()}, {self.scanned}, "
            f"astray {self.astray}, turned {self.turned}, stretched {self.stretched}, {self.digits} digits, "
            f"{self.rescale}, without {sorted(self.lacking)}, seed {self.seed}>"
        )

    def write(self, folder: Path) -> None:
        """Write it, one file a slice, named and numbered in any order."""
        folder.mkdir(parents=True)
        random = np.random.default_rng(self.seed)
        case = PhantomCase(Volume(_stored(self, random), self.grid), {}, "A", next(_seeds), dict(ACQUISITION))
        numbers = random.permutation(self.grid.shape[0])
        for number, image in zip(numbers, _images(self, case, random), strict=True):
            image.InstanceNumber = int(number) + 1
            image.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)


def _stored(made: FitSeries, random: np.random.Generator) -> NDArray[np.int16]:
    """Return the stored values, with tissue somewhere."""
    shape = made.grid.shape
    hu = np.full(shape, -1000.0)
    if made.scanned == "tissue":
        hu = random.normal(40, 30, shape)
    elif made.scanned == "anything":
        hu = random.uniform(-1024, 3000, shape)
    elif made.scanned == "a slice":
        hu[random.integers(shape[0])] = 60
    elif made.scanned == "metal":
        hu[...] = 31_000
    elif made.scanned == "padding":
        hu[random.random(shape) < 0.5] = -2000
    hu.flat[random.integers(hu.size)] = 50
    slope, intercept = made.rescale
    return np.rint((hu - intercept) / slope).clip(-32_768, 32_767).astype(np.int16)


def _images(made: FitSeries, case: PhantomCase, random: np.random.Generator) -> Iterator[Dataset]:
    last, allowed = made.grid.shape[0] - 1, off_grid_mm(made.grid.slice_step_mm)
    for k, image in enumerate(phantom_images(case)):
        way = random.normal(size=3)
        if 0 < k < last:  # by these two the grid is laid
            image.ImagePositionPatient = _strings(
                np.array(image.ImagePositionPatient, float)
                + made.astray * allowed * random.random() * way / np.linalg.norm(way)
            )
        turn = made.turned * SAME_ORIENTATION * random.uniform(-0.49, 0.49, 6)
        cosines = np.round(np.array(image.ImageOrientationPatient, float), made.digits)
        image.ImageOrientationPatient = _strings(cosines + turn)
        stretch = made.stretched * SAME_PIXEL_SPACING_MM * random.uniform(-0.49, 0.49, 2)
        image.PixelSpacing = _strings(np.array(image.PixelSpacing, float) + stretch)
        image.RescaleSlope, image.RescaleIntercept = _strings(np.array(made.rescale))
        for keyword in made.lacking:
            delattr(image, keyword)
        yield image


def _strings(values: NDArray[np.float64]) -> list[DSfloat]:
    return [DSfloat(float(value), auto_format=True) for value in values]


@st.composite
def fit_series(draw: st.DrawFn) -> FitSeries:
    """Draw a series of any geometry within the limits, and often at them."""
    turn = _turn(draw)
    shape = _shape(draw)
    field = [draw(_lengths(THIN_MM * max(n - 1, 1), LONGEST_MM)) for n in shape]
    sides = np.array([max(mm / max(n - 1, 1), THIN_MM) for mm, n in zip(field, shape, strict=True)])
    affine = np.eye(4)
    affine[:3, :3] = turn * sides
    if draw(st.booleans()):
        lean = np.tan(np.radians(draw(st.floats(0, LEANS_DEGREES))))
        way = np.radians(draw(st.floats(0, 360)))
        affine[:3, 0] += sides[0] * lean * (np.cos(way) * turn[:, 1] + np.sin(way) * turn[:, 2])
    grid = Geometry(shape, affine)
    extent = np.ptp(grid.corners_lps(), axis=0)
    shrunk = max(1.0, extent.max() / (LONGEST_MM - 1))  # askew, it reached farther than its sides
    affine[:3, :3] /= np.minimum(shrunk, sides / THIN_MM)
    far = draw(_lengths(1, FARTHEST_MM - 2 * LONGEST_MM))
    affine[:3, 3] = [far * draw(st.sampled_from([-1, -0.3, 0, 0.7, 1])) for _ in range(3)]
    differs = st.sampled_from([0.0, 0.0, 0.5, 0.999])
    return FitSeries(
        Geometry(shape, affine),
        draw(st.sampled_from(SCANNED)),
        draw(differs),
        draw(differs),
        draw(differs),
        draw(st.sampled_from([3, 6, 12, 12])),
        draw(st.sampled_from([(1.0, 0.0), (1.0, -1024.0), (2.0, 0.0), (0.97, -1000.5)])),
        draw(st.frozensets(st.sampled_from(["SliceThickness", "FrameOfReferenceUID", "PatientPosition"]))),
        draw(st.integers(0, 2**31)),
    )


def _lengths(least: float, most: float) -> st.SearchStrategy[float]:
    """Lengths of any magnitude, in millimetres."""
    return st.floats(0, 1).map(lambda part: float(least * (most / least) ** part))


def _shape(draw: st.DrawFn) -> tuple[int, int, int]:
    k = draw(st.integers(3, 12) | st.integers(3, 40))
    j = min(draw(st.integers(1, 12) | st.integers(1, 200)), MOST_VOXELS // k)
    i = min(draw(st.integers(1, 12) | st.integers(1, 200)), max(1, MOST_VOXELS // (k * j)))
    return k, j, i


def _turn(draw: st.DrawFn) -> NDArray[np.float64]:
    """Draw directions of slice, row and column: along the axes of the patient or askew, handed either way."""
    turn = np.eye(3)
    if draw(st.booleans()):
        angles = [draw(st.floats(-180, 180)) for _ in range(3)]
        turn = reduce(np.matmul, (_about(axis, angle) for axis, angle in enumerate(angles)))
    return turn[:, draw(st.permutations(range(3)))] * [draw(st.sampled_from([-1, 1])) for _ in range(3)]


def _about(axis: int, degrees: float) -> NDArray[np.float64]:
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(3)
    one, other = (a for a in range(3) if a != axis)
    turn[[one, other], [one, other]] = cosine
    turn[one, other], turn[other, one] = -sine, sine
    return turn


SPACINGS_MM = ((3.0, 3.0, 3.0), (1.0, 4.0, 9.0), (12.0, 12.0, 12.0), (60.0, 60.0, 60.0))
"""Of the releases, by number from 1."""


def site_at(
    home: Path, profile: str = "ohif", spacings_mm: Sequence[tuple[float, float, float]] = SPACINGS_MM
) -> Services:
    """Return a site with releases of some model grids, the first and every second one calibrated."""
    services = connect_in_process(Settings(home=home, seg_profile=profile, audit_share=0))
    for number, spacing in enumerate(spacings_mm, start=1):
        contract = tiny_contract(tuple(ORGANS), WINDOW, spacing)
        calibration = _calibration(services, contract) if number % 2 else None
        release = publish_tiny(services.releases, number, ORGANS, contract=contract, calibration=calibration)
        write(release, services)
    services.records.set_incumbent(1, approver="IT", reason="first release")
    return services


def _calibration(services: Services, contract: ModelContract) -> Calibration:
    from services.inference.engine import serving_profile

    features = np.random.default_rng(3).normal(size=(20, contract.global_channels))
    organs = {organ: OrganCalibration(0.05, 0.9, 30, band_probability=0.3) for organ in contract.organs}
    names = ("slice_mm", "pixel_mm", "length_mm", "body_cm2", "edge_share", "noise_hu", "metal_ml")
    usual = FactsReference(names, (0.0,) * len(names), (1e9,) * len(names), 1e9)
    domain = replace(fit_domain(features), threshold=1e9)
    return Calibration(serving_profile(services.settings.threads), organs, domain, usual)


def release_for(series: FitSeries) -> int:
    """Return the release of the finest model grid on which a series is not too many windows."""
    for number, spacing in enumerate(SPACINGS_MM, start=1):
        sides = model_grid(series.grid, spacing).shape
        if math.prod(max(1, -(-2 * side // window)) for side, window in zip(sides, WINDOW, strict=True)) <= (
            MOST_WINDOWS
        ):
            return number
    return len(SPACINGS_MM)


def segmented(series: FitSeries, services: Services, folder: Path) -> str:
    """Segment a series if it is fit; return the code of its refusal, else its verdict.

    Raises
    ------
    AssertionError
        If the results, read back as a corrected SEG is, are not what was found.
    Exception
        Whatever refused or failed after the verdict.
    """
    ct, out = folder / "ct", folder / "out"
    series.write(ct)
    (said,) = check_folder(ct)
    if said["verdict"] == "refused":
        return str(said["code"])
    number = release_for(series)
    # A label map holds no overlaps, which networks of random weights have.
    organs = ["liver"] if services.settings.seg_profile == "labelmap" else None
    study = segment(ct, out, services, release=number, organs=organs)
    assert study.document.verdict == said["verdict"]
    read = read_seg(out / "organ-seg.dcm", study.series)
    masks = study.findings.masks
    for one, (organ, mask) in zip(read.segments, masks.items(), strict=True):
        assert one.mask == mask, organ
    for found in study.findings.organs:
        assert (found.presence == "found") == (found.organ in masks and bool(masks[found.organ].any()))
        assert found.dsc_lower_bound is None or found.presence == "found"
    return str(said["verdict"])
