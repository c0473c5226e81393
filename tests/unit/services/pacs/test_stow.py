"""What a server says of an object it was sent, in words."""

from __future__ import annotations

import json

import pytest

from services.pacs.stow import Outcome, outcome


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
