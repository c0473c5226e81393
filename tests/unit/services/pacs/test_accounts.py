"""The accounts of the local archive: made once, for their owner alone, and never in a message."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.errors import StorageFailed
from services.pacs.accounts import FILE, Accounts


def test_they_are_made_once_however_many_ask_at_a_time(tmp_path: Path) -> None:
    assert Accounts.of(tmp_path) is None
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: Accounts.made(tmp_path), range(16)))
    assert made == {Accounts.of(tmp_path)}
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_another_home_has_others(tmp_path: Path) -> None:
    one, other = (Accounts.made(tmp_path / name) for name in ("one", "other"))
    assert one.worker.user == other.worker.user
    said = {one.worker.password, one.reader.password, one.sender}
    assert not said & {other.worker.password, other.reader.password, other.sender}
    assert len(said) == 3


def test_they_are_in_no_message(tmp_path: Path) -> None:
    accounts = Accounts.made(tmp_path)
    secrets = (accounts.worker.password, accounts.reader.password, accounts.sender)
    text = (tmp_path / FILE).read_text()
    (tmp_path / FILE).write_text(text[:-1])
    with pytest.raises(StorageFailed, match="delete it, then `organloop up`") as damaged:
        Accounts.of(tmp_path)
    (tmp_path / FILE).write_text(text.replace('"reader"', '"leader"'))
    with pytest.raises(StorageFailed) as strange:
        Accounts.of(tmp_path)
    for secret in secrets:
        assert secret not in f"{accounts!r} {damaged.value} {strange.value}"
