"""A site in another time zone."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def site_in(zone: str) -> Iterator[None]:
    """Have this process, and those it starts, keep the time of a zone, e.g. ``Asia/Tokyo``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "TZ", zone)
        time.tzset()
        yield
    time.tzset()
