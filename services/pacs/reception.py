"""In which order Orthanc took instances in: by the numbers of its feed of changes.

A number is given in the transaction that stores an instance. Orthanc's clock counts whole seconds; it only
tells where in the feed to look.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import NamedTuple

from services.pacs.http import Http

NEW, RECEIVED = "NewInstance", "ReceptionDate"
STRETCH = 500
"""Changes asked for at once."""
APART = timedelta(minutes=1)
"""So far may the time of a change be from that of the instance it tells of."""


def numbers_of(instances: Collection[str], rest: Http) -> dict[str, int]:
    """Return the number of the change that tells of each instance; of which none tells is left out.

    Parameters
    ----------
    instances
        Orthanc's own identifiers.
    rest
        The connection to its REST.

    Raises
    ------
    PacsFailed
        If Orthanc answered with an error, or not at all.
    """
    asked = {"Resources": sorted(instances), "Level": "Instance", "Metadata": True}
    received = rest.need(
        "/tools/bulk-content",
        lambda answer: {
            one["ID"]: _time(one["Metadata"][RECEIVED]) for one in answer if RECEIVED in one["Metadata"]
        },
        body=asked,
    )
    last = rest.need("/changes?last", lambda answer: int(answer["Last"]))
    found: dict[str, int] = {}
    for instance, at in sorted(received.items(), key=lambda item: item[1]):
        if instance not in found:
            found |= _told_around(at, last, received.keys(), rest)
    return found


class _Change(NamedTuple):
    number: int
    at: datetime
    instance: str
    """Orthanc's identifier of what was new; empty if something else happened."""


def _told_around(at: datetime, last: int, instances: Collection[str], rest: Http) -> dict[str, int]:
    """Return the numbers of those instances of which the feed tells within `APART` of a time."""

    def time_behind(cursor: int) -> datetime:
        changes, *_ = _changes(cursor, 1, rest)
        return changes[0].at if changes else datetime.max  # the others were deleted

    found: dict[str, int] = {}
    cursor, more = bisect_left(range(last), at - APART, key=time_behind), True
    while more:
        changes, cursor, more = _changes(cursor, STRETCH, rest)
        told = [one for one in changes if one.at <= at + APART]
        found |= {one.instance: one.number for one in told if one.instance in instances}
        more &= 0 < len(told) == len(changes)
    return found


def _changes(cursor: int, at_most: int, rest: Http) -> tuple[list[_Change], int, bool]:
    """Return a stretch of the feed behind a change, the number of its last, and whether the feed goes on."""
    return rest.need(
        f"/changes?since={cursor}&limit={at_most}",
        lambda answer: (
            [
                _Change(int(one["Seq"]), _time(one["Date"]), one["ID"] if one["ChangeType"] == NEW else "")
                for one in answer["Changes"]
            ],
            int(answer["Last"]),
            not answer["Done"],
        ),
    )


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M%S")
