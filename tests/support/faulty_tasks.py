"""The tasks of the proofs of faults: what workers do in copies of one home, and what must be left of it."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import dcmread

from flows.corrections.ingest import memory_of
from services.records.port import Records
from services.settings import Settings
from tests.corrections import PHANTOM
from tests.support import faulty_works as works
from tests.support.archive import Archive
from tests.support.faulty_workers import NEVER, Ended, Fault, Work, Worker, start
from tests.support.faulty_works import Left, left_in
from tests.support.learning import SEEDS, open_site
from tests.support.promotion import gated_site
from tests.support.returned_segs import put_on_record

CASES_OF_THE_GATE = 12


@dataclass(frozen=True)
class Task:
    """A work that is done in copies of one home.

    Parameters
    ----------
    work, given
        What a worker does, and with what.
    home
        Of which each trial takes a copy.
    archive, held
        The archive, and what it holds before; None where none is asked.
    """

    work: Work
    given: tuple[Any, ...]
    home: Path
    archive: Archive | None = None
    held: frozenset[str] = frozenset()

    def with_settings(self, **said: Any) -> Task:
        """Return the same task of workers with other settings."""
        return dataclasses.replace(self, given=(self.given[0] | said, *self.given[1:]))

    def begun(self, home: Path, fault: Fault = Fault.KILLED, at: int = NEVER) -> Worker:
        return start(self.work, home, *self.given, fault=fault, at=at)

    def done(self, home: Path, fault: Fault = Fault.KILLED, at: int = NEVER) -> Ended:
        return self.begun(home, fault, at).end()

    def stored(self) -> list[str]:
        """Return what came to the archive."""
        found = [] if self.archive is None else self.archive.instances()
        return sorted(uid for one in found if (uid := one["SOPInstanceUID"]) not in self.held)

    def take_back(self) -> None:
        """Leave in the archive what it held before."""
        for uid in self.stored():
            assert self.archive is not None
            [found] = self.archive.ask("/tools/lookup", uid.encode())
            self.archive.ask(found["Path"], method="DELETE")


def segmenting(folder: Path, archive: Archive) -> Task:
    archive.put(PHANTOM / "ct")
    study = str(dcmread(PHANTOM / "sent.dcm", stop_before_pixels=True).StudyInstanceUID)
    home = open_site(folder).services.settings.home
    return Task(works.segments, (archive.named, study), home, archive, held(archive))


def ingesting(folder: Path, archive: Archive) -> Task:
    saved = PHANTOM / "saved-by-ohif.dcm"
    archive.put(PHANTOM / "ct", PHANTOM / "sent.dcm", saved)
    home = open_site(folder).services.settings.home
    memory = memory_of(Settings(home=home))
    assert memory is not None
    sent(memory.records)
    uid = str(dcmread(saved, stop_before_pixels=True).SOPInstanceUID)
    return Task(works.ingests, (archive.named, uid), home, archive, held(archive))


def sent(records: Records) -> None:
    put_on_record(records, PHANTOM / "sent.dcm", PHANTOM / "ct")


def tuning(folder: Path, _: Archive) -> Task:
    site = open_site(folder)
    for seed in SEEDS:
        site.correct(seed, "stomach", "aorta")
    return Task(works.tunes, ({},), site.services.settings.home)


def promoting(folder: Path, _: Archive) -> Task:
    home, _server = gated_site(folder / "home", CASES_OF_THE_GATE)
    works.opened(home, {}).repository.remove_version(2)  # so that it is written and loaded
    return Task(works.promotes, ({},), home)


def held(archive: Archive) -> frozenset[str]:
    return frozenset(one["SOPInstanceUID"] for one in archive.instances())


TASKS: dict[str, Callable[[Path, Archive], Task]] = {
    "segment": segmenting,
    "ingest": ingesting,
    "tune": tuning,
    "promote": promoting,
}


@dataclass(frozen=True)
class Proof:
    """A task, and what is left where nothing happens to whoever does it."""

    task: Task
    folder: Path
    steps: Ended
    left: Left
    stored: int

    def home(self, folder: Path | None = None) -> Path:
        place = (folder or self.folder) / "home"
        shutil.rmtree(place, ignore_errors=True)
        return Path(shutil.copytree(self.task.home, place))

    def check(self, home: Path, after: str, temporary: bool = False, **said: Any) -> int:
        """See that all is there, once and whole; return how many temporary files are left."""
        left, stored = left_in(home, **said), self.task.stored()
        assert len(stored) == self.stored, after
        assert dataclasses.replace(left, temporary=self.left.temporary) == self.left, after
        assert temporary or left.temporary == self.left.temporary, after
        records = works.opened(home, said).records
        assert all(records.find_result(uid) for uid in stored), after
        records.close()
        self.task.take_back()
        return len(left.temporary)
