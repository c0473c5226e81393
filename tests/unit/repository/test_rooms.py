"""The house: which files lie outside a room and why, what its rooms are called, where Prefect is known.

In which order rooms may import each other is import-linter's (`pyproject.toml`).
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from deploy.stack.up_and_down import SERVED_CODE
from tests.conftest import ROOT
from tests.support.imports import everything_behind, imported

SPOKEN_OF = "every room of its layer speaks of it"
OF_ONE_NETWORK = "a part that every network is made of"
FOR_ALL_ADAPTERS = "adapters stand on it, whatever they adapt"
FOR_ALL_FLOWS = "flows of several rooms share it"
OUTSIDE = {
    "models": {
        **dict.fromkeys(("body", "calibration", "contract", "documents", "errors", "findings"), SPOKEN_OF),
        **dict.fromkeys(("further_organs", "organ_rows"), SPOKEN_OF),
        **dict.fromkeys(("geometry", "masks", "organs", "people", "recipe", "release"), SPOKEN_OF),
        **dict.fromkeys(("resampling", "surfaces", "targets", "uids", "volume"), SPOKEN_OF),
        **dict.fromkeys(("weights_source", "words"), SPOKEN_OF),
    },
    "models/network": {
        **dict.fromkeys(("export", "heads", "imported_trunks", "members", "nnunet_networks"), OF_ONE_NETWORK),
        "planned_trunk": OF_ONE_NETWORK,
        **dict.fromkeys(("norm", "prediction", "trunk", "trunk_kinds"), OF_ONE_NETWORK),
        **dict.fromkeys(("voxel_taps", "weights"), OF_ONE_NETWORK),
    },
    "services": {
        **dict.fromkeys(("files", "locks", "settings", "stopwatch", "work_folder"), FOR_ALL_ADAPTERS),
        "addresses": "pages and stack ask where servers are, and need no adapter",
        "program": "which code runs is of no adapter",
        "wiring": "it makes all of them",
    },
    "services/dicom": {
        "dictionary": "codes are asked about before anything is read or written",
        "identity": "what is written and what comes back are known by the same UIDs",
    },
    "flows": dict.fromkeys(
        ("acts", "candidates", "launching", "lineage", "progress", "retries", "steps"), FOR_ALL_FLOWS
    ),
    "deploy": {
        "logs": "the command and containers log alike",
        "preparation": "the stack and a cluster prepare a home alike",
    },
}
"""Files that lie in no room, by layer, and why."""

LINES_OF_A_MAP = 40
FLOWS = {"segmentation", "corrections", "tuning", "training", "calibration", "promotion", "nightly"}


def rooms(layer: str) -> list[Path]:
    return sorted(init.parent for init in (ROOT / layer).glob("*/__init__.py"))


@pytest.mark.parametrize("layer", OUTSIDE)
def test_a_file_outside_a_room_is_named_with_its_reason(layer):
    there = {file.stem for file in (ROOT / layer).glob("*.py")} - {"__init__"}
    assert there == OUTSIDE[layer].keys()


@pytest.mark.parametrize("layer", OUTSIDE)
def test_a_room_says_what_it_is_and_exports_nothing(layer):
    for room in rooms(layer):
        tree = ast.parse((room / "__init__.py").read_text())
        assert ast.get_docstring(tree), room
        holds_rooms = room.relative_to(ROOT).as_posix() in OUTSIDE
        assert holds_rooms or len(tree.body) == 1, f"{room} does more than say what it is"


@pytest.mark.parametrize("layer", OUTSIDE)
def test_a_map_names_every_room_and_every_file_outside(layer):
    text = ast.get_docstring(ast.parse((ROOT / layer / "__init__.py").read_text())) or ""
    assert len(text.splitlines()) <= LINES_OF_A_MAP
    named = set(re.findall(r"`(\w+)`", text))
    assert {room.name for room in rooms(layer)} | OUTSIDE[layer].keys() <= named


def test_flows_are_listed_by_their_files_and_these_alone_know_prefect():
    listed = {file.parent.name for file in (ROOT / "flows").glob("*/flow.py")}
    assert listed == FLOWS
    for file in (ROOT / "flows").rglob("*.py"):
        names = {name.split(".")[0] for name in imported(file.read_text())}
        assert ("prefect" in names) == (file.name == "flow.py"), file
    for name in FLOWS:
        assert re.search(r"^@flow\(name=", (ROOT / "flows" / name / "flow.py").read_text(), re.M), name


def test_what_a_triton_keeps_in_memory_makes_it_start_anew():
    """Its Python model is restarted when one of these files changes; else it would serve older code."""
    model = ROOT / "deploy" / "triton" / "organ_segmenter" / "model.py"
    served = {file for file in everything_behind([model], ROOT) if not file.endswith("__init__.py")}
    assert "models/inference/windows.py" in served
    looked_at = {file.relative_to(ROOT).as_posix() for one in SERVED_CODE for file in ROOT.glob(one)}
    assert served <= looked_at
