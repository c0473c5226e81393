"""What a site says about people: wrong words stop every process at its start."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from models.people import Role
from services.addresses import dashboard_address, viewer_address
from services.settings import Settings

SITE = {"pages_address": "https://organloop.hospital"}
PROVIDER = {"oidc_issuer": "https://id.hospital", "oidc_client": "organloop"}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"pages_address": "http://organloop.hospital"}, "use an address of https"),
        ({"oidc_issuer": "http://id.hospital", "oidc_client": "organloop"}, "use an address of https"),
        ({"oidc_issuer": "https://id.hospital"}, "ORGANLOOP_OIDC_CLIENT"),
        ({"oidc_issuer": "https://id.hospital", "oidc_client": ""}, "ORGANLOOP_OIDC_CLIENT"),
        (PROVIDER | {"trusted_proxies": "10.1.2.3"}, "unset one of them"),
        ({"trusted_proxies": "10.1.2.3/24"}, "no address or network"),
        ({"trusted_proxies": "10.1.2.3,"}, "no address or network"),
        ({"trusted_proxies": "10.1.2.3, 0.0.0.0/0"}, "is everybody"),
        ({"viewer_address": "http://reading.hospital"}, "use an address of https"),
        ({"viewer_address": "https://reading.hospital"}, "begin with http://127.0.0.1"),
        (SITE | {"viewer_address": "https://reading.hospital"}, "begin with https://organloop.hospital"),
        (SITE | {"dashboard_address": "http://127.0.0.1:9443"}, "begin with https://organloop.hospital"),
        (SITE | {"viewer_address": "https://organloop.hospital/ohif"}, "no path"),
        ({"session_key": "k" * 31}, "shorter than 32"),
        ({"session_key": ""}, "shorter than 32"),
    ],
)
def test_what_would_let_nobody_in_or_anybody_is_refused_at_the_start(said, why) -> None:
    with pytest.raises(ValidationError, match=why):
        Settings(**said)


@pytest.mark.parametrize(
    "name",
    [
        "oidc_issuer",
        "oidc_client",
        "oidc_client_secret",
        "trusted_proxies",
        "token",
        "viewer_address",
        "dashboard_address",
    ],
)
def test_an_empty_variable_is_none(name) -> None:
    assert getattr(Settings(**{name: ""}), name) is None


def test_this_machine_needs_no_encryption_and_groups_that_are_not_named_give_no_role() -> None:
    settings = Settings(pages_address="http://127.0.0.1:8500")
    assert settings.groups == dict.fromkeys(Role, ())


def test_groups_are_named_with_commas_between() -> None:
    settings = Settings(**PROVIDER, approver_groups=" ai-board, heads ,")
    assert settings.groups[Role.APPROVER] == ("ai-board", "heads")


def test_doors_are_ports_of_the_pages_host() -> None:
    doors = {
        "viewer_address": "https://organloop.hospital:8443/",
        "dashboard_address": "https://organloop.hospital:9443",
    }
    settings = Settings(**SITE, **doors)
    assert viewer_address(settings) == "https://organloop.hospital:8443"
    assert dashboard_address(settings) == "https://organloop.hospital:9443"
