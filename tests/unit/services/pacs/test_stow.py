"""What a server says of an object it was sent, in words."""

from __future__ import annotations

import json

import pytest

from services.pacs.stow import Outcome, Stored, outcome, stored


def answer(sequence: str, tag: str, code: int | None) -> bytes:
    item = {} if code is None else {tag: {"vr": "US", "Value": [code]}}
    return json.dumps({sequence: {"vr": "SQ", "Value": [item]}}).encode()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (0x0110, Outcome("0110H, processing failure", again=True)),
        (0x0122, Outcome("0122H, SOP class not supported")),
        (0xA700, Outcome("A700H, out of resources", again=True)),
        (0xA702, Outcome("A702H, out of resources", again=True)),
        (0xA900, Outcome("A900H, data set does not match its SOP class")),
        (0xC122, Outcome("C122H, transfer syntax not supported")),
        (0xC123, Outcome("C123H, not understood")),
        (0x1234, Outcome("1234H")),
        (None, Outcome("no reason given")),
    ],
)
@pytest.mark.parametrize("status", [200, 202, 409])
def test_a_refused_object_has_a_reason(code: int | None, expected: Outcome, status: int) -> None:
    assert outcome(status, answer("00081198", "00081197", code)) == expected


def test_what_could_not_even_be_named_is_refused_too() -> None:
    assert outcome(202, answer("0008119A", "00081197", 0xC000)) == Outcome("C000H, not understood")


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"{}", b'{"00081198": {"vr": "SQ"}}'])
def test_without_words_the_status_decides(content: bytes) -> None:
    assert outcome(200, content) == Outcome(None)
    assert outcome(413, content) == Outcome("HTTP 413, no reason given")


def test_what_the_archive_did_to_an_object_is_told() -> None:
    assert outcome(202, answer("00081199", "00081196", 0xB000)) == Outcome(
        None, warning="B000H, changed values"
    )
    assert outcome(200, answer("00081199", "00081196", None)) == Outcome(None)


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_some_answers_are_about_no_object(status: int) -> None:
    assert outcome(status, answer("00081198", "00081197", 0xA700)) is None


ADDRESS = "http://here/dicom-web/studies/1.2.3"
JSON = json.dumps(
    {
        "00081190": {"vr": "UR", "Value": [ADDRESS]},
        "00081199": {
            "vr": "SQ",
            "Value": [
                {
                    "00081155": {"vr": "UI", "Value": ["1.2.3.4"]},
                    "00081190": {"vr": "UR", "Value": [f"{ADDRESS}/series/5/instances/1.2.3.4"]},
                },
                {"00081155": {"vr": "UI", "Value": ["1.2.3.5"]}},
            ],
        },
    }
).encode()
XML = f"""<?xml version="1.0" encoding="utf-8"?>
<NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM" xml:space="preserve">
  <DicomAttribute tag="00081190" vr="UR"><Value number="1">{ADDRESS}</Value></DicomAttribute>
  <DicomAttribute tag="00081199" vr="SQ" keyword="ReferencedSOPSequence">
    <Item number="1">
      <DicomAttribute tag="00081155" vr="UI"><Value number="1">1.2.3.4</Value></DicomAttribute>
    </Item>
    <Item number="2">
      <DicomAttribute tag="00081155" vr="UI"><Value number="1">1.2.3.5</Value></DicomAttribute>
    </Item>
    <Value number="1" />
  </DicomAttribute>
</NativeDicomModel>""".encode()


@pytest.mark.parametrize("content", [JSON, XML, XML.replace(b' xmlns="http', b' xmlns:a="http')])
def test_what_was_taken_in_is_read_of_json_and_xml(content: bytes) -> None:
    assert stored(content) == (Stored("1.2.3.4", "1.2.3"), Stored("1.2.3.5", "1.2.3"))


def test_where_nothing_was_taken_in_nothing_is_read_and_no_study_is_guessed() -> None:
    assert stored(answer("00081198", "00081197", 0xA700)) == ()
    elsewhere = JSON.replace(b"/studies/", b"/of/")
    assert [one.study_uid for one in stored(elsewhere) or ()] == [None, None]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html/>",
        b"[]",
        b"{}",
        XML[:-20],
        b"<!DOCTYPE a [<!ENTITY b 'c'>]>" + XML.partition(b"?>")[2],
        JSON.replace(b"1.2.3.5", b"1.2/3.5"),
        JSON.replace(b'["1.2.3.5"]', b"[7]"),
        JSON.replace(b'"00081155": {"vr": "UI", "Value": ["1.2.3.5"]}', b""),
    ],
)
def test_an_answer_that_names_not_every_object_tells_nothing(content: bytes) -> None:
    assert stored(content) is None
