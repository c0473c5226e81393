"""Behind a proxy that signs people in: its headers say who asks, from named addresses only."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from fastapi import Request

from models.errors import Refused
from models.people import Person, roles_of
from services.settings import Settings

ISSUER = "proxy"
USER, NAME, GROUPS = "remote-user", "remote-name", "remote-groups"


class BehindProxy:
    """Every request is the proxy's; there is no session of ours.

    Parameters
    ----------
    settings
        With the proxies' addresses or networks, and the groups that give each role.
    """

    def __init__(self, settings: Settings) -> None:
        named = (settings.trusted_proxies or "").split(",")
        self._proxies = tuple(ip_network(one.strip()) for one in named)
        self._groups = settings.groups

    def person(self, request: Request) -> Person | None:
        """Return whom the proxy names; None if it names nobody.

        Raises
        ------
        Refused
            `not-the-proxy` where another machine asks: what it says of itself is worth nothing.
            `two-names` if a header came twice: one may be what a browser sent through.
        """
        asking = "nowhere" if request.client is None else request.client.host
        if request.client is None or not any(ip_address(asking) in one for one in self._proxies):
            detail = f"{asking} is no proxy of this site: open the pages by their own address"
            raise Refused("not-the-proxy", detail, {"address": asking})
        twice = [name for name in (USER, NAME, GROUPS) if len(request.headers.getlist(name)) > 1]
        if twice:
            raise Refused("two-names", f"{', '.join(twice)} came twice: the proxy must replace it")
        subject = request.headers.get(USER, "").strip()
        if not subject:
            return None
        groups = {one.strip() for one in request.headers.get(GROUPS, "").split(",")}
        shown = request.headers.get(NAME, "").strip() or subject
        return Person(subject, ISSUER, shown, roles_of(groups, self._groups))
