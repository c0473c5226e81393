from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import TimestampSigner

from models.errors import Refused, StorageFailed
from models.people import Person, Role, roles_of
from services.people import tokens
from services.people.key import BYTES, signing_key
from services.people.tokens import person_of, token_of
from services.settings import Settings

KEY, OTHER = b"k" * 64, b"o" * 64
NAMES = st.text(st.characters(exclude_categories=("Cs",)), min_size=1).filter(str.strip)
PEOPLE = st.builds(Person, NAMES, NAMES, NAMES, st.frozensets(st.sampled_from(Role)))
WEBER = Person("w-17", "https://id.hospital", "Dr. Weber", frozenset({Role.READER}))


@given(PEOPLE)
def test_a_token_names_whom_it_was_made_for(person: Person) -> None:
    assert person_of(token_of(person, KEY), KEY) == person


@given(PEOPLE, st.data())
def test_a_token_that_was_changed_or_signed_by_another_names_nobody(
    person: Person, data: st.DataObject
) -> None:
    token = token_of(person, KEY)
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from("aZ0.-_").filter(lambda one: one != token[at]))
    changed = token[:at] + other + token[at + 1 :]
    found = None
    with contextlib.suppress(Refused):
        found = person_of(changed, KEY)
    assert found in (None, person), "the last digit of base 64 has bits that say nothing"
    for told, key in ((token, OTHER), ("", KEY), (token[: len(token) // 2], KEY)):
        with pytest.raises(Refused) as refused:
            person_of(told, key)
        assert refused.value.code == "token-unknown"


def test_a_token_is_good_for_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    made, now = 1_800_000_000, [1_800_000_000]
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda _: now[0])
    token = token_of(WEBER, KEY)
    now[0] = made + tokens.SECONDS
    assert person_of(token, KEY) == WEBER
    now[0] += 1
    with pytest.raises(Refused, match="older than 60 minutes") as refused:
        person_of(token, KEY)
    assert refused.value.code == "token-expired"


def test_a_key_is_made_once_and_read_by_its_owner_only(tmp_path) -> None:
    settings = Settings(home=tmp_path)
    key = signing_key(settings.session_key, settings.people_folder)
    assert len(key) == 2 * BYTES
    assert signing_key(settings.session_key, settings.people_folder) == key
    (made,) = settings.people_folder.iterdir()
    assert made.stat().st_mode & 0o777 == 0o600
    made.write_text("short")
    with pytest.raises(StorageFailed, match="is no key"):
        signing_key(settings.session_key, settings.people_folder)
    given = Settings(home=tmp_path / "elsewhere", session_key="s" * 32)
    assert signing_key(given.session_key, given.people_folder) == b"s" * 32
    assert not given.people_folder.exists()


def test_groups_give_roles_and_nothing_else_does() -> None:
    giving = {Role.READER: ("radiology",), Role.APPROVER: ("ai-board", "heads")}
    assert roles_of({"radiology", "heads"}, giving) == {Role.READER, Role.APPROVER}
    assert roles_of({"radiolog", "", "READER", "reader"}, giving) == set()
    assert roles_of((), {}) == set()


@pytest.mark.parametrize("said", [("", "i", "n"), ("s", " ", "n"), ("s", "i", "\t")])
def test_nobody_is_a_person_without_subject_issuer_or_name(said: tuple[str, str, str]) -> None:
    with pytest.raises(ValueError, match="subject, an issuer and a name"):
        Person(*said)
