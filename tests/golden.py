"""What the program makes of a fixed list of inputs, to be compared with what another commit makes of it.

``python -m tests.golden write FOLDER`` does it all with the engine in this process: phantoms of both sites
and, where they are at hand, real CTs are judged and segmented; an earlier home is upgraded and goes through
a reader's, a night's and a model owner's day. ``python -m tests.golden compare FOLDER FOLDER`` names every
file that differs and ends with 1 if one does. A change that only moves code changes nothing here.

What depends on the clock, the machine or the program's own code is masked, by key: `MASKED` and `TIMES`; of
the log, `WRITTEN_ANEW` is left out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import count, product
from pathlib import Path
from typing import Any

from pydicom import dcmread

from deploy.preparation import prepare
from flows.segmentation.segment import segment
from models.documents import to_json
from models.errors import Refused
from services import wiring
from services.settings import Settings
from services.wiring import Services, connect_in_process
from tests.support.earlier_homes import ARCHIVES, EarlierHome, unpacked
from tests.support.learning import SAVED_AT
from tests.support.promotion import InProcessEndpoint

MASKED = re.compile(
    r"at|run|program|key|head|report|page|trial|timed|evidence|.*_at|.*seconds|__pycache__/.*|model\.py|events"
)
"""Keys of documents and events whose values hang on the clock, or on the digest of the program's own code."""

WRITTEN_ANEW = "version-written"
"""Event of which there is one more for each release whose served program has changed."""

TIMED_FILES = ("evidence", "gate")
"""Beginnings of files of the store that say when, or which program: their names are their digests too."""

TIMES = (
    "ContentDate", "ContentTime", "InstanceCreationDate", "InstanceCreationTime", "SeriesDate", "SeriesTime",
    "ContributionDateTime",
)  # fmt: skip
"""Attributes of the objects that verbs write: they say when."""

BY = ("--approver", "Dr B", "--reason", "golden")
THREADS = 2
DATA = Path(os.environ.get("ORGANLOOP_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
REAL = (
    "ct-abdomen-series",
    "ct-series-empty-uids",
    "ohif-correction/ct",
    "ct-study-mixed-series",
    "ct-tilt-and-gap",
)
PHANTOMS = (("A", 910_001), ("B", 910_002))


class Recorder:
    """Writes what comes out into a folder, numbered as it came.

    Parameters
    ----------
    folder
        Where to.
    own
        Folders of this run by the word that stands for each: their paths are in documents.
    """

    def __init__(self, folder: Path, own: Mapping[str, Path]) -> None:
        self._folder, self._own, self._number = folder, own, count(1)

    def document(self, name: str, document: Any) -> None:
        """Write a JSON document, masked."""
        text = json.dumps(masked(document), indent=1, sort_keys=True, default=str)
        for word, path in self._own.items():
            text = text.replace(str(path), f"<{word}>")
        self._write(f"{name}.json", text.encode())

    def objects(self, name: str, folder: Path) -> None:
        """Write what each DICOM object of a folder says, but for the time, and the digest of its pixels."""
        for path in sorted(folder.rglob("*.dcm")):
            made = dcmread(path)
            for dataset, keyword in product((made, *made.get("ContributingEquipmentSequence", ())), TIMES):
                if keyword in dataset:
                    delattr(dataset, keyword)
            said = made.to_json_dict(bulk_data_threshold=64, bulk_data_element_handler=_digest)
            self._write(f"{name}-{path.name}.json", json.dumps(said, indent=1, sort_keys=True).encode())

    def bytes_of(self, name: str, path: Path) -> None:
        """Write the digest of a file."""
        self._write(f"{name}.sha256", hashlib.sha256(path.read_bytes()).hexdigest().encode())

    def store(self, folder: Path) -> None:
        """Write the digest of every weight, network and release that is kept."""
        for path in sorted(folder.rglob("*")):
            name = str(path.relative_to(folder))
            if path.is_file() and not any(part.startswith(TIMED_FILES) for part in Path(name).parts):
                self.bytes_of(f"store-{name}", path)

    def _write(self, name: str, content: bytes) -> None:
        path = self._folder / f"{next(self._number):03d}-{re.sub(r'[^a-zA-Z0-9.-]+', '-', name)}"
        path.write_bytes(content + b"\n")


def _digest(element: Any) -> str:
    return hashlib.sha256(bytes(element.value)).hexdigest()


def masked(document: Any) -> Any:
    """Return a document in which every value of a masked key is left out, at any depth."""
    if isinstance(document, Mapping):
        return {
            key: "<masked>" if MASKED.fullmatch(str(key)) else masked(value)
            for key, value in document.items()
        }
    if isinstance(document, list | tuple):
        return [masked(one) for one in document]
    return document


def of_studies(work: Path, recorder: Recorder) -> None:
    """Judge and segment phantoms and real studies with the shipped release, at a fixed time of writing."""
    settings = Settings(home=work / "home", threads=THREADS)
    prepare(settings, _say, starter=True)
    services = connect_in_process(settings)
    site = EarlierHome(work, settings.home)
    studies = {f"real-{name}": DATA / name for name in REAL if (DATA / name).exists()}
    for where, seed in PHANTOMS:
        words = ("phantom", "--out", work / "phantoms", "--site", where, "--seed", seed)
        recorder.document(f"phantom-{where}", site.organloop(*words))
        studies[f"phantom-{where}"] = work / "phantoms" / f"{where}-{seed}"
    for name, folder in studies.items():
        _say(f"study {name}")
        recorder.document(f"check-{name}", site.organloop("check", folder))
        out = work / "results" / name
        try:
            recorder.document(
                f"segment-{name}", to_json(segment(folder, out, services, now=lambda: SAVED_AT).document)
            )
        except Refused as refusal:
            recorder.document(f"segment-{name}", [refusal.code, refusal.detail, refusal.measured])
        for path in sorted(out.rglob("*.dcm")):
            recorder.bytes_of(f"object-{name}-{path.name}", path)
    recorder.store(settings.release_store)


def of_an_earlier_home(work: Path, recorder: Recorder) -> None:
    """Upgrade an earlier home and let readers, a night and a model owner do what there is to do."""
    [archive] = ARCHIVES
    site = EarlierHome.on(unpacked(archive, work / "made"), work / "home", None)
    said = site.said

    def organloop(*words: object) -> Any:
        code, document = site.organloop(*words)
        recorder.document(str(words[0]), {"code": code, "document": document})
        return document

    organloop("prepare")
    with serving_here(site):
        first, seed = said["results"][0], said["to_come"]
        saved, ct = site.made / "studies" / str(seed) / "saved.dcm", site.ct(seed)
        [result] = [one for one in said["results"] if one["seed"] == seed]
        for words in (
            ("releases",),
            ("arrivals",),
            ("cases", "list"),
            ("corrections",),
            ("tonight",),
            ("bounds",),
        ):
            organloop(*words)
        organloop("corrections", first["study_uid"])
        for number in (1, 2):
            out = work / f"again-{number}"
            organloop("segment", site.ct(first["seed"]), "--release", number, "--out", out)
            recorder.objects(f"again-{number}", out)
        organloop("tune", "--level", "head")
        organloop("decline", 4, *BY)
        organloop("gate", 3)
        organloop("promote", 3, *BY)
        organloop("segment", site.ct(first["seed"]), "--out", work / "again-3")
        recorder.objects("again-3", work / "again-3")
        organloop("rollback", *BY)
        organloop("ingest", saved, "--study", ct, "--sent", site.home / result["objects"][0]["path"])
        organloop("accept", result["study_uid"], "--organs", "liver", "--reader", "Dr A")
        uid = dcmread(saved, stop_before_pixels=True).SOPInstanceUID
        organloop("withdraw", uid, "--reader", "Dr A", "--reason", "golden")
        organloop("calibrate")
        organloop("train", "--begin", "incumbent", "--steps", 1)
        organloop("import-checkpoint", saved)
        organloop("cases", "erase", site.ct(1), *BY)
        organloop("releases")
        organloop("audit", "verify", "--against", site.log)
        organloop("audit", "export", work / "log.jsonl")
    events = [json.loads(line) for line in (work / "log.jsonl").read_text().splitlines()]
    lasting = [one for one in events if one["what"] != WRITTEN_ANEW]
    recorder.document(
        "log", [{"what": one["what"], "who": one["who"], "payload": one["payload"]} for one in lasting]
    )
    recorder.store(site.settings.release_store)


@contextmanager
def serving_here(site: EarlierHome) -> Iterator[None]:
    """Let verbs ask the engine in this process in place of a Triton."""
    endpoint = InProcessEndpoint(site.settings.triton_repository / "organ_segmenter")
    endpoint.load()
    before = wiring.connect

    def in_process(settings: Settings) -> Services:
        return replace(connect_in_process(settings), endpoints=(endpoint,))

    wiring.connect = in_process
    try:
        yield
    finally:
        wiring.connect = before


def differing(one: Path, other: Path) -> list[str]:
    """Return the names of files that are in one folder only, or hold other bytes."""
    here, there = (
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (one, other)
    )
    return sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def main() -> None:
    """Write a golden set, or compare two."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    words = parser.add_subparsers(dest="word", required=True)
    words.add_parser("write").add_argument("folder", type=Path)
    compared = words.add_parser("compare")
    compared.add_argument("one", type=Path)
    compared.add_argument("other", type=Path)
    told = parser.parse_args()
    if told.word == "compare":
        different = differing(told.one, told.other)
        print(f"{len(different)} files differ", *different, sep="\n")
        sys.exit(bool(different))
    with tempfile.TemporaryDirectory() as temporary:
        for name, part in (("studies", of_studies), ("home", of_an_earlier_home)):
            (told.folder / name).mkdir(parents=True)
            work = Path(temporary) / name
            work.mkdir()
            part(work, Recorder(told.folder / name, {"work": work, "data": DATA}))


if __name__ == "__main__":
    main()
