"""Where libraries call out first: ``python -m tests.support.what_calls_out FOLDER``, run in a sealed network.

All modules are imported at a terminal; then a Prefect server starts, is asked for its pages, and a flow
reports to it. Every verb and server follows in a proof (`tests.support.every_verb`).
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import urllib.request
from pathlib import Path

from deploy.stack.local_server import basic
from deploy.stack.prefect import Access, PrefectServer
from services.pacs.accounts import Account
from tests.support.waiting import GUARD_SECONDS


def import_everything() -> None:
    """Import every module of the project."""
    for room in ("models", "services", "flows", "deploy"):
        package = importlib.import_module(room)
        for module in pkgutil.walk_packages(package.__path__, f"{room}."):
            if ".migrations." not in module.name:  # Alembic loads those
                importlib.import_module(module.name)


def ask_prefect(access: Access) -> None:
    """Ask a Prefect server for what browsers do."""
    address, account = access.url.removesuffix("/api"), Account(*access.auth.split(":", 1))
    for page in ("/", "/ui-settings", "/api/admin/version"):
        get(address + page, signed_in=account)
    # As its page of work pools does.
    get(f"{access.url}/collections/views/aggregate-worker-metadata", signed_in=account)


def get(url: str, body: bytes | None = None, signed_in: Account | None = None) -> bytes:
    """Return what a server answers, to an account that it asks for."""
    request = urllib.request.Request(url, body, basic(signed_in) if signed_in else {})
    with urllib.request.urlopen(request, timeout=GUARD_SECONDS) as answer:
        return bytes(answer.read())


def main() -> None:
    """Import everything, and let Prefect work."""
    import_everything()
    from prefect import flow  # after ours: it asks at its import whether it may tell

    @flow
    def nothing() -> str:
        return "done"

    server = PrefectServer(Path(sys.argv[1]) / "prefect", 0)
    access = server.start()
    with access.used():
        assert nothing() == "done"
    ask_prefect(access)
    server.stop()


if __name__ == "__main__":
    main()
