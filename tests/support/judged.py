"""Judge one hostile input in a process of its own, and tell what it cost; run as a program.

``python -m tests.support.judged ct FOLDER | seg FILE | answer URL STUDY FOLDER`` prints one JSON document:
``{said, peak_mib, seconds}``: the code or sentence of the refusal; memory, the peak of this process and that
of its largest child together; processor time of both. What Python and pydicom take by themselves is in it.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from models.errors import PacsFailed, Refused
from services.dicom.ct.series import read_series
from services.dicom.foreign.rehearsal import end_children
from services.dicom.seg.bounded import open_seg
from services.pacs.dicomweb import DicomwebArchive
from services.pacs.http import Http


def ct(folder: str) -> object:
    return read_series(Path(folder))


def seg(file: str) -> object:
    return open_seg(Path(file))


def answer(url: str, study_uid: str, into: str) -> object:
    return DicomwebArchive(Http(url)).fetch_study(study_uid, Path(into))


def peak_kib() -> int:
    """Return this process's own peak; what getrusage says begins with that of the one that started it."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def main(what: str, *given: str) -> None:
    read: dict[str, Callable[..., object]] = {"ct": ct, "seg": seg, "answer": answer}
    begun = time.process_time()
    try:
        said = type(read[what](*given)).__name__
    except Refused as refused:
        said = refused.code
    except PacsFailed as failed:
        said = str(failed)
    own = time.process_time() - begun
    end_children()
    child = resource.getrusage(resource.RUSAGE_CHILDREN)
    cost = {
        "said": said,
        "peak_mib": (peak_kib() + child.ru_maxrss) / 1024,
        "seconds": own + child.ru_utime + child.ru_stime,
    }
    print(json.dumps(cost))


if __name__ == "__main__":
    main(*sys.argv[1:])
