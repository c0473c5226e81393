"""Sends what came to the gateway by DICOMweb on to the PACS: our results, and what readers saved.

Nothing is lost and nothing is in the way of anything else: the feed's cursor and what waits to be sent are on
disk, what the PACS does not take is tried again, more and more seldom, while the rest goes on. What came by
DIMSE is the PACS's own.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

from deploy import logs
from deploy.containers.forwarder_alive import ALIVE
from deploy.doctor.probe import TEST_PATIENT
from models.errors import OrganloopError, PacsFailed
from services.files import replace
from services.pacs.http import Http
from services.pacs.orthanc import OrthancArchive
from services.settings import Settings
from services.wiring import archive_of

STRETCH = 500
"""Changes read at once."""
PAUSE_SECONDS = 10.0
"""Between two looks at the feed."""
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 30.0, 3600.0
"""Before an object is tried again; doubled each time."""
IDLE_SECONDS = 60.0
"""Between two signs of life of one that is to send nowhere."""

_log = logging.getLogger("deploy.containers.forwarder")

BY_DIMSE = "DicomProtocol"
"""Orthanc's word for how an object came."""


@dataclass
class Queue:
    """How far the feed was read, and what waits to be sent.

    Parameters
    ----------
    cursor
        The last change that was read.
    waiting
        By Orthanc's identifier of the instance: how often it was tried, and when next, seconds of the epoch.
    """

    cursor: int = 0
    waiting: dict[str, tuple[int, float]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Queue:
        """Return the queue of a file; an empty one where there is none."""
        if not path.exists():
            return cls()
        content = json.loads(path.read_bytes())
        waiting = {one: (int(tried), float(due)) for one, (tried, due) in content["waiting"].items()}
        return cls(int(content["cursor"]), waiting)

    def write(self, path: Path) -> None:
        """Keep it; a process that is killed leaves the old or the new one."""
        replace(path, json.dumps({"cursor": self.cursor, "waiting": self.waiting}).encode())


class Forwarder:
    """Sends on from one Orthanc to one modality it knows.

    Parameters
    ----------
    orthanc
        The connection to its REST.
    modality
        Its name for the PACS.
    path
        File of the queue.
    """

    def __init__(self, orthanc: Http, modality: str, path: Path) -> None:
        self._orthanc = orthanc
        self._modality = modality
        self._path = path
        self.queue = Queue.read(path)

    def round(self, now: float) -> int:
        """Read the feed to its end and send what is due; return how many objects were sent.

        Raises
        ------
        PacsFailed
            If the gateway did not answer; what was read or sent until then is kept.
        """
        while self._read():
            pass
        sent = 0
        for instance, (tried, due) in sorted(self.queue.waiting.items(), key=lambda one: one[1][1]):
            if due <= now:
                sent += self._send(instance, tried, now)
                ALIVE.touch()
        return sent

    def _read(self) -> bool:
        """Read a stretch of the feed; return whether there is more."""
        path = f"/changes?since={self.queue.cursor}&limit={STRETCH}"
        answer: dict[str, Any] = self._orthanc.need(path, dict)
        last = int(answer["Last"])
        if last < self.queue.cursor:
            _say("the gateway's feed begins again: its database is another one")
            self.queue = Queue(0, {})
            return True
        ALIVE.touch()
        for change in answer["Changes"]:
            if change["ChangeType"] == "NewInstance" and self._came_by_web(change["ID"]):
                self.queue.waiting.setdefault(change["ID"], (0, 0.0))
        self.queue.cursor = last
        self.queue.write(self._path)
        return not answer["Done"]

    def _came_by_web(self, instance: str) -> bool:
        origin = self._orthanc.json(
            f"/instances/{instance}/metadata?expand", lambda all_of_it: all_of_it["Origin"]
        )
        return origin is not None and origin != BY_DIMSE

    def _is_a_test(self, instance: str) -> bool:
        patient = self._orthanc.json(
            f"/instances/{instance}/patient", lambda answer: answer["MainDicomTags"].get("PatientID")
        )
        return patient == TEST_PATIENT

    def _send(self, instance: str, tried: int, now: float) -> bool:
        uid = self._orthanc.json(
            f"/instances/{instance}", lambda answer: str(answer["MainDicomTags"]["SOPInstanceUID"])
        )
        sent = False
        if uid is None:
            _say(f"instance {instance} is gone; it is not sent")
            del self.queue.waiting[instance]
        elif self._is_a_test(instance):
            _say(f"{uid} is a test object of `organloop doctor`; it is not sent")
            del self.queue.waiting[instance]
        else:
            try:
                self._orthanc.need(
                    f"/modalities/{quote(self._modality)}/store",
                    dict,
                    body={"Resources": [instance], "Synchronous": True},
                )
                del self.queue.waiting[instance]
                sent = True
                _say(f"{uid} was sent to {self._modality}")
            except PacsFailed as error:
                wait = min(FIRST_WAIT_SECONDS * 2**tried, LONGEST_WAIT_SECONDS)
                self.queue.waiting[instance] = (tried + 1, now + wait)
                times = f"tried {tried + 1} times, again in {wait:.0f} s"
                _say(f"{self._modality} did not take {uid}: {times}. {error}")
        self.queue.write(self._path)
        return sent


def _say(text: str) -> None:
    _log.info(text)


def _idle() -> NoReturn:
    """Live, and do nothing."""
    while True:
        ALIVE.touch()
        time.sleep(IDLE_SECONDS)


def main() -> int:
    """Send on until told to end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--to", required=True, help="Orthanc's name of the PACS; empty: results stay")
    parser.add_argument("--cursor", required=True, type=Path, help="file that holds how far it has come")
    asked = parser.parse_args()
    settings = Settings()
    logs.set_up(settings.log_format)
    _log.setLevel(logging.INFO)
    # The first process of a container is not ended by a signal that it does not take.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if not asked.to:
        _say("results stay in the archive: nobody is named that they are sent on to (ORGANLOOP_FORWARD_TO)")
        _idle()
    gateway = archive_of(settings)
    if not isinstance(gateway, OrthancArchive):
        parser.error("ORGANLOOP_ORTHANC_URL is not set: what is to be sent on, lies in an Orthanc")
    forwarder = Forwarder(gateway.rest, asked.to, asked.cursor)
    while True:
        ALIVE.touch()
        try:
            forwarder.round(time.time())
        except OrganloopError as error:
            _say(str(error))
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
