"""Where the viewer shows a study with our SEG loaded for editing."""

from __future__ import annotations

from urllib.parse import urlencode

from models.uids import SeriesUid, SopUid, StudyUid


def viewer_path(
    study_uid: StudyUid,
    seg_series_uid: SeriesUid | None = None,
    segment: int | None = None,
    image_uid: SopUid | None = None,
) -> str:
    """Return the path, on the viewer's origin, of a study.

    Parameters
    ----------
    study_uid
        Its StudyInstanceUID.
    seg_series_uid
        Series of the SEG to load; None opens the study alone.
    segment
        SegmentNumber to paint.
    image_uid
        SOP Instance UID of the image to show.

    Notes
    -----
    ``image`` and ``segment`` are ours (``deploy/viewer/app-config.js``). OHIF's editor asks for the series
    named in an address only under its default hanging protocol.
    """
    asked = {"StudyInstanceUIDs": str(study_uid)}
    if seg_series_uid is not None:
        asked |= {"initialSeriesInstanceUID": str(seg_series_uid), "hangingProtocolId": "default"}
        asked |= {"image": str(image_uid)} if image_uid else {}
        asked |= {"segment": str(segment)} if segment else {}
    return f"/segmentation?{urlencode(asked)}"
