"""Backup and restore on both databases: everything lost, everything back, the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from deploy.doctor.finding import State
from deploy.doctor.records import records
from models.errors import Refused, StorageFailed
from services.backup import backup, copying
from services.backup.backup import backups, restore, take
from services.backup.manifest import NAME, digest_of
from services.inference.engine import InProcessSegmenter
from services.records.database import connect
from services.records.entries.cases import Case, Purpose
from services.records.entries.releases import ReleaseState
from services.records.store import open_records
from services.releases.store import ReleaseStore
from services.settings import Settings
from services.wiring import triton_repository
from tests.support.killed import Killed
from tests.support.log import lines
from tests.support.tiny_networks import noisy_body, publish_tiny

HEADS = {"liver": 1, "spleen": 2}


def silent(_: str) -> None:
    """Tell nobody."""


def site(home: Path, url: str) -> Settings:
    """A home with one release that serves, a case, a score and the site's key."""
    settings = Settings(home=home, database_url=url)
    release = publish_tiny(ReleaseStore(settings.release_store), 1, HEADS)
    with closing(open_records(settings.records_url)) as opened:
        opened.record_release(1, release.digest, ReleaseState.PROMOTED)
        opened.set_incumbent(1, approver="test", reason="the first")
    for name, content in (
        ("cases/site.key", b"secret"),
        ("cases/c1/volume.nii.gz", b"v"),
        ("scores/s", b"1"),
    ):
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (home / "cases/site.key").chmod(0o600)
    return settings


def lose(settings: Settings, url: str) -> None:
    """Lose the home and the database."""
    shutil.rmtree(settings.home)
    if make_url(url).get_backend_name() == "postgresql":
        engine = connect(url)
        with engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        engine.dispose()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def events(url: str) -> list[Any]:
    with closing(open_records(url)) as opened:
        return list(lines(opened))


def kept(settings: Settings) -> dict[str, bytes]:
    return {
        name: content
        for name, content in contents(settings.home).items()
        if name.split("/")[0] in ("releases", "cases", "scores")
    }


def test_everything_lost_comes_back_byte_for_byte_and_event_by_event(tmp_path: Path, url: str) -> None:
    settings = site(tmp_path / "home", url)
    answered = answer_bits(settings)
    before = kept(settings)  # with the proven exports
    happened = events(url)
    taken = take(settings, tmp_path / "backups", silent)
    assert (taken.manifest.incumbent, len(taken.manifest.files)) == (1, len(before) + 1)
    recorded = events(url)[-1]
    assert (recorded.what, recorded.payload["taken_at"]) == ("backup-taken", taken.manifest.taken_at)

    lose(settings, url)
    assert restore(settings, taken.path, silent).incumbent == 1
    with closing(open_records(url)) as opened:
        assert opened.incumbent() == 1
    assert events(url) == happened
    assert kept(settings) == before
    assert (settings.home / "cases/site.key").stat().st_mode & 0o777 == 0o600
    assert answer_bits(settings) == answered


def answer_bits(settings: Settings) -> tuple[bytes, ...]:
    """Prepare the home as a start does, and return what the incumbent then answers."""
    variables = {"ORGANLOOP_HOME": str(settings.home), "ORGANLOOP_DATABASE_URL": settings.records_url}
    command = [str(Path(sys.executable).with_name("organloop")), "prepare", "--json"]
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, check=True)
    number = json.loads(done.stdout)["incumbent"]
    segmenter = InProcessSegmenter(triton_repository(settings).versions_folder, settings.threads)
    answer = segmenter.segment(noisy_body(), number)
    return answer.release_digest.encode(), answer.probability.tobytes(), answer.disagreement.tobytes()


def test_a_home_or_a_database_that_holds_anything_is_left_as_it_is(tmp_path: Path, url: str) -> None:
    settings = site(tmp_path / "home", url)
    assert {one.name: one.state for one in records(url)}["backup"] is State.WARNING
    taken = take(settings, tmp_path / "backups", silent)
    assert {one.name: one.state for one in records(url)}["backup"] is State.GOOD
    other = Settings(home=tmp_path / "other", database_url=url)
    for occupied in (settings, other):
        before = contents(settings.home)
        with pytest.raises(Refused, match="not-empty"):
            restore(occupied, taken.path, silent)
        assert contents(settings.home) == before
    assert not other.home.exists() or not any(other.home.iterdir())


def test_a_second_night_takes_room_for_what_is_new_only_and_the_oldest_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = site(tmp_path / "home", f"sqlite:///{tmp_path / 'home' / 'records.sqlite'}")
    times = iter(("2026-03-01T030000", "2026-03-02T030000", "2026-03-03T030000"))
    monkeypatch.setattr("services.backup.backup._now", lambda: f"{next(times)}Z")
    out = tmp_path / "backups"
    take(settings, out, silent)
    (settings.home / "cases/c2").mkdir()
    (settings.home / "cases/c2/volume.nii.gz").write_bytes(b"new one")
    second = take(settings, out, silent, keep=2)
    dumped = (second.path / "records.sqlite").stat().st_size
    assert second.copied_bytes == dumped + len(b"new one")
    third = take(settings, out, silent, keep=2)
    assert backups(out) == [second.path, third.path]
    lose(settings, "sqlite://")
    restore(settings, third.path, silent)  # whole by itself, though most of it was linked
    assert (settings.home / "cases/c2/volume.nii.gz").read_bytes() == b"new one"


@pytest.mark.parametrize("harm", ["changed", "missing", "manifest"])
def test_a_damaged_backup_is_refused_before_anything_is_written(tmp_path: Path, harm: str) -> None:
    settings = site(tmp_path / "home", f"sqlite:///{tmp_path / 'home' / 'records.sqlite'}")
    taken = take(settings, tmp_path / "backups", silent)
    lose(settings, "sqlite://")
    victim = taken.path / (NAME if harm == "manifest" else "cases/c1/volume.nii.gz")
    if harm == "missing":
        victim.unlink()
    else:
        victim.write_bytes(b"x")
    with pytest.raises(Refused, match="not-a-backup" if harm == "manifest" else "damaged-backup"):
        restore(settings, taken.path, silent)
    assert not settings.home.exists()


def test_a_backup_of_one_database_is_not_forced_into_another(tmp_path: Path, postgresql: str) -> None:
    settings = site(tmp_path / "home", f"sqlite:///{tmp_path / 'home' / 'records.sqlite'}")
    taken = take(settings, tmp_path / "backups", silent)
    other = Settings(home=tmp_path / "other", database_url=postgresql % "template1")
    with pytest.raises(Refused, match="other-database"):
        restore(other, taken.path, silent)


@pytest.mark.parametrize("gone", ["releases", "cases"])
def test_a_backup_without_what_the_records_name_fails_and_is_on_record(tmp_path: Path, gone: str) -> None:
    url = f"sqlite:///{tmp_path / 'home' / 'records.sqlite'}"
    settings = site(tmp_path / "home", url)
    with closing(open_records(url)) as opened:
        opened.add_case(Case("c1", Purpose.TUNING, "p", "independent", "0" * 64))
    assert "cases/c1/volume.nii.gz" in take(settings, tmp_path / "good", silent).manifest.files
    shutil.rmtree(settings.home / gone)
    with pytest.raises(StorageFailed, match="hold no file"):
        take(settings, tmp_path / "backups", silent)
    assert backups(tmp_path / "backups") == []
    assert "hold no file" in [one.payload["why"] for one in events(url) if one.what == "backup-failed"][-1]


def test_a_folder_that_may_not_be_listed_fails_the_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = site(tmp_path / "home", f"sqlite:///{tmp_path / 'home' / 'records.sqlite'}")
    listed = os.scandir

    def forbidden(folder: str) -> Any:
        if Path(folder).name == "c1":
            raise PermissionError(13, "Permission denied", str(folder))  # root may list everything
        return listed(folder)

    monkeypatch.setattr("os.scandir", forbidden)
    with pytest.raises(StorageFailed, match="denied"):
        take(settings, tmp_path / "backups", silent)
    monkeypatch.undo()
    assert backups(tmp_path / "backups") == []


def test_a_backup_of_the_future_is_not_joined_by_an_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = site(tmp_path / "home", f"sqlite:///{tmp_path / 'home' / 'records.sqlite'}")
    times = iter(("2036-03-01T03:00:00Z", "2026-03-02T03:00:00Z"))
    monkeypatch.setattr("services.backup.backup._now", lambda: next(times))
    first = take(settings, tmp_path / "backups", silent, keep=1)
    with pytest.raises(StorageFailed, match="clock"):
        take(settings, tmp_path / "backups", silent, keep=1)
    assert backups(tmp_path / "backups") == [first.path]


def test_a_backup_inside_the_home_is_none(tmp_path: Path) -> None:
    settings = site(tmp_path / "home", f"sqlite:///{tmp_path / 'home' / 'records.sqlite'}")
    with pytest.raises(StorageFailed, match="in the home itself"):
        take(settings, tmp_path / "home" / "backups", silent)


@pytest.mark.parametrize("rounds_times", [False, True])
def test_a_backup_that_was_cut_short_is_no_backup_and_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rounds_times: bool
) -> None:
    settings = site(tmp_path / "home", f"sqlite:///{tmp_path / 'home' / 'records.sqlite'}")
    out, copy = tmp_path / "backups", copying.copy
    copied: list[Path] = []

    def until_killed(source: Path, target: Path) -> str:
        if source.name == "s":
            raise Killed
        copied.append(source)
        digest = copy(source, target)
        if rounds_times:
            os.utime(target, (1_700_000_000, 1_700_000_000))
        return digest

    with monkeypatch.context() as patched:
        patched.setattr(copying, "copy", until_killed)
        with pytest.raises(Killed):
            take(settings, out, silent)
        assert backups(out) == []
        assert len(copied) > 4
        with pytest.raises(Killed):  # a second night that has no more time
            take(settings, out, silent)
    (settings.home / "cases/c1/volume.nii.gz").unlink()  # a patient was taken out
    with monkeypatch.context() as patched:
        patched.setattr(copying, "copy", lambda source, target: copied.append(source) or copy(source, target))
        taken = take(settings, out, silent)
    assert sorted(copied) == sorted(set(copied)), "nothing is copied twice"
    assert taken.copied_bytes == sum((taken.path / name).stat().st_size for name in taken.manifest.files)
    assert {path.name for path in out.iterdir()} == {".lock", taken.path.name}
    taken.manifest.verify(taken.path)
    assert kept(settings).keys() == taken.manifest.files.keys() - {"records.sqlite"}


@pytest.mark.parametrize("drawn", [False, True])
def test_what_looks_unchanged_is_linked_and_what_is_drawn_is_compared_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn: bool
) -> None:
    settings = site(tmp_path / "home", f"sqlite:///{tmp_path / 'home' / 'records.sqlite'}")
    monkeypatch.setattr(copying, "COMPARED", 1 if drawn else 1 << 33)
    times = iter(("2026-03-01T030000", "2026-03-02T030000"))
    monkeypatch.setattr(backup, "_now", lambda: f"{next(times)}Z")
    first = take(settings, tmp_path / "backups", silent)
    rotten = first.path / "cases/c1/volume.nii.gz"
    was = rotten.stat()
    rotten.write_bytes(b"?")
    os.utime(rotten, ns=(was.st_atime_ns, was.st_mtime_ns))
    read: list[Path] = []
    monkeypatch.setattr(copying, "digest_of", lambda path: read.append(path) or digest_of(path))
    told: list[str] = []
    second = take(settings, tmp_path / "backups", told.append)
    assert [one for one in told if "is damaged" in one] == (
        [f"{rotten} is damaged, it is copied anew"] if drawn else []
    )
    assert bool(read) == drawn
    if drawn:
        second.manifest.verify(second.path)


def test_what_has_other_times_and_the_same_content_takes_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on storage that keeps times less finely."""
    settings = site(tmp_path / "home", f"sqlite:///{tmp_path / 'home' / 'records.sqlite'}")
    times = iter(("2026-03-01T030000", "2026-03-02T030000"))
    monkeypatch.setattr(backup, "_now", lambda: f"{next(times)}Z")
    take(settings, tmp_path / "backups", silent)
    for path in settings.home.rglob("*/*"):
        os.utime(path)
    second = take(settings, tmp_path / "backups", silent)
    assert second.copied_bytes == (second.path / "records.sqlite").stat().st_size


def test_a_backup_that_fails_is_on_record_where_there_are_records(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'home' / 'records.sqlite'}"
    settings = site(tmp_path / "home", url)
    (tmp_path / "taken").write_bytes(b"a file where the folder should be")
    with pytest.raises(StorageFailed):
        take(settings, tmp_path / "taken" / "backups", silent)
    assert [one.payload["why"] for one in events(url) if one.what == "backup-failed"]
    empty = Settings(home=tmp_path / "empty")
    with pytest.raises(StorageFailed, match="nothing to back up"):
        take(empty, tmp_path / "backups", silent)
    assert not empty.records_file.exists()


def test_two_at_a_time_are_refused_and_the_first_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = site(tmp_path / "home", f"sqlite:///{tmp_path / 'home' / 'records.sqlite'}")
    refused: list[StorageFailed] = []

    def another(step: str) -> None:
        if step == "copying cases":
            with pytest.raises(StorageFailed, match="another backup is being written") as failure:
                take(settings, tmp_path / "backups", silent)
            refused.append(failure.value)

    taken = take(settings, tmp_path / "backups", another)
    assert len(refused) == 1
    taken.manifest.verify(taken.path)
    monkeypatch.setattr("services.backup.backup._now", lambda: "2126-03-02T030000Z")
    take(settings, tmp_path / "backups", silent)  # the lock is not left behind


def test_what_goes_or_changes_while_it_is_copied_spoils_no_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = site(tmp_path / "home", f"sqlite:///{tmp_path / 'home' / 'records.sqlite'}")
    gone, changed = settings.home / "cases/c1/volume.nii.gz", settings.home / "scores/s"
    copy = copying.copy

    def copy_then_change(source: Path, target: Path) -> str:
        if source == gone:
            source.unlink()
        digest = copy(source, target)
        if source == changed and source.read_bytes() == b"1":
            source.write_bytes(b"22")
        return digest

    monkeypatch.setattr(copying, "copy", copy_then_change)
    taken = take(settings, tmp_path / "backups", silent)
    taken.manifest.verify(taken.path)
    assert "cases/c1/volume.nii.gz" not in taken.manifest.files
    assert (taken.path / "scores/s").read_bytes() == b"22"


@pytest.mark.parametrize("name", ["../out", "cases/../../out", "/tmp/out"])
def test_a_backup_that_names_files_outside_itself_is_refused(tmp_path: Path, name: str) -> None:
    settings = site(tmp_path / "home", f"sqlite:///{tmp_path / 'home' / 'records.sqlite'}")
    taken = take(settings, tmp_path / "backups", silent)
    lose(settings, "sqlite://")
    manifest = json.loads((taken.path / NAME).read_bytes())
    manifest["files"][name] = manifest["files"]["scores/s"]
    (taken.path / NAME).write_text(json.dumps(manifest))
    with pytest.raises(Refused, match="outside"):
        restore(settings, taken.path, silent)
    assert not settings.home.exists()
