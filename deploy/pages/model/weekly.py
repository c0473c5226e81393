"""The weeks' counts, kept in memory: the log is read beside the requests, each line once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from math import log

from scipy.stats import beta

from deploy.pages.model.beside import Answer, Beside
from deploy.pages.site import Site
from models.bounds.random_audit import FALSE_ALARM, evidence
from services.metrics.stretches import stretches
from services.metrics.weeks import WEEKS, Counted, Weeks

EVERY_SECONDS = 3600.0
"""Where nothing comes, it is counted again after so long: the weeks go on."""

LATELY = 4
"""Weeks that are shown as one, beside those before."""


@dataclass(frozen=True)
class Trend:
    """How often an organ is flagged and edited, per hundred results.

    Parameters
    ----------
    organ
        Key in the catalogue.
    results
        Of the last `LATELY` weeks.
    flagged, edited
        Of hundred of them; None where there is none.
    flagged_before, edited_before
        The same of the weeks before; None where there was no result.
    weeks
        Flagged of hundred, week by week, the oldest first; None of a week without results.
    sites
        Flagged of hundred at each site in the last weeks, by name; empty for a site not known.
    """

    organ: str
    results: int
    flagged: float | None
    edited: float | None
    flagged_before: float | None
    edited_before: float | None
    weeks: tuple[float | None, ...]
    sites: tuple[tuple[str, float], ...]
    more: bool = False
    """Whether it is flagged more often than before, and that is no chance."""


class Weekly:
    """Counts what is new in the log, beside the requests, whenever somebody looks.

    Parameters
    ----------
    site
        With the log.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._weeks = Weeks(lambda: datetime.now().astimezone())
        self._beside = Beside(self._count, EVERY_SECONDS)

    def look(self) -> Answer[tuple[Trend, ...]]:
        """Return what is counted; of what came since, the next look tells."""
        head = self._site.records.head()
        return self._beside.look(None if head is None else head.number)

    def wait(self) -> None:
        """Wait until nothing is being counted."""
        self._beside.wait()

    def _count(self) -> tuple[Trend, ...]:
        for lines in stretches(self._site.records, self._weeks.number):
            self._weeks.add(lines)
        return trends_of(self._weeks.counted(), self._weeks.present())


def trends_of(counts: dict[tuple[int, str, str], Counted], newest: int) -> tuple[Trend, ...]:
    """Return what counts by week, site and organ come to, organ by organ in the order of first sight."""
    organs = dict.fromkeys(organ for _, _, organ in counts)
    return tuple(_trend(organ, counts, newest, len(organs)) for organ in organs)


def is_more(lately: Counted, before: Counted, organs: int) -> bool:
    """Tell whether an organ is flagged more often than before, whenever one looks.

    Of before only its results are known: the share that was clear is taken at the lower end of its interval
    (Clopper and Pearson). That it is clear less often now, the test of the bounds shows, which may be looked
    at again and again (`models.bounds.random_audit`).

    Parameters
    ----------
    lately, before
        What was counted of it.
    organs
        How many organs are looked at side by side; they share the chance of a false alarm.
    """
    clear = before.results - before.flagged
    if not clear or not lately.results:
        return False
    usual = float(beta.ppf(FALSE_ALARM / organs, clear, before.flagged + 1))
    shown = evidence(lately.results - lately.flagged, lately.results, usual)
    return shown >= log(organs / FALSE_ALARM)


def _trend(organ: str, counts: dict[tuple[int, str, str], Counted], newest: int, organs: int) -> Trend:
    weeks = {week: Counted() for week in range(newest - WEEKS + 1, newest + 1)}
    sites: dict[str, Counted] = {}
    for (week, site, of), counted in counts.items():
        if of == organ and week in weeks:
            weeks[week] += counted
            if week > newest - LATELY:
                sites[site] = sites.get(site, Counted()) + counted
    lately, before = Counted(), Counted()
    for week, counted in weeks.items():
        if week > newest - LATELY:
            lately += counted
        else:
            before += counted
    return Trend(
        organ=organ,
        results=lately.results,
        flagged=_of_hundred(lately.flagged, lately),
        edited=_of_hundred(lately.edited, lately),
        flagged_before=_of_hundred(before.flagged, before),
        edited_before=_of_hundred(before.edited, before),
        weeks=tuple(_of_hundred(one.flagged, one) for one in weeks.values()),
        sites=tuple(
            (site, 100 * one.flagged / one.results) for site, one in sorted(sites.items()) if one.results
        ),
        more=is_more(lately, before, organs),
    )


def _of_hundred(some: int, counted: Counted) -> float | None:
    return 100 * some / counted.results if counted.results else None
