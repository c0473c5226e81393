"""Damage CT series at random and judge them, under a memory limit and a clock; run as a program.

``python -m tests.support.fuzz_series --seed 1 --count 200 --work FOLDER`` prints one JSON document:
``{count, verdicts, peak_mb, slowest_seconds, faults: [{seed, case, what}]}``. A fault is anything that is no
verdict: an exception, a case over `SECONDS`, memory over `LIMIT_BYTES`. The same seed does the same damage.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import signal
import sys
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from models.errors import Refused
from models.geometry import Geometry
from models.series.verdict import Code
from services.dicom.ct.check import check_folder
from services.dicom.ct.chosen import choose_series
from services.dicom.ct.loaded import load
from services.dicom.ct.phantom_series import write_phantom_series
from services.dicom.ct.series import read_series
from tests.support.ct_files import case

SECONDS = 10
LIMIT_BYTES = 512 * 1024**2
"""Memory that judging a damaged series of 60 KB may take beside what the program itself does."""

SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
)

ODD_VALUES: tuple[object, ...] = (
    "", "0", "-1", "1e400", "nan", "inf", "1,5", "2147483648", "99999999999999999999", "\\", "1\\2",
    "A" * 300, "1.2.3", "../../etc/passwd", "=\x1b$B", "\x00", 0, 65535, 4096, -5, 2**31, None,
)  # fmt: skip

Damage = Callable[[bytearray, np.random.Generator], bytes | bytearray]


def flipped(data: bytearray, rng: np.random.Generator) -> bytearray:
    for _ in range(int(rng.integers(1, 12))):
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return data


def header_overwritten(data: bytearray, rng: np.random.Generator) -> bytearray:
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(128, min(len(data), 1800)))
        data[at : at + int(rng.integers(0, 5))] = rng.bytes(int(rng.integers(0, 6)))
    return data


def truncated(data: bytearray, rng: np.random.Generator) -> bytearray:
    return data[: int(rng.integers(0, len(data)))]


def length_forged(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Put the largest, undefined or a huge length where a length may stand."""
    at = int(rng.integers(132, len(data) - 4)) & ~1
    data[at : at + 4] = [b"\xff\xff\xff\xff", b"\xfe\xff\xff\xff", b"\xff\xff\xff\x7f"][int(rng.integers(3))]
    return data


def repeated(data: bytearray, rng: np.random.Generator) -> bytearray:
    start = int(rng.integers(132, len(data)))
    return data[:start] + data[start : start + 200] * int(rng.integers(2, 50)) + data[start:]


def noise(data: bytearray, rng: np.random.Generator) -> bytearray:
    return data[:132] + bytearray(rng.bytes(int(rng.integers(0, 4000))))


def bomb(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Append so much to a deflated data set that it inflates to 300 MiB; leave others."""
    if DeflatedExplicitVRLittleEndian.encode() not in data[:400]:
        return data
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = b"\x09\x00\x10\x00LO\x00\x00" * 131072
    return data[:350] + bytearray(b"".join(packer.compress(zeros) for _ in range(300)) + packer.flush())


DAMAGES: tuple[Damage, ...] = (flipped, header_overwritten, truncated, length_forged, repeated, noise)


def odd_attributes(dataset: Dataset, rng: np.random.Generator) -> None:
    """Give some attributes odd values, take some away."""
    elements = [element.keyword for element in dataset if element.keyword and element.VR != "SQ"]
    for keyword in rng.choice(elements, int(rng.integers(1, 4)), replace=False):
        if keyword not in dataset or rng.random() < 0.2:
            dataset.pop(keyword, None)
            continue
        value = ODD_VALUES[int(rng.integers(len(ODD_VALUES)))]
        try:
            setattr(dataset, str(keyword), value)
        except Exception:  # pydicom's own refusal to hold it: the value cannot come from a file either
            continue


def damaged(path: Path, rng: np.random.Generator) -> None:
    """Damage one file, by attribute or by bytes."""
    if rng.random() < 0.4:
        whole = path.read_bytes()
        try:
            dataset = dcmread(path, force=True)
            odd_attributes(dataset, rng)
            dataset.save_as(path)
            return
        except Exception:  # what cannot be written is no file
            path.write_bytes(whole)
    damage = bomb if rng.random() < 0.02 else DAMAGES[int(rng.integers(len(DAMAGES)))]
    path.write_bytes(damage(bytearray(path.read_bytes()), rng))


@contextmanager
def clocked() -> Iterator[None]:
    """Raise TimeoutError after `SECONDS`."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"over {SECONDS} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)


def judged(folder: Path) -> str:
    """Return the outcome of a folder in one word: verdicts, or the code of the refusal."""
    makes = folder.name.endswith("made")
    try:
        rows = check_folder(folder, makes_identifiers=makes)
        for row in rows:
            if row["verdict"] == "refused":
                Code(row["code"])
        load(choose_series(read_series(folder, makes_identifiers=makes)))
    except Refused as refusal:
        return refusal.code
    return "+".join(sorted({row["verdict"] for row in rows}))


def corpus(folder: Path) -> list[Path]:
    """Write one small series per transfer syntax; return their folders."""
    made = case(Geometry((4, 40, 48), case().volume.geometry.affine))
    folders = []
    for syntax in SYNTAXES:
        one = folder / f"series-{len(folders)}"
        for path in write_phantom_series(made, one):
            encode(path, syntax)
        folders.append(one)
    return folders


def encode(path: Path, syntax: UID) -> None:
    dataset = dcmread(path)
    if syntax.is_encapsulated:
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, enforce_file_format=True, implicit_vr=syntax.is_implicit_VR, little_endian=True)


def peak_kb() -> int:
    """Return this program's own peak; what getrusage says begins with that of the one that started it."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def run(seed: int, count: int, work: Path) -> dict[str, object]:
    folders = corpus(work / "corpus")
    for folder in folders:
        if judged(folder) != "ok":
            raise RuntimeError(f"{folder} is not fit before it is damaged")
    outcomes: Counter[str] = Counter()
    faults: list[dict[str, object]] = []
    slowest, before = 0.0, peak_kb()
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + LIMIT_BYTES, resource.RLIM_INFINITY))
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        folder = work / ("case-made" if number % 5 == 0 else "case")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(folders[int(rng.integers(len(folders)))], folder)
        with disable_value_validation():
            for path in rng.choice(sorted(folder.iterdir()), int(rng.integers(1, 4)), replace=False):
                damaged(Path(str(path)), rng)
        started = time.perf_counter()
        try:
            with clocked():
                outcomes[judged(folder)] += 1
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"
            faults.append({"seed": seed, "case": number, "what": what[:300]})
        slowest = max(slowest, time.perf_counter() - started)
    peak = peak_kb() - before
    return {
        "count": count,
        "verdicts": dict(outcomes.most_common()),
        "peak_mb": round(peak / 1024, 1),
        "slowest_seconds": round(slowest, 2),
        "faults": faults,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--work", type=Path, required=True)
    arguments = parser.parse_args()
    import warnings

    warnings.simplefilter("ignore")
    json.dump(run(arguments.seed, arguments.count, arguments.work), sys.stdout, indent=1)
