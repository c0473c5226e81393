"""The pages' process: ``python -m deploy.pages.server HOST PORT``; the site is that of its settings."""

from __future__ import annotations

import sys

import uvicorn

from deploy.pages.application import application
from services.settings import Settings

LAST_SECONDS = 3
"""Told to stop, answers may take so long; a page that follows what happens would never end."""


def main(host: str, port: str) -> None:
    """Serve until told to stop; who asks is taken from the connection, never from a header."""
    settings = Settings()
    address = settings.pages_address or f"http://{host}:{port}"
    app = application(settings, address.rstrip("/"))
    uvicorn.run(
        app,
        host=host,
        port=int(port),
        proxy_headers=False,
        server_header=False,
        access_log=False,
        timeout_graceful_shutdown=LAST_SECONDS,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
