"""What a segmented study cost and how its organs were flagged, as an event that metrics are counted from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.records.port import Records

STUDY_SEGMENTED = "study-segmented"


def note_figures(key: str, document: Mapping[str, Any], records: Records) -> None:
    """Record what a result cost, once; written again it counts no second time.

    Parameters
    ----------
    key
        Of the result.
    document
        What `segment` says of it: ``study_uid``, ``release``, ``organs``, ``seconds``.
    records
        Where to.
    """
    flags = {one["organ"]: one["flag"] for one in document["organs"]}
    what = ("study_uid", "release", "seconds")
    payload = {name: document[name] for name in what} | {"flags": flags, "result": key}
    records.event(STUDY_SEGMENTED, who="segment_study", payload=payload, key=f"{STUDY_SEGMENTED}:{key}")
