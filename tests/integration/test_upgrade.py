"""Homes that earlier versions made: opened, verified, served, promoted and rolled back by this one."""

from __future__ import annotations

import gc
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from models.contract import ModelContract
from models.release import sha256_hex
from models.resampling import to_model_grid
from services.dicom.ct.loaded import load
from services.dicom.ct.series import read_series
from services.records.database import connect, revisions
from services.records.store import open_records
from services.wiring import connect_in_process
from tests.support.earlier_homes import (
    ARCHIVES,
    EarlierHome,
    columns_of,
    files_of,
    rows_of,
    unpacked,
    version_of,
)
from tests.support.postgresql import new_database
from tests.support.walked_home import BY, vector, walk_every_verb

# A verb's process ends, and its connections with it; here many verbs run in one.
pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")
DATABASES = ("sqlite", "postgresql")
ROUNDING = 1e-3
"""Another processor adds in another order: so far a probability may be off."""

Addresses = Callable[[str], str | None]
Made = Callable[[str], EarlierHome]


@pytest.fixture(scope="module", params=ARCHIVES, ids=version_of)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home as an earlier version left it; each test works on copies."""
    return unpacked(request.param, tmp_path_factory.mktemp("made"))


@pytest.fixture(autouse=True)
def no_connections_left() -> Iterator[None]:
    """Let go of what the verbs have left open, in this test and not in the next one."""
    yield
    gc.collect()


@pytest.fixture
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Addresses:
    """Return addresses of empty databases, each another; None for SQLite, which lies in the home."""
    numbers = count()

    def address(database: str) -> str | None:
        if database == "sqlite":
            return None
        server = request.getfixturevalue("postgresql")
        return new_database(server, f"upgrade_{sha256_hex(str(tmp_path).encode())[:16]}_{next(numbers)}")

    return address


@pytest.fixture
def earlier(made: Path, tmp_path: Path, empty: Addresses) -> Made:
    """Return copies of that home, on SQLite or PostgreSQL."""
    return lambda database: EarlierHome.on(made, tmp_path / "home", empty(database))


def test_there_is_a_home_of_an_earlier_version_and_all_of_them_are_small() -> None:
    assert ARCHIVES
    assert sum(path.stat().st_size for path in ARCHIVES) < 5_000_000


def test_an_earlier_home_tells_nothing_of_where_it_was_made(made: Path) -> None:
    """A home may be moved: no record and no file holds the path it lay at."""
    files = [path for path in made.rglob("*") if path.is_file()]
    content = [path.read_bytes() for path in files if path.suffix != ".pyc"]  # Python names its source
    dump = made / "home" / "records.sqlite"
    with closing(sqlite3.connect(dump)) as records:
        content += ["\n".join(records.iterdump()).encode()]
    told = [part for part in (b"/tmp/", b"/root/", b"/home/") if any(part in one for one in content)]
    assert told == []


@pytest.mark.parametrize("database", DATABASES)
def test_opening_an_earlier_home_brings_it_up_and_changes_nothing_on_record(
    earlier: Made, database: str, tmp_path: Path
) -> None:
    was = earlier(database)
    url, said = was.settings.records_url, was.said
    columns = columns_of(url)
    rows, files = rows_of(url, columns), files_of(was.home)
    assert was.organloop("releases")[0] == 0
    engine = connect(url)
    at, newest = revisions(engine)
    engine.dispose()
    assert at == newest
    assert rows_of(url, columns) == rows
    assert files_of(was.home) == files
    code, found = was.organloop("audit", "verify", "--against", was.log)
    assert (code, found["faults"], found["events"]) == (0, [], len(was.log.read_text().splitlines()))
    assert found["older_rows"] > 0, "its events name no digests"
    was.organloop("audit", "export", tmp_path / "log.jsonl")
    assert (tmp_path / "log.jsonl").read_bytes() == was.log.read_bytes()
    with closing(open_records(url)) as records:
        places = [one.arrived or 0 for one in records.corrections()]
    assert min(places) > 0, "each came when its event says that it was put on record"
    assert places == sorted(set(places))
    _, releases = was.organloop("releases")
    assert {str(one["release"]): one["digest"] for one in releases} == {
        number: one["digest"] for number, one in said["releases"].items()
    }
    assert {str(one["release"]): one["state"] for one in releases} == said["states"]
    assert [one["release"] for one in releases if one["incumbent"]] == [said["incumbent"]]
    for number, one in said["releases"].items():
        file = was.settings.release_store / "releases" / number / "release.json"
        assert sha256_hex(file.read_bytes()) == one["file"]


def test_what_the_releases_answer_is_what_they_answered(earlier: Made) -> None:
    """To the bit on a processor of the same kind, as the serving profile promises; else to rounding."""
    was = earlier("sqlite")
    assert was.organloop("prepare") == (0, {"incumbent": was.said["incumbent"]})
    services = connect_in_process(was.settings)
    contract = services.releases.release(1).contract
    same = was.said["vector"] == vector() and was.said["profile"] == services.segmenter.profile(1)
    answers = sorted((was.made / "answers").glob("*.npz"))
    assert answers
    for path in answers:
        with np.load(path) as kept:
            hu = kept["hu"]
            np.testing.assert_allclose(
                model_grid(was.ct(int(path.stem)), contract), hu, atol=0 if same else 1
            )
            for number in sorted(set(kept.files) - {"hu"}):
                answer = services.segmenter.segment(hu, int(number)).probability
                if same:
                    np.testing.assert_array_equal(answer, kept[number])
                np.testing.assert_allclose(
                    answer.astype(np.float32), kept[number].astype(np.float32), atol=ROUNDING
                )


def test_every_verb_works_on_an_earlier_home(earlier: Made, tmp_path: Path) -> None:
    """With a real Triton; on PostgreSQL it is proven in tests/proofs."""
    walk_every_verb(earlier("sqlite"), None, tmp_path)


@pytest.mark.parametrize("database", DATABASES)
def test_a_backup_of_an_earlier_version_is_restored(
    earlier: Made, empty: Addresses, database: str, tmp_path: Path
) -> None:
    was = earlier(database)
    site = replace(was, home=tmp_path / "restored", database=empty(database))
    code, document = site.organloop("restore", was.backup())
    assert (code, document["incumbent"]) == (0, was.said["incumbent"])
    assert site.organloop("audit", "verify")[1]["faults"] == []
    assert site.organloop("prepare") == (0, {"incumbent": was.said["incumbent"]})


@pytest.mark.parametrize("database", DATABASES)
def test_rows_of_an_earlier_version_are_as_its_events_say_until_they_are_sealed(
    earlier: Made, database: str
) -> None:
    was = earlier(database)

    def faults() -> set[str]:
        return {
            f"{one['code']}: {one['what'].split(':')[0]}"
            for one in was.organloop("audit", "verify")[1]["faults"]
        }

    def rewrite(statement: str) -> None:
        engine = connect(was.settings.records_url)
        with engine.begin() as connection:
            connection.execute(text(statement))
        engine.dispose()

    rewrite("UPDATE corrections SET status = 'ours-unchanged'")
    assert faults() == {"row-unknown: corrections", "row-unknown: organ_ledgers"}
    rewrite("UPDATE corrections SET status = 'correction'")
    assert faults() == set()
    rewrite("UPDATE organ_ledgers SET added_ml = added_ml + 1")
    assert faults() == set(), "no event of that version says how much was added"
    rewrite("UPDATE organ_ledgers SET added_ml = added_ml - 1")
    assert was.organloop("prepare")[0] == 0
    assert was.organloop("audit", "verify")[1]["older_rows"] == 0
    assert faults() == set()
    rewrite("UPDATE organ_ledgers SET added_ml = added_ml + 1")
    assert faults() == {"row-changed: organ_ledgers"}


def test_an_earlier_home_with_one_owner_goes_on_as_the_writer(earlier: Made, tmp_path: Path) -> None:
    """As a site updates: `prepare` as the owner, everything else as roles that cannot rewrite the log."""
    was = earlier("postgresql")
    owner = was.settings.records_url
    writer, reader, backup = (
        make_url(owner).set(username=f"later_{role}").render_as_string(hide_password=False)
        for role in ("writer", "reader", "backup")
    )
    roles = {"ORGANLOOP_DATABASE_READER_URL": reader, "ORGANLOOP_DATABASE_BACKUP_URL": backup}
    site = replace(was, database=writer)
    code, document = site.organloop("releases")
    assert (code, document["code"]) == (1, "storage-failed"), (
        "the role is not there before the owner makes it"
    )
    prepared = site.organloop("prepare", ORGANLOOP_DATABASE_OWNER_URL=owner, **roles)
    assert prepared == (0, {"incumbent": was.said["incumbent"]})
    code, found = site.organloop("audit", "verify", "--against", was.log)
    assert (code, found["faults"], found["older_rows"]) == (0, [], 0)
    with closing(open_records(writer)) as records:
        saved = records.corrections()[0].sop_instance_uid
    assert site.organloop("withdraw", saved, "--reader", "Dr B", "--reason", "wrong")[0] == 0
    assert site.organloop("decline", 3, *BY)[0] == 0
    assert site.organloop("cases", "freeze", "--purpose", "gate")[0] == 0
    assert replace(was, database=backup).organloop("backup", "--out", tmp_path / "backups")[0] == 0
    assert (
        "organloop_"
        in replace(was, database=reader, triton_url="127.0.0.1:9").organloop("metrics", "--once")[1]
    )
    assert site.organloop("audit", "verify")[1]["faults"] == []
    code, document = replace(was, database=reader).organloop("decline", 1, *BY)
    assert (code, document["code"]) == (1, "storage-failed")


def damaged_database(home: Path) -> None:
    """Spoil the middle of the file of records, as a failing disk does."""
    path = home / "records.sqlite"
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[:100] = bytes(100)
    content[middle : middle + 4096] = bytes(4096)
    path.write_bytes(content)


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def test_an_earlier_home_whose_records_are_damaged_is_refused_and_left_as_it_is(earlier: Made) -> None:
    was = earlier("sqlite")
    damaged_database(was.home)
    records, files = (was.home / "records.sqlite").read_bytes(), files_of(was.home)
    for words in (("releases",), ("prepare",), ("audit", "verify")):
        code, document = was.organloop(*words)
        assert (code, document["code"]) == (1, "storage-failed")
        assert "not a database" in document["detail"]
    assert (was.home / "records.sqlite").read_bytes() == records
    assert files_of(was.home) == files


@pytest.mark.parametrize("part", ["trunks", "heads"])
def test_an_earlier_home_whose_incumbent_is_damaged_is_not_served_and_nothing_is_lost(
    earlier: Made, part: str
) -> None:
    """What Triton has loaded is not touched, and the records say the same as before."""
    was = earlier("sqlite")
    incumbent = connect_in_process(was.settings).releases.release(was.said["incumbent"])
    digest = incumbent.trunk if part == "trunks" else incumbent.heads["stomach"]
    [path] = was.settings.release_store.glob(f"{part}/{digest}*")
    flip(path)
    shutil.rmtree(was.settings.triton_repository)
    shutil.rmtree(was.settings.release_store / "exports")
    files = files_of(was.home)
    code, document = was.organloop("prepare")
    assert (code, document["code"]) == (1, "invalid-release")
    assert digest[:12] in document["detail"] or "damaged" in document["detail"]
    assert {name: content for name, content in files_of(was.home).items() if name in files} == files
    code, found = was.organloop("audit", "verify", "--against", was.log)
    assert code == 3
    assert {fault["code"] for fault in found["faults"]} == {"file-changed"}


@pytest.mark.parametrize("database", DATABASES)
def test_an_earlier_log_in_which_a_line_was_changed_promotes_nobody(earlier: Made, database: str) -> None:
    was = earlier(database)
    trigger = "events_unchanged" if database == "sqlite" else "events_append_only ON events"
    engine = connect(was.settings.records_url)
    with engine.begin() as connection:
        connection.execute(text(f"DROP TRIGGER {trigger}"))
        connection.execute(text("UPDATE events SET who = 'nobody' WHERE number = 3"))
    engine.dispose()
    code, found = was.organloop("audit", "verify", "--against", was.log)
    assert (code, found["faults"][0]["code"], found["faults"][0]["what"]) == (3, "line-changed", "event 3")
    code, document = replace(was, triton_url="127.0.0.1:9").organloop("promote", 3, *BY)
    assert (code, document["code"]) == (3, "log-broken")
    assert was.organloop("prepare") == (0, {"incumbent": was.said["incumbent"]})


def test_a_damaged_backup_of_an_earlier_version_is_refused(earlier: Made, tmp_path: Path) -> None:
    was = earlier("sqlite")
    backup = tmp_path / "backup"
    shutil.copytree(was.backup(), backup)
    [case, *_] = sorted(backup.glob("cases/*/labels/*"))
    flip(case)
    site = replace(was, home=tmp_path / "restored")
    code, document = site.organloop("restore", backup)
    assert (code, document["code"]) == (3, "damaged-backup")
    assert not site.home.exists()


def model_grid(ct: Path, contract: ModelContract) -> np.ndarray:
    """Return a study on the model grid, Hounsfield units, axes (k, j, i)."""
    volume = load(read_series(ct)[0]).volume
    return to_model_grid(volume, contract.spacing_mm, contract.antialias).hu.astype(np.int16)
