"""Witnesses of the log, a file and a real receiver of syslog over TLS: a log written anew is found."""

from __future__ import annotations

import os
import re
import resource
import shutil
import socket
import ssl
import stat
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from deploy.doctor.finding import State
from deploy.doctor.witnesses import LATE_SECONDS, judged
from flows.audit.witnessing import tell_witnesses
from models.errors import WitnessFailed
from services.records.chain import FIRST, link
from services.records.store import SqlRecords, open_records
from services.settings import Settings
from services.wiring import witnesses_of
from services.witnesses.file import FileWitness
from services.witnesses.port import Head, heads_in
from services.witnesses.syslog import LOG_AUDIT_NOTICE
from tests.integration.test_case_verbs import organloop
from tests.support.waiting import GUARD_SECONDS

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Receiver:
    """What a receiver of syslog over TLS has got: messages, without their frames."""

    port: int
    ca: Path
    messages: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for 127.0.0.1 in one file."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=witness"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "certificate.pem"]
    subprocess.run(made, cwd=folder, check=True, capture_output=True)
    return folder


@contextmanager
def receiver(certificate: Path) -> Iterator[Receiver]:
    """Receive as RFC 5425 says, one connection after the other, until the socket is closed."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "certificate.pem", certificate / "key.pem")

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(connection, server_side=True) as secure:
                    came = b""
                    while piece := secure.recv(4096):
                        came += piece
            except OSError:
                continue  # who does not trust the certificate says nothing
            while came:
                length, _, came = came.partition(b" ")
                got.messages.append(came[: int(length)].decode())
                came = came[int(length) :]

    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        got = Receiver(listening.getsockname()[1], certificate / "certificate.pem")
        serving = pool.submit(serve)
        try:
            yield got
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            serving.result(GUARD_SECONDS)


@pytest.fixture
def records(tmp_path: Path) -> Iterator[SqlRecords]:
    opened = open_records(Settings(home=tmp_path / "home").records_url, clock=lambda: NOON)
    for number in (1, 2, 3):
        opened.set_incumbent(number, approver="Dr B", reason="better")
    yield opened
    opened.close()


def written_anew(records: SqlRecords) -> None:
    """Write every event under another name, its rows' seals untouched, all links whole: as the owner can."""
    previous = FIRST
    lines = records.lines()
    with records._engine.begin() as connection:
        for trigger in ("events_unchanged", "events_kept"):
            connection.execute(text(f"DROP TRIGGER {trigger}"))
        for line in lines:
            digest = link(line.number, line.at, line.what, "Dr C", line.payload, line.key, previous)
            connection.execute(
                text("UPDATE events SET who = 'Dr C', previous = :p, digest = :d WHERE number = :n"),
                {"p": previous, "d": digest, "n": line.number},
            )
            previous = digest


def found(settings: Settings, *words: object) -> list[str]:
    named = {"ORGANLOOP_WITNESS_FILE": str(settings.witness_file)} if settings.witness_file else {}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in named.items():
            patch.setenv(name, value)
        _, document = organloop(settings, "audit", "verify", *words)
    assert isinstance(document, dict)
    return [f"{one['code']}: {one['what']}" for one in document["faults"] if "release" not in one["what"]]


def test_a_log_written_anew_with_valid_links_is_found_by_the_file(
    records: SqlRecords, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path / "home", witness_file=tmp_path / "elsewhere.log")
    assert tell_witnesses(witnesses_of(settings), records).head == Head(3, records.lines()[2].digest)
    records.set_incumbent(4, approver="Dr B", reason="better")
    tell_witnesses(witnesses_of(settings), records)
    assert found(settings) == []
    written_anew(records)
    without = Settings(home=tmp_path / "home")
    assert found(without) == [], "the chain is whole, and so is every row"
    assert found(settings) == ["line-changed: event 3"]
    tell_witnesses(witnesses_of(settings), records)
    assert found(settings) == ["line-changed: event 3"], "what is told later takes nothing back"


def test_a_log_written_anew_is_found_by_what_a_tls_receiver_kept(
    records: SqlRecords, tmp_path: Path, certificate: Path
) -> None:
    with receiver(certificate) as got:
        settings = Settings(
            home=tmp_path / "home", witness_syslog=f"127.0.0.1:{got.port}", witness_ca_file=got.ca
        )
        [told] = tell_witnesses(witnesses_of(settings), records, NOON).witnesses
        assert told.trouble == ""
    [message] = got.messages
    said = re.fullmatch(r"<(\d+)>1 2026-03-01T12:00:00\.000Z \S+ organloop \d+ log-head - (.*)", message)
    assert said is not None, message
    assert int(said[1]) == LOG_AUDIT_NOTICE == 109
    assert list(heads_in(said[2])) == [Head(3, records.lines()[2].digest)]
    kept = tmp_path / "messages"
    kept.write_text(f"Mar  1 12:00:00 host organloop[1]: something else\n{message}\n")
    assert found(settings, "--witnessed", kept) == []
    written_anew(records)
    assert found(settings, "--witnessed", kept) == ["line-changed: event 3"]


def test_a_receiver_that_nobody_vouches_for_is_told_nothing(
    records: SqlRecords, tmp_path: Path, certificate: Path
) -> None:
    with receiver(certificate) as got:
        settings = Settings(home=tmp_path / "home", witness_syslog=f"127.0.0.1:{got.port}")
        [told] = tell_witnesses(witnesses_of(settings), records).witnesses
    assert "certificate" in told.trouble
    assert got.messages == []
    [note] = records.witness_notes()
    assert (note.told_at, note.trouble) == (None, told.trouble)


def test_a_witness_that_is_away_stops_no_other_and_is_told_of(records: SqlRecords, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    settings = Settings(
        home=tmp_path / "home", witness_file=tmp_path / "w.log", witness_syslog=f"127.0.0.1:{port}"
    )
    troubles = {one.witness: one.trouble for one in tell_witnesses(witnesses_of(settings), records).witnesses}
    assert troubles["file w.log"] == ""
    assert "could not be told" in troubles[f"syslog 127.0.0.1:{port}"]
    missing = Settings(home=tmp_path / "home", witness_file=tmp_path / "no-volume" / "w.log")
    [file] = witnesses_of(missing)
    with pytest.raises(WitnessFailed, match="is its volume there"):
        file.tell(Head(1, "a" * 64), NOON)
    assert found(missing) == ["witness-unreadable: file w.log"]


def test_a_file_is_only_added_to(records: SqlRecords, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", witness_file=tmp_path / "w.log")
    [file] = witnesses_of(settings)
    for number in range(1, 4):
        before = (tmp_path / "w.log").read_bytes() if number > 1 else b""
        file.tell(Head(number, f"{number:064x}"), NOON)
        assert (tmp_path / "w.log").read_bytes().startswith(before)
    assert file.remembered() == tuple(Head(number, f"{number:064x}") for number in (1, 2, 3))


@contextmanager
def room_in_files(octets: int) -> Iterator[None]:
    """Have the kernel cut off what this process writes behind so many bytes of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("missing", [1, 5, 40])
def test_a_line_cut_short_is_not_told_and_spoils_no_other(tmp_path: Path, missing: int) -> None:
    file, heads = FileWitness(tmp_path / "w.log"), [Head(number, f"{number:064x}") for number in (1, 2, 3)]
    file.tell(heads[0], NOON)
    length = file.path.stat().st_size
    with room_in_files(2 * length - missing), pytest.raises(WitnessFailed, match="with room on it"):
        file.tell(heads[1], NOON)
    assert file.path.stat().st_size == 2 * length - missing
    file.tell(heads[2], NOON)
    whole = [heads[1]] if missing == 1 else []  # but for its end
    assert file.remembered() == (heads[0], *whole, heads[2])
    assert len(file.path.read_text().splitlines()) == 3


def test_a_file_of_any_name_is_its_owners_alone_and_is_on_record(records: SqlRecords, tmp_path: Path) -> None:
    kept = tmp_path / "w\udcfc.log"
    settings = Settings(home=tmp_path / "home", witness_file=kept)
    before = os.umask(0)
    try:
        [told] = tell_witnesses(witnesses_of(settings), records, NOON).witnesses
    finally:
        os.umask(before)
    assert (told.witness, told.trouble) == ("file w\ufffd.log", "")
    assert [note.name for note in records.witness_notes()] == ["file w\ufffd.log"]
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert states(settings, records)[f"log, witness ({told.witness})"] is State.GOOD


def states(settings: Settings, records: SqlRecords, now: datetime = NOON) -> dict[str, State]:
    return {one.name: one.state for one in judged(settings, records, now)}


def test_the_doctor_is_red_at_a_clinical_site_without_a_witness_and_when_it_is_late(
    records: SqlRecords, tmp_path: Path
) -> None:
    clinical = Settings(home=tmp_path / "home", approval_required=True)
    trial = Settings(home=tmp_path / "home", approval_required=False)
    assert states(clinical, records) == {"log, witness": State.BAD}
    assert states(trial, records) == {"log, witness": State.SKIPPED}
    set_up = clinical.model_copy(update={"witness_file": tmp_path / "w.log"})
    name = "log, witness (file w.log)"
    assert states(set_up, records)[name] is State.BAD, "it was never told"
    tell_witnesses(witnesses_of(set_up), records)
    assert states(set_up, records) == {name: State.GOOD, "log, witness, volume": State.BAD}
    late = NOON + timedelta(seconds=LATE_SECONDS + 1)
    assert states(set_up, records, late)[name] is State.BAD


def test_the_verb_tells_every_witness_and_says_what_is_missing(records: SqlRecords, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    code, document = organloop(settings, "audit", "witness")
    assert (code, document["code"]) == (1, "witness-failed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORGANLOOP_WITNESS_FILE", str(tmp_path / "w.log"))
        code, document = organloop(settings, "audit", "witness")
    assert (code, document["head"]["number"]) == (0, 3)
    assert document["witnesses"] == [{"witness": "file w.log", "trouble": ""}]
    assert len((tmp_path / "w.log").read_text().splitlines()) == 1
