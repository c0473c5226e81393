"""Some hundred DICOM trees that lie, by every way in; ten minutes of them are in ``tests/proofs``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.dicom_trees import Node, Tree, trees
from tests.support.tree_judges import image_tree, judged, seg_tree

EXAMPLES = 60

FOUND = {
    "a frame of reference that is a cut sequence: the study could not be read": (
        "image",
        Node(0x00200052, b"SQ", b"\xaa)"),
    ),
    "a kernel that is a cut sequence: the error came while the case was kept": (
        "image",
        Node(0x00181210, b"SQ", b"\xaa)"),
    ),
    "a thickness of an unknown kind": ("image", Node(0x00180050, b"zz", b"1")),
}
"""Elements that once made something else than a verdict or a refusal of a sound object, and what that was."""


@pytest.mark.parametrize("way", ["image", "seg", "answer"])
def test_trees_that_lie_end_in_a_verdict_or_a_refusal(way: str, tmp_path: Path) -> None:
    base = image_tree(tmp_path / "sound") if way != "seg" else seg_tree()
    outcomes: set[str] = {judged(way, base, tmp_path)}

    @settings(
        max_examples=EXAMPLES, derandomize=True, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(data=st.data())
    def each(data: st.DataObject) -> None:
        outcomes.add(str(judged(way, data.draw(trees(base)), tmp_path)))

    each()
    assert outcomes & {"read", "named"}, "a sound object is read"
    assert len(outcomes) >= 2


@pytest.mark.parametrize("what", FOUND)
def test_what_once_failed_is_refused(what: str, tmp_path: Path) -> None:
    way, node = FOUND[what]
    base = image_tree(tmp_path / "sound") if way != "seg" else seg_tree()
    others = [one for one in base.nodes if one.tag != node.tag]
    judged(way, replace(base, nodes=tuple(sorted([*others, node], key=lambda one: one.tag))), tmp_path)


def test_a_tree_is_written_as_it_is_and_may_lie() -> None:
    inner = Node(0x00080018, b"UI", b"1.2\0")
    sequence = Node(0x00081110, b"SQ", ((inner,),), times=2)
    assert Tree((sequence,)).content().count(b"\xfe\xff\x00\xe0") == 2
    assert b"\xff\xff\xff\x7f" in Tree((Node(0x00101002, b"SQ", (), 0x7FFFFFFF),)).content()
