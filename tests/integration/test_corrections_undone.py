"""What a reader takes back, and whose word a save is that names nobody."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.corrections.flow import ingest_task
from flows.corrections.keep import Disagreement
from flows.corrections.withdraw import Instead
from services.cases.disagreements import Policy, ReadersDisagree
from tests.integration.test_kept_corrections import take_back, teaching
from tests.support.returned_segs import altered, erase_rows, repainted
from tests.support.zones import site_in


def as_sent(ohif: Path, path: Path, uid: str, **tags: object) -> Path:
    """Write what a viewer saves of our result when nothing was changed."""
    tags |= {"SOPInstanceUID": uid, "Manufacturer": "Unspecified"}
    return altered(ohif / "sent.dcm", path, **tags)


def test_a_reader_takes_a_correction_back_by_saving_as_it_was_sent(ohif, memory, take_in, tmp_path):
    uid = take_in(ohif / "saved-by-ohif.dcm").sop_instance_uid
    reverted = as_sent(ohif, tmp_path / "reverted.dcm", "1.2.5", ContentCreatorName="Dr A", ContentDate="")
    document = take_in(reverted)
    assert (document.status, document.kept, document.version) == ("ours-unchanged", False, 1)
    assert (document.teaches, document.disagreements) == ((), ())
    assert teaching(memory) == teaching(memory, Policy(ReadersDisagree.LATEST)) == {}
    assert take_in(reverted) == document
    assert [one.name for one in memory.records.corrections()] == [uid, "1.2.5"]
    taken = take_back(memory, "1.2.5", "saved by mistake")
    assert taken.instead == (Instead("liver", uid),)
    assert teaching(memory) == {uid: ("liver",)}, "as if it had never been said"


def test_where_no_reader_is_named_a_save_as_it_was_sent_puts_a_correction_in_doubt(
    ohif, memory, take_in, tmp_path
):
    uid = take_in(ohif / "saved-by-ohif.dcm", reader="").sop_instance_uid
    reverted = as_sent(ohif, tmp_path / "reverted.dcm", "1.2.5", ContentDate="")
    document = take_in(reverted, reader="")
    assert document.disagreements == (Disagreement("liver", (uid, "1.2.5"), None),)
    assert teaching(memory) == {}
    take_in(ohif / "saved-by-ohif.dcm", reader="Dr A")
    take_in(reverted, reader="Dr A")
    assert (teaching(memory), take_in(reverted, reader="").disagreements) == ({}, ())


def test_a_save_as_it_was_sent_before_the_correction_or_by_another_reader_takes_nothing_back(
    ohif, memory, take_in, tmp_path
):
    early = as_sent(ohif, tmp_path / "early.dcm", "1.2.5", ContentDate="20991231", ContentTime="235959")
    other = as_sent(ohif, tmp_path / "other.dcm", "1.2.6", ContentCreatorName="Dr B", ContentDate="")
    nothing = take_in(early)
    uid = take_in(ohif / "saved-by-ohif.dcm").sop_instance_uid
    for seg in (other, early):
        document = take_in(seg)
        assert document.why == nothing.why == "ours-unchanged: no reader changed anything"
    assert document == nothing, "read again, it is no later"
    assert [one.name for one in memory.records.corrections()] == ["1.2.5", uid, "1.2.6"]
    assert teaching(memory) == {uid: ("liver",)}


@pytest.mark.parametrize("ahead", [-3600, 3600], ids=["clock behind", "clock ahead"])
@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_what_arrived_later_takes_back_whatever_zone_and_clock_say(
    ohif, memory, take_in, tmp_path, zone, ahead
):
    """A correction of real dcmqi's, in the site's time; then what real OHIF saved untouched, in UTC."""
    with site_in(zone):
        now = datetime.now(UTC)
        local, utc = now.astimezone(), now + timedelta(seconds=ahead)
        uid = take_in(clocked(ohif / "saved-by-dcmqi.dcm", tmp_path / "slicer.dcm", local)).sop_instance_uid
        assert teaching(memory) == {uid: ("stomach",)}
        back = take_in(clocked(ohif / "untouched-in-ohif.dcm", tmp_path / "ohif.dcm", utc))
        assert back.why.startswith("ours-unchanged: saved as it was sent after a correction")
        assert teaching(memory) == {}


def clocked(source: Path, target: Path, when: datetime) -> Path:
    """Write a SEG as its viewer does at another time: no offset from UTC is named."""
    return altered(source, target, ContentDate=f"{when:%Y%m%d}", ContentTime=f"{when:%H%M%S}")


def test_saves_that_name_no_reader_may_be_two_readers(ohif, memory, take_in, tmp_path):
    saved = ohif / "saved-by-ohif.dcm"
    first = take_in(saved, reader="")
    other = repainted(saved, tmp_path / "b.dcm", erase_rows("Liver", 12), SOPInstanceUID="1.2.4")
    document = take_in(other, reader="")
    assert [one.organ for one in document.disagreements] == ["liver"]
    assert teaching(memory) == {}
    for seg in (other, saved):  # a person says that both are one reader's, in whatever order
        take_in(seg, reader="Dr A")
    assert {one.reader for one in memory.records.corrections()} == {"", "Dr A"}
    assert teaching(memory) == {"1.2.4/2": ("liver",)}, "the later save, not the one named last"
    assert take_in(saved, reader="").version == 2, "who it was stays on record"
    assert first.version == 1


def test_a_run_that_a_person_has_to_settle_ends_with_its_document(ohif, tmp_path, monkeypatch):
    monkeypatch.setenv("ORGANLOOP_HOME", str(tmp_path / "home"))
    document = ingest_task.fn(ohif / "saved-by-ohif.dcm", ohif / "ct", None)
    assert (document.status, document.code, document.kept) == ("refused", "no-result", False)
