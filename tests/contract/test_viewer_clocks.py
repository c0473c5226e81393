"""When a SEG was saved, by objects of real viewers: in the viewer's zone, in whatever zone the site is."""

from __future__ import annotations

from datetime import UTC, datetime, time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread

from services.dicom.seg.saving import saving_of
from services.dicom.seg.viewer_clocks import with_zone
from tests.support.returned_segs import altered
from tests.support.zones import site_in

ZONES = {"UTC": "+00:00", "Asia/Tokyo": "+09:00", "America/New_York": "-05:00"}
OF_OHIF = ("saved-by-ohif", "erased-in-ohif", "segments-in-ohif", "untouched-in-ohif")
NO_OFFSET = datetime(2026, 11, 30, 9, 54, 57)


def saved_at(seg: Path) -> str | None:
    return saving_of(seg).saved_at


@pytest.mark.parametrize("zone", ZONES)
def test_what_ohif_saved_is_in_utc_and_what_dcmqi_saved_in_the_sites_time(ohif: Path, zone: str) -> None:
    with site_in(zone):
        found = {name: saved_at(ohif / f"{name}.dcm") for name in (*OF_OHIF, "saved-by-dcmqi")}
    assert found == {
        "saved-by-ohif": "2026-11-30T09:54:57+00:00",
        "erased-in-ohif": "2026-11-30T09:55:27+00:00",
        "segments-in-ohif": "2026-11-30T09:55:53+00:00",
        "untouched-in-ohif": "2026-11-30T09:56:12+00:00",
        "saved-by-dcmqi": f"2026-11-30T09:56:14{ZONES[zone]}",
    }


def test_what_3d_slicer_saved_is_in_the_sites_summer_time_in_summer(ohif: Path, tmp_path: Path) -> None:
    summer = altered(ohif / "saved-by-dcmqi.dcm", tmp_path / "summer.dcm", ContentDate="20260701")
    with site_in("America/New_York"):
        assert saved_at(summer) == "2026-07-01T09:56:14-04:00"


def test_ohif_is_known_though_an_archive_wrote_the_file_meta_information_anew(
    ohif: Path, tmp_path: Path
) -> None:
    seg = dcmread(ohif / "saved-by-ohif.dcm")
    seg.file_meta.ImplementationVersionName = "dcm4che-5.33.1"
    seg.save_as(tmp_path / "archived.dcm")
    with site_in("Asia/Tokyo"):
        assert saved_at(tmp_path / "archived.dcm") == "2026-11-30T09:54:57+00:00"
        other = altered(tmp_path / "archived.dcm", tmp_path / "other.dcm", Manufacturer="A viewer")
        assert saved_at(other) == "2026-11-30T09:54:57+09:00"


def test_an_offset_that_the_object_names_is_believed_and_what_is_no_time_is_not_shown(
    ohif: Path, tmp_path: Path
) -> None:
    cases = [
        ({"TimezoneOffsetFromUTC": "-0330"}, "2026-11-30T09:54:57-03:30"),
        ({"TimezoneOffsetFromUTC": "+9999"}, None),
        ({"ContentTime": "0954"}, "2026-11-30T09:54:00+00:00"),
        ({"ContentTime": "095457.25"}, "2026-11-30T09:54:57.250000+00:00"),
        ({"ContentTime": "09"}, "2026-11-30T09:00:00+00:00"),
        ({"ContentTime": ""}, None),
        ({"ContentDate": ""}, None),
    ]
    for tags, expected in cases:
        assert saved_at(altered(ohif / "saved-by-ohif.dcm", tmp_path / "seg.dcm", **tags)) == expected


@given(st.datetimes(), st.sampled_from(sorted(ZONES)), st.sampled_from(["OHIF-3.9.0", "dcmjs-0.0", "QIICR"]))
def test_any_time_is_given_the_offset_of_its_viewer_or_none_at_all(
    written: datetime, zone: str, viewer: str
) -> None:
    with site_in(zone):
        shown = with_zone(written, viewer)
    if viewer != "QIICR" or zone == "UTC":
        assert shown is not None
        assert (shown.replace(tzinfo=None), shown.utcoffset()) == (written, UTC.utcoffset(None))
    elif datetime.min.replace(year=2) < written < datetime.max.replace(year=9998):
        assert shown is not None
        hours = abs(shown.replace(tzinfo=None) - written).total_seconds() / 3600
        assert hours <= 1, "an hour that summer time leaves out is an hour later"


def test_a_time_with_an_offset_stays_as_it_is() -> None:
    told = datetime.combine(NO_OFFSET, time(9), tzinfo=UTC)
    assert with_zone(told, "QIICR") is told
