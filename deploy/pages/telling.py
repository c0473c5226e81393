"""People are told without looking: a thread of the pages, which have the way out and outlive a worker."""

from __future__ import annotations

import logging
import os
import socket
import threading
from datetime import UTC, datetime
from uuid import uuid4

from deploy.pages.site import Site
from flows.telling.tell import EVERY_SECONDS, Teller
from models.errors import OrganloopError

_log = logging.getLogger(__name__)


def begin_telling(site: Site, address: str) -> threading.Thread | None:
    """Begin to tell people; None where the settings name no address.

    Raises
    ------
    NotTold
        If an address is none.
    """
    if site.settings.tell is None:
        return None
    from services.people.messages import AppriseMessenger  # a second of imports that most sites need not

    holder = f"{socket.gethostname()}/{os.getpid()}/{uuid4()}"
    teller = Teller(AppriseMessenger(site.settings.tell), address, holder, lambda: datetime.now(UTC))
    thread = threading.Thread(target=_tell, args=(teller, site), name="telling", daemon=True)
    thread.start()
    return thread


def _tell(teller: Teller, site: Site) -> None:
    pause = threading.Event()
    while not pause.wait(EVERY_SECONDS):
        try:
            teller.look(site.records)
        except OrganloopError as error:
            _log.warning("people could not be told: %s", error)
        except Exception:
            _log.exception("people could not be told")
