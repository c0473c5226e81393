from __future__ import annotations

import pytest

from models.errors import Refused, StorageFailed
from models.people import Person, Role
from services.people import local_account
from services.people.local_account import LocalAccount


@pytest.fixture
def account(tmp_path, monkeypatch) -> LocalAccount:
    monkeypatch.setitem(local_account.COST, "n", 16)
    return LocalAccount(tmp_path / "people" / "account.json")


def test_its_first_password_is_told_once_and_holds_until_another_is_chosen(account, tmp_path) -> None:
    assert account.unused
    first = account.make()
    assert len(first) >= 12
    assert account.make() is None
    assert account.knows(first)
    assert not account.knows(first[:-1])
    assert account.unused
    file = tmp_path / "people" / "account.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert first not in file.read_text()
    owner = account.choose("  Dr.  Weber ", "a long enough one")
    assert owner == account.owner == Person("owner", "local", "Dr. Weber", frozenset(Role))
    assert not account.unused
    assert account.knows("a long enough one")
    assert not account.knows(first)
    assert "long enough" not in file.read_text()


@pytest.mark.parametrize(
    ("name", "password", "code"),
    [
        (" ", "a long enough one", "no-name"),
        ("Dr. Weber", "eleven char", "weak-password"),
        ("Dr. Konstantin Weber", " dr. konstantin WEBER", "weak-password"),
    ],
)
def test_a_name_and_a_password_are_asked_for(account, name, password, code) -> None:
    first = account.make()
    with pytest.raises(Refused) as refused:
        account.choose(name, password)
    assert refused.value.code == code
    assert account.knows(first)


def test_reset_makes_another_first_password(account) -> None:
    account.make()
    account.choose("Dr. Weber", "a long enough one")
    first = account.reset()
    assert account.knows(first)
    assert account.unused
    assert not account.knows("a long enough one")


def test_a_damaged_account_lets_nobody_in(account, tmp_path) -> None:
    account.make()
    (tmp_path / "people" / "account.json").write_text("{}")
    with pytest.raises(StorageFailed, match="damaged"):
        account.knows("anything")


def test_a_try_costs_what_the_standard_calls_interactive() -> None:
    assert local_account.COST["n"] * local_account.COST["r"] * 128 == 2**25, "32 MB"
