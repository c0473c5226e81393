"""The metrics as Prometheus reads them, made at each scrape from records and endpoints.

No label holds anything of a patient: organs, flags, statuses, decisions, release numbers and witnesses only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Lock

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from models.errors import ServingFailed
from services.inference.port import Endpoint
from services.metrics.stretches import stretches
from services.metrics.tally import BUCKETS, Histogram, Tally
from services.records.entries.arrivals import ArrivalState
from services.records.port import Records
from services.witnesses.port import Witness

WAITING = (ArrivalState.WAITING, ArrivalState.SUBMITTED)


class RecordsCollector(Collector):
    """Counts what is on record; events counted once are not read again.

    Parameters
    ----------
    records
        What happened.
    endpoints
        Every server the incumbent must be loaded on.
    witnesses
        Everyone who must hear of the log's head.
    """

    def __init__(self, records: Records, endpoints: Iterable[Endpoint], witnesses: Iterable[Witness]) -> None:
        self._records = records
        self._endpoints = tuple(endpoints)
        self._witnesses = tuple(one.name for one in witnesses)
        self._tally = Tally()
        self._counting = Lock()  # scrapes and probes come at the same time

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, with the names Prometheus gives them (``_total`` is added to counters)."""
        with self._counting:
            counted = list(self._counted())
        yield from counted
        yield from self._arrivals()
        yield from self._watch()
        yield from self._witnessed()
        yield from self._serving()

    def _counted(self) -> Iterator[Metric]:
        tally = self._tally
        for lines in stretches(self._records, tally.number):
            tally.add(lines)
        yield _counter("studies", "Studies segmented, by release.", ("release",), tally.studies)
        yield _histogram(tally.seconds)
        yield _counter("organ_flags", "Organs by flag.", ("organ", "flag"), tally.flags)
        yield _counter("corrections", "Corrections taken in, by status.", ("status",), tally.corrections)
        yield _counter("organ_edits", "Organs that readers changed.", ("organ",), tally.edits)
        yield _counter("gate_decisions", "Decisions of the gate.", ("decision",), tally.decisions)
        for name, says, value in (
            ("promotions", "Changes of the incumbent, rollbacks too.", tally.promotions),
            ("bounds_broken", "Alarms of the bound of DSC.", tally.bounds_broken),
            ("results_differ", "Objects not given back as they were sent.", tally.results_differ),
            ("runs_freed", "Runs ended because nobody worked on them.", tally.runs_freed),
            ("unreadable_lines", "Lines of the log that tell nothing of their kind.", tally.unreadable),
        ):
            yield CounterMetricFamily(f"organloop_{name}", says, value=value)
        taken_at = datetime.fromisoformat(tally.last_backup) if tally.last_backup is not None else None
        yield _age("last_backup_seconds", "Age of the newest backup.", taken_at)
        yield _gauge("backups_failed", "Backups that failed since the newest one.", tally.backups_failed)

    def _arrivals(self) -> Iterator[Metric]:
        states = self._records.arrivals_by_state()
        counted = GaugeMetricFamily(
            "organloop_arrivals", "Studies and SEGs that came, by state.", labels=("state",)
        )
        for state in ArrivalState:
            counted.add_metric((str(state),), states.get(state, 0))
        yield counted
        opened = self._records.open_arrivals()
        waiting = [one.came_at for one in opened if one.state in WAITING and one.came_at is not None]
        oldest = (datetime.now(UTC) - min(waiting)).total_seconds() if waiting else 0.0
        yield _gauge(
            "oldest_waiting_seconds", "Age of the oldest arrival that waits or is worked on.", oldest
        )

    def _watch(self) -> Iterator[Metric]:
        watch = self._records.last_watch()
        at = None if watch is None else watch.at
        yield _age("last_watch_seconds", "Seconds since the archive was watched last.", at)
        in_vain = bool(watch and watch.trouble)
        yield _gauge("watch_in_vain", "Whether the last watch came to nothing.", float(in_vain))

    def _witnessed(self) -> Iterator[Metric]:
        """Yield how long each witness of the settings has waited; one never told waits since the log began.

        Of an empty log there is nothing to tell.
        """
        told = {note.name: note.told_at for note in self._records.witness_notes()}
        says = "Seconds since the witness was told the head of the log; never told: since the log began."
        family = GaugeMetricFamily("organloop_last_witness_seconds", says, labels=("witness",))
        for name in self._witnesses:
            at = told.get(name) or self._tally.began
            if at is not None:
                family.add_metric((name,), (datetime.now(UTC) - at).total_seconds())
        yield family

    def _serving(self) -> Iterator[Metric]:
        incumbent = self._records.incumbent()
        yield _gauge("incumbent", "Release that serves; 0 for none.", incumbent or 0)
        ready = 0
        if incumbent is not None and self._endpoints:
            # At once: each that is away costs seconds, and a scrape has ten.
            with ThreadPoolExecutor(len(self._endpoints)) as pool:
                ready = sum(pool.map(lambda one: _ready(one, incumbent), self._endpoints))
        yield _gauge("endpoints", "Segmenters that there should be.", len(self._endpoints))
        yield _gauge("endpoints_ready", "Segmenters that have the incumbent loaded.", ready)


def _gauge(name: str, says: str, value: float) -> Metric:
    return GaugeMetricFamily(f"organloop_{name}", says, value=value)


def _age(name: str, says: str, since: datetime | None) -> Metric:
    """Return how long ago something was; without a value where it never was."""
    family = GaugeMetricFamily(f"organloop_{name}", says, labels=())
    if since is not None:
        family.add_metric((), (datetime.now(UTC) - since).total_seconds())
    return family


def _ready(endpoint: Endpoint, release: int) -> bool:
    try:
        return endpoint.ready(release)
    except ServingFailed:
        return False


def _counter(
    name: str, says: str, labels: tuple[str, ...], values: Counter[str] | Counter[tuple[str, str]]
) -> Metric:
    family = CounterMetricFamily(f"organloop_{name}", says, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric((key,) if isinstance(key, str) else key, value)
    return family


def _histogram(seconds: dict[str, Histogram]) -> Metric:
    family = HistogramMetricFamily(
        "organloop_study_seconds", "Seconds of a study, by step.", labels=("step",)
    )
    bounds = (*map(str, BUCKETS), "+Inf")
    for step, one in sorted(seconds.items()):
        family.add_metric((step,), list(zip(bounds, one.counts, strict=True)), one.total)
    return family
