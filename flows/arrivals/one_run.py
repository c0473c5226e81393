"""One run at a time speaks for a study: one that was believed dead, and followed, puts nothing on record."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from flows.launching import RUN_SECONDS
from models.errors import OrganloopError, StorageFailed
from services.records.port import Records


@contextmanager
def one_run(what: str, records: Records) -> Iterator[Records]:
    """Give the records to the run that was started last, until the next one is.

    A run whose worker said nothing for long is started again elsewhere, and may live all the same. The lease
    goes over at once, so nobody waits for a dead one; what the one before says then is not taken.

    Parameters
    ----------
    what
        What is worked on, e.g. ``segment:<study UID>``.
    records
        In which the lease is.

    Raises
    ------
    LeaseLost
        Where the run reads or writes the records, or fails, after another was started.
    StorageFailed
        If the records cannot be reached.
    """
    holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex}"
    lease = records.take_over(what, holder, RUN_SECONDS)
    try:
        yield records.fenced(lease)
    except OrganloopError:
        with suppress(StorageFailed):
            records.renew(lease, RUN_SECONDS)  # how a run ends that was followed is no news of the study
        raise
    records.release(lease)
