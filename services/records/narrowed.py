"""Which listed studies are asked for, as SQL."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ColumnElement, exists, false, literal, select, tuple_
from sqlalchemy.orm import aliased

from models.corrections.opinions import Opinion
from services.records.entries.reading import Narrowed, Place
from services.records.settled import FLAGGED, edited
from services.records.tables import FindingRow, ListedRow, OpinionRow, OrganLedgerRow

ORDER = (ListedRow.rank, ListedRow.minus_doubt_ml, ListedRow.came_ms, ListedRow.study_uid)
"""In which studies are read: that of an index."""


def behind_of(place: Place) -> ColumnElement[bool]:
    """Ask whether a study stands behind a place."""
    values = (place.rank, -place.doubt_ml, place.came_ms, place.study_uid)
    return tuple_(*ORDER) > tuple_(*map(literal, values))


def conditions_of(narrowed: Narrowed) -> Iterable[ColumnElement[bool]]:
    """Yield what narrows the list."""
    if narrowed.site:
        yield ListedRow.site == narrowed.site
    if narrowed.called_wrong:
        yield _called_wrong()
    of_organ: list[ColumnElement[bool]] = []
    if narrowed.flag:
        of_organ.append(FindingRow.flag == narrowed.flag)
    if narrowed.organ:
        of_organ += [FindingRow.organ == narrowed.organ, FindingRow.flag.in_(FLAGGED)]
    if narrowed.reason:
        words = literal(" ") + FindingRow.reasons + " "
        of_organ.append(words.contains(f" {narrowed.reason} ", autoescape=True))
    if of_organ:
        yield ListedRow.audited == false()
        yield exists(select(FindingRow.organ).where(FindingRow.result == ListedRow.result, *of_organ))


def _called_wrong() -> ColumnElement[bool]:
    """Ask whether a reader's last word calls an organ of the listed result wrong, and nobody has drawn it."""
    later = aliased(OpinionRow)
    said_since = exists(
        select(later.id).where(
            later.result == OpinionRow.result,
            later.organ == OpinionRow.organ,
            later.issuer == OpinionRow.issuer,
            later.subject == OpinionRow.subject,
            later.id > OpinionRow.id,
        )
    )
    drawn = exists(
        edited(ListedRow.result)
        .where(OrganLedgerRow.organ == OpinionRow.organ)
        .correlate(ListedRow, OpinionRow)
    )
    return exists(
        select(OpinionRow.id).where(
            OpinionRow.result == ListedRow.result,
            OpinionRow.opinion == Opinion.WRONG.value,
            ~said_since,
            ~drawn,
        )
    )
