"""What an archived object is: by its SOP class, where the archive tells it.

An archive tells one modality a series, that of whatever came first; other objects may lie under the same
series UID.
"""

from __future__ import annotations

from models.series.slice_facts import CT_CLASSES

CT = "CT"
OTHER = "OT"
"""What is known of it is only that it is no CT image (PS3.3 C.7.3.1.1.1)."""

_KINDS = {
    "1.2.840.10008.5.1.4.1.1.66.4": "SEG",
    "1.2.840.10008.5.1.4.1.1.66.7": "SEG",
    "1.2.840.10008.5.1.4.1.1.481.2": "RTDOSE",
    "1.2.840.10008.5.1.4.1.1.481.3": "RTSTRUCT",
    "1.2.840.10008.5.1.4.1.1.481.5": "RTPLAN",
} | dict.fromkeys(CT_CLASSES, CT)
"""Modality by SOP class, of classes that have one only (PS3.3 table C.8-1 and the modules of each)."""

_REPORTS = "1.2.840.10008.5.1.4.1.1.88."
"""How the UIDs of structured reports begin (PS3.4 B.5)."""


def kind_of(sop_class_uid: str, modality: str) -> str:
    """Return the modality of one object.

    Parameters
    ----------
    sop_class_uid
        As the archive tells it; empty where it does not, and then the series' modality is believed.
    modality
        Of its series.
    """
    if not sop_class_uid:
        return modality
    known = _KINDS.get(sop_class_uid, "SR" if sop_class_uid.startswith(_REPORTS) else "")
    return known or (OTHER if modality == CT else modality)
