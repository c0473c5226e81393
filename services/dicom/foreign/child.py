"""The child that reads before its parent does; run as a program.

Each line of standard input is a job, each line of standard output its answer; the end of the input is its
end. Before a job the kernel is told how much memory and processor time it may take. It has no secrets: its
environment is next to empty. What is damaged, vanished or no DICOM is its parent's to say.
"""

from __future__ import annotations

import logging
import math
import resource
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from pydicom import Dataset, config
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.filereader import read_sequence
from pydicom.hooks import hooks, raw_element_value
from pydicom.sequence import Sequence

from services.dicom.foreign.bounded_file import BoundedBytes, Bounds, TooLargeFile
from services.dicom.foreign.job import Job, Kind, Rehearsed
from services.dicom.foreign.limits import DEEPEST, IMAGE, SEG, Limits
from services.dicom.foreign.listing import ListedFile
from services.dicom.foreign.objects import opened_object
from services.dicom.foreign.reader import opened


def main() -> None:
    """Do jobs until there are no more."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # patients' data
    config.settings.reading_validation_mode = config.IGNORE
    warnings.simplefilter("ignore")
    logging.disable()
    answers, sys.stdout = sys.stdout.buffer, sys.stderr  # nothing else speaks to the parent
    for line in sys.stdin.buffer:
        job = Job.read(line)
        limit(job.memory_bytes, job.seconds)
        answers.write(rehearsed(job).line())
        answers.flush()


def limit(memory_bytes: int, seconds: int) -> None:
    """Let the kernel refuse more memory than is taken now and so much, and end the process after so long."""
    pages = int(Path("/proc/self/statm").read_bytes().split()[0])
    held = pages * resource.getpagesize()
    _set(resource.RLIMIT_AS, held + memory_bytes)
    _set(resource.RLIMIT_CPU, math.ceil(time.process_time()) + seconds)


def rehearsed(job: Job) -> Rehearsed:
    """Read each file as the parent will, and all that it may touch of it."""
    read = {Kind.IMAGES: _read_image, Kind.SEG: _read_seg}[job.kind]
    too_large = []
    for index, file in enumerate(job.files):
        try:
            read(file)
        except (TooLargeFile, MemoryError):
            too_large.append(index)
        except Exception:  # bytes of others: pydicom fails in many ways, and the parent meets it again
            continue
    return Rehearsed(tuple(too_large))


def _read_image(file: ListedFile) -> None:
    header = opened(file.path, pixels=False, listed=file.state)
    if header is not None:
        touch(header, IMAGE)


def _read_seg(file: ListedFile) -> None:
    seg = opened_object(file.path, SEG, file.state)
    touch(seg.header, SEG, seg.state.size)


def touch(dataset: Dataset, limits: Limits, file_bytes: int = 0) -> None:
    """Parse every element at any depth; what was parsed is let go.

    Parameters
    ----------
    dataset
        A header.
    limits
        Of its kind.
    file_bytes
        Size of its file.

    Raises
    ------
    TooLargeFile
        If there are more items or reads than the limits, or sequences lie too deep in each other.
    """
    bounds = Bounds(limits, limits.header_bytes, file_bytes=file_bytes)

    def value(raw: RawDataElement, data: dict[str, object], **given: Any) -> None:
        if data["VR"] != "SQ" or not raw.value:
            raw_element_value(raw, data, **given)
            return
        content: Any = BoundedBytes(raw.value, bounds)
        encoding = given.get("encoding") or "iso8859"
        data["value"] = read_sequence(
            content, raw.is_implicit_VR, raw.is_little_endian, len(raw.value), encoding
        )

    hooks.register_callback("raw_element_value", value)
    try:
        _touch(dataset, bounds, 0)
    finally:
        hooks.register_callback("raw_element_value", raw_element_value)


def _touch(dataset: Dataset, bounds: Bounds, depth: int) -> None:
    if depth > DEEPEST:
        raise TooLargeFile("its sequences lie deeper in each other than in any object")
    for tag in list(dataset.keys()):
        try:
            dataset[tag]
        except MemoryError:
            raise
        except Exception:  # of one element; the next ones may be read all the same
            pass
        if bounds.exceeded:
            raise TooLargeFile(bounds.what)
        parsed = dataset.get_item(tag, keep_deferred=True)
        if isinstance(parsed, DataElement) and isinstance(parsed.value, Sequence):
            for item in parsed.value:
                _touch(item, bounds, depth + 1)
        del dataset[tag]


def _set(which: int, soft: int) -> None:
    _, hard = resource.getrlimit(which)
    resource.setrlimit(which, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


if __name__ == "__main__":
    main()
