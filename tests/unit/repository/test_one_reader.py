"""What others send is parsed in one room, within bounds: nowhere else is there a way to read DICOM."""

from __future__ import annotations

import ast

from tests.shape import sources
from tests.support.imports import imported

ROOM = "services/dicom/foreign/"
READERS = frozenset(
    ("dcmread", "read_partial", "read_dataset", "read_sequence", "read_file", "segread", "srread", "imread")
)
"""Functions of pydicom and highdicom that parse bytes, whatever these cost."""
MODULES = frozenset(("pydicom.filereader", "pydicom.fileset", "pydicom.dicomdir"))


def ways_to_read(text: str) -> set[str]:
    """Return what a source could parse bytes with that it did not write."""
    used = {name for name in imported(text) if name in MODULES or name.rpartition(".")[2] in READERS}
    called = {
        node.func.attr
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    return used | (called & READERS)


def test_only_one_room_parses_dicom() -> None:
    found = {path: ways_to_read(text) for path, text in sources()}
    assert any(found[path] for path in found if path.startswith(ROOM)), "the search finds nothing"
    assert {path: ways for path, ways in found.items() if ways and not path.startswith(ROOM)} == {}


def test_a_way_to_read_is_found_whatever_it_is_called() -> None:
    assert ways_to_read("from pydicom import dcmread as r") == {"pydicom.dcmread"}
    assert ways_to_read("import pydicom\npydicom.dcmread(1)") == {"dcmread"}
    assert ways_to_read("import pydicom.filereader") == {"pydicom.filereader"}
    assert ways_to_read("import highdicom as hd\nhd.seg.segread(1)") == {"segread"}
