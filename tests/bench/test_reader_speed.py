"""Loading 300 x 512 x 512 against SimpleITK, plain and JPEG 2000: CPU seconds and memory, in one run."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import JPEG2000Lossless
from scipy import ndimage

from models.geometry import Geometry
from models.phantom.case import PhantomCase
from models.volume import Volume
from services.dicom.ct.phantom_series import phantom_images
from tests.support.ct_files import ACQUISITION

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (300, 512, 512)
LIMIT = {"plain": 2.5, "jpeg2000": 1.2}
"""Most CPU time, of SimpleITK's without headers. Both miss the goal of 1.00: what comes in is judged, too.

The child that reads headers first, within bounds, is another process: only the wall time shows it.
"""

OURS = """
from pathlib import Path
from services.dicom.ct.chosen import choose_series
from services.dicom.ct.loaded import load
from services.dicom.ct.series import read_series
from imagecodecs import jpeg2k_decode
def read(folder):
    return load(choose_series(read_series(Path(folder)))).volume.hu
"""
SIMPLE_ITK = """
import sys
import SimpleITK
def read(folder):
    reader = SimpleITK.ImageSeriesReader()
    if sys.argv[2] == "headers":
        reader.MetaDataDictionaryArrayUpdateOn()  # ours gives the headers too
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(folder))
    read.image = reader.Execute()  # the view does not keep it
    return SimpleITK.GetArrayViewFromImage(read.image)
"""
MEASURE = """
import hashlib, json, re, sys, time
from pathlib import Path
def peak():  # of this program: what getrusage says begins with the peak of the one that started it
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
before, wall, cpu = peak(), time.perf_counter(), time.process_time()
hu = read(sys.argv[1])
said = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
said["volumes"] = (peak() - before) / (2 * hu.size)
print(json.dumps(said | {"hu": hashlib.sha256(hu.astype("<i2")).hexdigest()}))
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write the same series twice: noise of 15 HU on smooth tissue, which compresses as CT does."""
    rng = np.random.default_rng(0)
    tissue = ndimage.gaussian_filter(rng.normal(size=SHAPE[1:]), 6) * 3000 + 40
    hu = np.stack([np.clip(tissue + rng.normal(0, 15, SHAPE[1:]), -1000, 2000) for _ in range(SHAPE[0])])
    affine = np.eye(4)
    affine[:3, :3] = [[0, 0, 0.8], [0, 0.8, 0], [1.0, 0, 0]]
    case = PhantomCase(Volume(hu.astype(np.int16), Geometry(SHAPE, affine)), {}, "A", 1, dict(ACQUISITION))
    made = {name: tmp_path_factory.mktemp(name) for name in ("plain", "jpeg2000")}
    for n, image in enumerate(phantom_images(case)):
        image.save_as(made["plain"] / f"{n:04d}.dcm", enforce_file_format=True)
        image.compress(JPEG2000Lossless, generate_instance_uid=False)
        image.save_as(made["jpeg2000"] / f"{n:04d}.dcm", enforce_file_format=True)
    return made


def measured(program: str, what: str, folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", program + MEASURE, str(folder), what],
        capture_output=True, text=True, cwd=ROOT, check=True, timeout=300,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("name", "runs"), [("plain", 5), ("jpeg2000", 3)])
def test_a_series_is_loaded_no_slower_than_by_simple_itk(folders, name, runs, capsys):
    readers = {
        "ours": (OURS, "headers"),
        "SimpleITK": (SIMPLE_ITK, "pixels"),
        "SimpleITK with headers": (SIMPLE_ITK, "headers"),
    }
    said = {who: [] for who in readers}
    for _ in range(runs):  # in turns, so that what else runs hits all
        for who, (program, what) in readers.items():
            said[who].append(measured(program, what, folders[name]))
    assert len({run["hu"] for those in said.values() for run in those}) == 1  # the same HU, bit for bit
    median = {
        who: {key: statistics.median(run[key] for run in those) for key in ("cpu", "wall", "volumes")}
        for who, those in said.items()
    }
    ratio = median["ours"]["cpu"] / median["SimpleITK"]["cpu"]
    with capsys.disabled():
        print(f"\n{name:9} {'reader':22} CPU s  wall s  peak memory, volumes")
        for who, figures in median.items():
            print(f"{'':9} {who:22} {figures['cpu']:5.2f}  {figures['wall']:6.2f}  {figures['volumes']:.2f}")
        print(f"{'':9} ours / SimpleITK, CPU {ratio:.2f} (goal: 1.00, 2.50 volumes)")
    assert 1.0 <= median["ours"]["volumes"] <= 2.5
    assert ratio <= LIMIT[name]
