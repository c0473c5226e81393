"""The three kinds of DICOM UID that name a study, a series and an object, as types of their own.

They are text when the program runs. A UID from outside becomes one of a kind where it is read: from a
header, an archive's answer, a row of the database, an event or a command's argument.
"""

from __future__ import annotations

from typing import NewType

StudyUid = NewType("StudyUid", str)
"""StudyInstanceUID."""

SeriesUid = NewType("SeriesUid", str)
"""SeriesInstanceUID."""

SopUid = NewType("SopUid", str)
"""SOPInstanceUID."""
