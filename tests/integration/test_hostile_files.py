"""Files meant to hurt: each ends in a verdict, in little memory, and nothing is read beyond its bounds."""

from __future__ import annotations

import gc
import json
import os
import shutil
import struct
import subprocess
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.config import disable_value_validation
from pydicom.encaps import encapsulate, get_frame
from pydicom.fileset import FileSet
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from models.errors import Refused
from models.geometry import Geometry
from models.series.slice_contents import NOT_JUDGED
from models.series.verdict import Code
from services.dicom.ct import series
from services.dicom.ct.check import check_folder
from services.dicom.ct.chosen import choose_series
from services.dicom.ct.loaded import load
from services.dicom.ct.phantom_series import write_phantom_series
from services.dicom.foreign import reader
from tests.support.ct_files import case, edit, setting, written
from tests.support.waiting import GUARD_SECONDS

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (4, 40, 48)
MEGABYTES = 384
"""What judging a folder of bombs may take beside the program itself."""

JUDGE = """
import json, resource, sys
from pathlib import Path
from models.errors import Refused
from services.dicom.ct.check import check_folder
from imagecodecs import jpeg2k_decode, jpeg8_decode, jpegls_decode
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[1]) * 1024**2, resource.RLIM_INFINITY))
said = {}
for folder in sys.argv[2:]:
    try:
        said[Path(folder).name] = [[row["code"], row["notes"]] for row in check_folder(Path(folder))]
    except Refused as refusal:
        said[Path(folder).name] = refusal.code
print(json.dumps(said))
"""


def encoded(folder: Path, syntax: str) -> list[Path]:
    paths = list(write_phantom_series(case(Geometry(SHAPE, case().volume.geometry.affine)), folder))
    for path in paths:
        dataset = dcmread(path)
        dataset.compress(syntax, generate_instance_uid=False)
        dataset.save_as(path)
    return paths


def reframe(path: Path, change: Callable[[bytearray], bytes | bytearray]) -> None:
    """Change the compressed frame of a file."""
    dataset = dcmread(path)
    frame = bytearray(get_frame(dataset.PixelData, 0, number_of_frames=1))
    dataset.PixelData = encapsulate([bytes(change(frame))])
    dataset.save_as(path)


def of_no_kind(path: Path, element: bytes) -> None:
    """Let the kind (VR) of an element be one that does not exist."""
    content = path.read_bytes()
    assert content.count(element) == 1
    path.write_bytes(content.replace(element, element[:5] + b"\xc2"))


def at(frame: bytearray, marker: bytes, offset: int, packed: bytes) -> bytearray:
    start = frame.index(marker) + offset
    frame[start : start + len(packed)] = packed
    return frame


def deflated_bomb(folder: Path) -> None:
    """Keep five fit slices; the last inflates from 0.3 MB to 256 MB."""
    path = written(folder)[5]
    meta = path.read_bytes()
    meta = meta[: meta.index(b"\x08\x00\x05\x00")]
    old = b"UI\x14\x001.2.840.10008.1.2.1\x00"
    assert old in meta
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = b"".join(packer.compress(bytes(1024**2)) for _ in range(256)) + packer.flush()
    path.write_bytes(meta.replace(old, b"UI\x16\x001.2.840.10008.1.2.1.99") + body)


def only_bombs(folder: Path) -> None:
    deflated_bomb(folder)
    for path in sorted(folder.iterdir())[:5]:
        shutil.copy(folder / "CT-0006.dcm", path)


def items_bomb(folder: Path) -> None:
    """Put a sequence of 150,000 empty items, 1 MB, into a header: a hundred MB as objects."""
    path = written(folder)[5]
    whole = path.read_bytes()
    where = whole.index(b"\x28\x00\x02\x00")
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 150_000 + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    head = struct.pack("<HH2sHI", 0x0021, 0x1010, b"SQ", 0, 0xFFFFFFFF)
    path.write_bytes(whole[:where] + head + items + whole[where:])


def long_header(folder: Path) -> None:
    """Put 20 MB of a private value before the pixels."""
    path = written(folder)[5]
    whole = path.read_bytes()
    where = whole.index(b"\x28\x00\x02\x00")
    head = struct.pack("<HH2sHI", 0x0021, 0x1010, b"OB", 0, 20 * 1024**2)
    path.write_bytes(whole[:where] + head + bytes(20 * 1024**2) + whole[where:])


def forged_length(folder: Path) -> None:
    """Say of a private value that it is 4 GB long, in a file of 2 KB: it swallows what follows."""
    path = written(folder)[5]
    whole = path.read_bytes()
    where = whole.index(b"\x28\x00\x02\x00")
    head = struct.pack("<HH2sHI", 0x0021, 0x1010, b"OB", 0, 0xFFFFFFFE)
    path.write_bytes(whole[:where] + head + whole[where:])


def huge_matrix(folder: Path) -> None:
    for path in written(folder):
        edit(path, setting(Rows=60_000, Columns=60_000))


def huge_jpeg_2000(folder: Path) -> None:
    size = struct.pack(">II", 60_000, 60_000)
    for path in encoded(folder, JPEG2000Lossless):
        reframe(path, lambda frame: at(frame, b"\xff\x4f\xff\x51", 8, size))


def many_components(folder: Path) -> None:
    for path in encoded(folder, JPEG2000Lossless):
        reframe(path, lambda frame: at(frame, b"\xff\x4f\xff\x51", 40, struct.pack(">H", 16_000)))


def huge_jpeg_ls(folder: Path) -> None:
    for path in encoded(folder, JPEGLSLossless):
        reframe(path, lambda frame: at(frame, b"\xff\xf7", 5, struct.pack(">HH", 65_000, 65_000)))


def rle_bomb(folder: Path) -> None:
    """Give a frame of 4 KB an RLE segment of 8 MB that unpacks to half a gigabyte."""
    for path in encoded(folder, RLELossless):
        reframe(path, lambda frame: frame[:64] + b"\x81\x00" * 4 * 1024**2)


TOLD_BESIDE_FIVE = "1 DICOM file(s) of 6 are larger than any CT image and belong to no series."
BOMBS: dict[str, tuple[Callable[[Path], None], Any]] = {
    "deflated": (deflated_bomb, [[None, [TOLD_BESIDE_FIVE, NOT_JUDGED]]]),
    "only-deflated": (only_bombs, "too-large"),
    "items": (items_bomb, [[None, [TOLD_BESIDE_FIVE, NOT_JUDGED]]]),
    "long-header": (long_header, [[None, [TOLD_BESIDE_FIVE, NOT_JUDGED]]]),
    "forged-length": (forged_length, [["missing-geometry", []]]),
    "huge-matrix": (huge_matrix, [["too-large", []]]),
    "jpeg-2000": (huge_jpeg_2000, [["bad-pixel-data", []]]),
    "components": (many_components, [["bad-pixel-data", []]]),
    "jpeg-ls": (huge_jpeg_ls, [["bad-pixel-data", []]]),
    "rle": (rle_bomb, [["bad-pixel-data", []]]),
}


def test_bombs_end_in_a_verdict_within_bounds_of_memory(tmp_path: Path) -> None:
    for name, (make, _) in BOMBS.items():
        make(tmp_path / name)
    folders = [str(tmp_path / name) for name in BOMBS]
    done = subprocess.run(
        [sys.executable, "-c", JUDGE, str(MEGABYTES), *folders],
        capture_output=True, text=True, timeout=GUARD_SECONDS, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == {name: said for name, (_, said) in BOMBS.items()}


@pytest.mark.parametrize("seed", [1])
def test_random_damage_ends_in_a_verdict(seed: int, tmp_path: Path) -> None:
    """A few hundred cases; thousands in tests/bench."""
    command = [sys.executable, "-m", "tests.support.fuzz_series", "--count", "250", "--work", str(tmp_path)]
    done = subprocess.run(
        [*command, "--seed", str(seed)],
        capture_output=True,
        text=True,
        timeout=GUARD_SECONDS,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    assert said["faults"] == []
    assert sum(said["verdicts"].values()) == 250
    assert len(said["verdicts"]) >= 8  # the damage is of many kinds


@pytest.mark.parametrize(
    ("element", "verdicts"),
    [
        (b"\x08\x00\x18\x00UI", ["refused", "repaired"]),  # SOPInstanceUID
        (b"\x08\x00\x20\x00DA", ["ok", "ok"]),  # StudyDate
        (b"\x10\x00\x30\x00DA", ["ok", "ok"]),  # PatientBirthDate, which is empty
        (b"\x20\x00\x0d\x00UI", ["refused", "refused"]),  # StudyInstanceUID: one image of another study
    ],
)
def test_an_element_of_no_known_kind_says_nothing(
    tmp_path: Path, element: bytes, verdicts: list[str]
) -> None:
    of_no_kind(encoded(tmp_path, RLELossless)[1], element)
    for made, verdict in zip((False, True), verdicts, strict=True):
        assert {row["verdict"] for row in check_folder(tmp_path, makes_identifiers=made)} == {verdict}


@pytest.mark.parametrize("element", [b"\x08\x00\x20\x00DA", b"\x10\x00\x30\x00DA", b"\x10\x00\x20\x00LO"])
def test_a_study_whose_patient_nobody_can_read_is_refused(tmp_path: Path, element: bytes) -> None:
    """Its results could not say whose they are."""
    for path in encoded(tmp_path, RLELossless):
        of_no_kind(path, element)
    [row] = check_folder(tmp_path)
    assert (row["verdict"], row["code"]) == ("refused", Code.ILLEGIBLE_HEADER)
    tag = f"({element[1]:02x}{element[0]:02x},{element[3]:02x}{element[2]:02x})"
    assert tag in row["detail"]
    with pytest.raises(Refused, match="illegible-header"):
        load(choose_series(series.read_series(tmp_path)))


def test_loops_of_links_are_not_walked_and_a_file_linked_twice_is_one(tmp_path: Path) -> None:
    paths = written(tmp_path / "a" / "b")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "again.dcm").symlink_to(paths[2])
    (tmp_path / "a" / "gone.dcm").symlink_to(tmp_path / "nowhere")
    (row,) = check_folder(tmp_path)
    told = ["1 file(s) of 7 are links that lead nowhere and belong to no series."]
    assert (row["verdict"], row["shape"], row["notes"]) == ("ok", [6, 12, 10], [*told, NOT_JUDGED])


def test_pipes_devices_and_archives_are_passed_over(tmp_path: Path) -> None:
    paths = written(tmp_path)
    os.mkfifo(tmp_path / "pipe.dcm")
    (tmp_path / "zero.dcm").symlink_to("/dev/zero")
    with zipfile.ZipFile(tmp_path / "slices.dcm", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(paths[0], "../../outside.dcm")
    (row,) = check_folder(tmp_path)
    assert (row["verdict"], row["shape"]) == ("ok", [6, 12, 10])
    assert not (tmp_path.parent / "outside.dcm").exists()


@pytest.mark.parametrize("name", ["..dcm", "a\nb", "  ", "-rf", "%s%n", "ü\u202edcm.exe", "n" * 250])
def test_a_file_may_be_called_anything(tmp_path: Path, name: str) -> None:
    written(tmp_path)[0].rename(tmp_path / name)
    (row,) = check_folder(tmp_path)
    assert row["verdict"] == "ok"


def test_a_dicomdir_is_no_image_and_what_it_names_elsewhere_is_not_opened(tmp_path: Path) -> None:
    """Only files that are there are read: a directory's paths are never followed."""
    media = FileSet()
    for path in written(tmp_path / "slices"):
        media.add(path)
    media.write(tmp_path / "media")
    with warnings.catch_warnings(action="ignore"):  # pydicom leaves its folder to the collector
        del media
        gc.collect()
    directory = tmp_path / "media" / "DICOMDIR"
    assert directory.is_file()
    (row,) = check_folder(tmp_path / "media")
    assert (row["verdict"], row["shape"]) == ("ok", [6, 12, 10])
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(directory, alone)
    with pytest.raises(Refused, match="not-dicom"):
        check_folder(alone)


def test_no_word_of_the_patient_is_in_a_verdict_or_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    secret = "Geheim"
    for n, path in enumerate(written(tmp_path)):
        dataset = dcmread(path)
        dataset.PatientName, dataset.PatientID = f"{secret}^Name", f"{secret}-1"
        dataset.SeriesDescription = dataset.PatientComments = dataset.ConvolutionKernel = secret
        block = dataset.private_block(0x0029, secret, create=True)
        block.add_new(1, "LO", secret)
        with disable_value_validation():
            dataset.PatientBirthDate = secret if n else ""
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
            dataset.save_as(path)
    said = json.dumps(check_folder(tmp_path))
    (tmp_path / "CT-0003.dcm").unlink()
    said += json.dumps(check_folder(tmp_path))
    assert '"mixed-patient"' in said
    assert secret not in said + caplog.text + "".join(capfd.readouterr())


def test_more_objects_than_the_limit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path)
    monkeypatch.setattr(series, "OBJECTS_LIMIT", 5)
    with pytest.raises(Refused) as refusal:
        check_folder(tmp_path)
    assert (refusal.value.code, refusal.value.measured) == (Code.TOO_LARGE, {"objects_limit": 5})
    monkeypatch.setattr(series, "OBJECTS_LIMIT", 6)
    assert check_folder(tmp_path)[0]["verdict"] == "ok"


def test_a_file_over_the_limit_is_told_since_it_may_be_the_last_slice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = written(tmp_path)[-1]
    monkeypatch.setattr(reader, "IMAGE", replace(reader.IMAGE, file_bytes=last.stat().st_size))
    assert check_folder(tmp_path)[0]["notes"] == [NOT_JUDGED]
    with last.open("ab") as file:
        file.write(b"\0")
    (row,) = check_folder(tmp_path)
    assert row["notes"] == [TOLD_BESIDE_FIVE, NOT_JUDGED]
    assert row["shape"][0] == 5
