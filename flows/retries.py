"""Which failures are worth another try: what was away may come back, a refusal stays one."""

from __future__ import annotations

from typing import Any

from models.errors import PacsUnavailable, ReadFailed, Refused, ServingTimedOut, ServingUnavailable

STILL_ARRIVING = ("incomplete",)
"""Codes of refusals that may be another matter once everything is there."""


def worth_trying_again(_task: Any, _run: object, state: Any) -> bool:
    """Only a server that is away comes back, and a file is fetched again; a refusal stays a refusal."""
    failure = state.result(raise_on_failure=False)
    return isinstance(failure, ServingUnavailable | ServingTimedOut | PacsUnavailable | ReadFailed)


def worth_reading_again(_task: Any, _run: object, state: Any) -> bool:
    """Only an archive or a file that is away, or a study that was still arriving, is another matter later."""
    failure = state.result(raise_on_failure=False)
    return isinstance(failure, PacsUnavailable | ReadFailed) or (
        isinstance(failure, Refused) and failure.code in STILL_ARRIVING
    )
