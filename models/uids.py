"""The three kinds of DICOM UID that name a study, a series and an object, as types of their own.

They are text when the program runs. A UID from outside becomes one of a kind where it is read: from a
header, an archive's answer, a row of the database, an event or a command's argument.
"""

from __future__ import annotations

import re
from typing import NewType

StudyUid = NewType("StudyUid", str)
"""StudyInstanceUID."""

SeriesUid = NewType("SeriesUid", str)
"""SeriesInstanceUID."""

SopUid = NewType("SopUid", str)
"""SOPInstanceUID."""

LONGEST_UID = 64
"""Characters (PS3.5 9.1)."""

_FORM = re.compile(r"[0-9]+(\.[0-9]+)*")


def is_uid(text: str) -> bool:
    """Tell whether a text may stand for a UID, in an address or a file name too.

    Components with leading zeros pass, against PS3.5 9.1: archives and viewers make such UIDs.
    """
    return len(text) <= LONGEST_UID and _FORM.fullmatch(text) is not None
