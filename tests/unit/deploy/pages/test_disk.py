"""What lies on the disk, and what of it may go."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import pytest

from deploy.pages.model.disk import disk_of
from deploy.pages.model.tonight import in_bytes
from services.pacs.unsent import NAMED_BY
from services.records.entries.cases import Case, Purpose
from services.records.entries.releases import ReleaseState
from services.records.store import open_records
from services.releases.store import ReleaseStore
from services.settings import Settings
from tests.conftest import ROOT


def test_weights_of_a_declined_release_alone_and_what_is_old_may_go(tmp_path) -> None:
    settings = Settings(home=tmp_path, keep_pictures_days=1.0)
    shutil.copytree(ROOT / "models" / "starter", settings.release_store)
    releases, records = ReleaseStore(settings.release_store), open_records(settings.records_url)
    records.set_incumbent(1, approver="Dr. Ito", reason="first")
    served = releases.release(1)
    head = releases.add_head(b"another head")
    heads = dict(served.heads) | {next(iter(served.heads)): head}
    releases.publish(replace(served, number=2, parent=1, heads=heads))
    young, old = (settings.pictures_folder / name for name in ("young.png", "old.png"))
    settings.pictures_folder.mkdir()
    young.write_bytes(b"1234")
    old.write_bytes(b"123456")
    os.utime(old, (0, 0))
    (settings.pictures_folder / "lead").symlink_to(settings.records_file)

    def held(name: str):
        return next(one for one in disk_of(settings, releases, records).held if one.name == name)

    assert held("Releases").free == 0, "a candidate may still serve"
    records.record_release(2, releases.release(2).digest, ReleaseState.REFUSED)
    assert (held("Releases").free, "2 alone" in held("Releases").may) == (len(b"another head"), True)
    releases.publish(replace(served, number=3, parent=2, heads=heads))
    assert held("Releases").free == 0, "another was made of it"
    pictures = held("Pictures of organs")
    assert (pictures.files, pictures.free) == (3, 6)
    assert pictures.size < 10 + 500, "a link is no copy of what it leads to"
    assert "the next night deletes it" in pictures.may
    labelled = settings.unsent_store / "p" / ("c" * NAMED_BY) / "r"
    for folder in (labelled, settings.unsent_store / "p" / ("d" * NAMED_BY) / "r"):
        folder.mkdir(parents=True)
        (folder / "organ.dcm").write_bytes(b"12345")
        os.utime(folder / "organ.dcm", (0, 0))
    records.add_case(Case("c" * 64, Purpose.GATE, "p" * 64, "independent", "d" * 64, ""))
    assert held("Results that were not sent").free == 5, "those of a labelled series stay"
    assert held("Kept features") == replace(held("Kept features"), files=0, size=0, free=0, may="")
    records.close()


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (41_200_000_000, "41.2 GB"),
        (2 * 10**14, "200 TB"),
    ],
)
def test_sizes_are_said_as_a_person_says_them(size, said) -> None:
    assert in_bytes(size) == said
