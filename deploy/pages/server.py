"""The pages' process: ``python -m deploy.pages.server HOST PORT``; the site is that of its settings.

With ``--behind-doors`` who asks is what nginx says (deploy/doors): only where nobody else gets there, as in a
network of two containers. Without it, headers say nothing.
"""

from __future__ import annotations

import argparse

import uvicorn

from deploy.pages.application import application
from deploy.pages.telling import begin_telling
from services.settings import Settings

LAST_SECONDS = 3
"""Told to stop, answers may take so long; a page that follows what happens would never end."""


def main(host: str, port: int, *, behind_doors: bool) -> None:
    """Serve until told to stop."""
    settings = Settings()
    address = settings.pages_address or f"http://{host}:{port}"
    app = application(settings, address.rstrip("/"))
    begin_telling(app.state.site, address.rstrip("/"))
    uvicorn.run(
        app,
        host=host,
        port=port,
        proxy_headers=behind_doors,
        forwarded_allow_ips="*",
        server_header=False,
        access_log=False,
        timeout_graceful_shutdown=LAST_SECONDS,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--behind-doors", action="store_true")
    main(**vars(parser.parse_args()))
