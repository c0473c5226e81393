"""Requests that stream without pause while releases are loaded, promoted and rolled back on a real Triton."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np

from flows.promotion.promote import require_canary
from flows.serving.serve import serve
from models.inference.segmentation import Segmentation
from services.settings import Settings
from services.wiring import Services, connect
from tests.support.promotion import small_canary
from tests.support.serving import Serving, put_on_record
from tests.support.tiny_networks import noisy_body, publish_tiny

HU = noisy_body((20, 22, 24))
LIVER = 0
"""Channel of the organ whose head no release touches."""

WHO = {"approver": "Dr B", "reason": "promotion under load"}


@dataclass
class Tally:
    """What came of the requests: answers by release, and everything that was wrong."""

    answers: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0
    livers: set[bytes] = field(default_factory=set)

    @property
    def requests(self) -> int:
        return sum(self.answers.values()) + len(self.faults)


class Streaming:
    """Clients that ask for the incumbent, whichever it is, until told to stop; each answer is compared."""

    def __init__(self, site: Services, expected: dict[int, Segmentation], clients: int) -> None:
        self._site = site
        self._expected = expected
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.tally = Tally()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def wait_for(self, more: int) -> None:
        """Wait until so many more requests were answered."""
        until = self.tally.requests + more
        while self.tally.requests < until and not self.tally.faults:
            time.sleep(0.01)

    def _ask(self) -> None:
        services = connect(self._site.settings)
        while not self._over.is_set():
            number = services.records.incumbent()
            assert number is not None
            began, fault, answer = time.perf_counter(), None, None
            try:
                answer = services.segmenter.segment(HU, number)
                fault = self._fault(number, answer)
            except Exception as error:
                fault = f"release {number}: {type(error).__name__}: {error}"
            with self._lock:
                self.tally.slowest = max(self.tally.slowest, time.perf_counter() - began)
                if fault is not None or answer is None:
                    self.tally.faults.append(str(fault))
                else:
                    self.tally.answers[number] += 1
                    self.tally.livers.add(answer.probability[LIVER].tobytes())
        services.records.close()

    def _fault(self, number: int, answer: Segmentation) -> str | None:
        expected = self._expected[number]
        if answer.release_digest != expected.release_digest:
            return f"release {number} was asked, {answer.release_digest} answered"
        same = all(
            np.array_equal(getattr(answer, name), getattr(expected, name))
            for name in ("probability", "disagreement", "global_feature")
        )
        return None if same else f"release {number} answered other bits"

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def promoted_under_load(
    serving: Serving, home: Path, numbers: list[int], requests: int, clients: int = 2
) -> Tally:
    """Load, promote and roll back each release in turn while requests stream; release 1 serves first.

    Parameters
    ----------
    serving
        A Triton with release 1.
    home
        Of the site, which is made.
    numbers
        Of the releases; each has a spleen of its own, and the liver of release 1.
    requests
        Requests to make at least.
    clients
        Who ask at once.
    """
    (home / "triton").mkdir(parents=True)
    (home / "triton" / "repository").symlink_to(serving.repository.folder)
    (home / "releases").symlink_to(serving.store.folder)
    site = connect(Settings(home=home, triton_url=serving.triton.url))
    put_on_record(site)
    site.records.set_incumbent(1, **WHO)
    for number in numbers:
        publish_tiny(serving.store, number, {"liver": 1, "spleen": 100 + number}, parent=1)
    expected = {1: serving.in_process.segment(HU, 1)}
    acts = 4 * len(numbers)
    try:
        with Streaming(site, expected, clients) as streaming:
            for number in numbers:
                serve(site.releases.release(number), site)
                expected[number] = serving.in_process.segment(HU, number)
                require_canary(number, 1, site, small_canary)
                for act, (to, back) in enumerate(((number, 1), (1, number), (number, 1), (1, number))):
                    site.records.set_incumbent(
                        to, **WHO, replacing=back, act="rollback" if act % 2 else "promotion"
                    )
                    streaming.wait_for(-(-requests // acts))
    finally:
        for number in numbers:
            serving.repository.remove_version(number)
        serving.triton.load()
        site.records.close()
    return streaming.tally
