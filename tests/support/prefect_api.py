"""Asking a Prefect server of the tests, as one who has its password."""

from __future__ import annotations

from typing import Any

from prefect.client.orchestration import get_client

from deploy.stack.prefect import Access


def ask(access: Access, path: str, **question: Any) -> Any:
    """Return what the server answers; one whose database is busy is asked again by Prefect's client."""
    with access.used(), get_client(sync_client=True) as client:
        return client.request("POST", f"/{path}", json=question).json()
