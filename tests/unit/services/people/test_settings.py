"""What a site says about people: wrong words stop every process at its start."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from models.people import Role
from services.settings import Settings

PROVIDER = {"oidc_issuer": "https://id.hospital", "oidc_client": "organloop"}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"pages_address": "http://organloop.hospital"}, "not one of https"),
        ({"oidc_issuer": "http://id.hospital", "oidc_client": "organloop"}, "not one of https"),
        ({"oidc_issuer": "https://id.hospital"}, "ORGANLOOP_OIDC_CLIENT"),
        (PROVIDER | {"trusted_proxies": "10.1.2.3"}, "unset one of them"),
        ({"trusted_proxies": "10.1.2.0/24"}, "no address of one machine"),
        ({"trusted_proxies": "10.1.2.3,"}, "no address of one machine"),
        ({"session_key": "k" * 31}, "shorter than 32"),
    ],
)
def test_what_would_let_nobody_in_or_anybody_is_refused_at_the_start(said, why) -> None:
    with pytest.raises(ValidationError, match=why):
        Settings(**said)


def test_an_empty_variable_is_none_and_this_machine_needs_no_encryption() -> None:
    settings = Settings(pages_address="http://127.0.0.1:8500", oidc_issuer="", trusted_proxies="")
    assert (settings.oidc_issuer, settings.trusted_proxies) == (None, None)
    assert settings.groups == dict.fromkeys(Role, ())


def test_groups_are_named_with_commas_between() -> None:
    settings = Settings(**PROVIDER, approver_groups=" ai-board, heads ,")
    assert settings.groups[Role.APPROVER] == ("ai-board", "heads")
