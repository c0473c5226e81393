"""Where a site's servers are: what the settings name, else what the local stack has noted."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field

from services.settings import Settings

PREFECT_USER = "organloop"
"""Of the local Prefect server."""


def viewer_address(settings: Settings) -> str | None:
    """Return where people open the viewer; None where none is known."""
    address = settings.viewer_address or stack_address(settings, "viewer_url")
    return address.rstrip("/") if address else None


def dashboard_address(settings: Settings) -> str | None:
    """Return where operators open Prefect's dashboard; None where none is known."""
    address = settings.dashboard_address or stack_address(settings, "dashboard_url")
    return address.rstrip("/") if address else None


@dataclass(frozen=True)
class PrefectAddress:
    """Where Prefect is asked, and with what.

    Parameters
    ----------
    url
        Of its API.
    auth
        ``user:password``; empty for one that asks for none.
    """

    url: str
    auth: str = field(repr=False)


def prefect_address(settings: Settings) -> PrefectAddress | None:
    """Return Prefect of the local stack, else of the environment, as Prefect reads it; None without."""
    local, password = stack_address(settings, "prefect_url"), settings.prefect_home / "password"
    if local is not None:
        return PrefectAddress(local, f"{PREFECT_USER}:{password.read_text() if password.is_file() else ''}")
    url = os.environ.get("PREFECT_API_URL")
    return PrefectAddress(url, os.environ.get("PREFECT_API_AUTH_STRING", "")) if url else None


def stack_address(settings: Settings, name: str) -> str | None:
    """Return an address of the local stack; None if it does not run, or without that part."""
    try:
        address = json.loads(settings.stack_file.read_bytes()).get(name)
    except FileNotFoundError:
        return None
    return None if address is None else str(address)
