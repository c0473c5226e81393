"""Damaged and changed files of nnU-Net networks: no crash, and of damage no network that is another one."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import Refused
from models.network.checkpoints.nnunet.labels import read_labels
from models.network.checkpoints.nnunet.plans import read_plan
from models.network.checkpoints.nnunet.reading import read_nnunet
from tests.support.nnunet import CONFIGURATION, FINAL, document, repacked, said, unpacked

FLIPS, PICKLES = 3000, 1500
VALUES: tuple[Any, ...] = (
    None, True, 0, 1, -1, 2.5, -0.0, 1e308, float("nan"), float("inf"), 10**400, "", "x", CONFIGURATION,
    [], [1], [[1]], [1, 2, 3], [3, 3, 3], [[3, 3, 3]] * 3, {}, {"a": 1},
)  # fmt: skip


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.mktemp("nnunet"))


def outcome(read: Callable[[], object]) -> str:
    try:
        read()
    except Refused as refusal:
        return refusal.code
    return "read"


def test_a_flipped_bit_is_found_or_changes_nothing(genuine, tmp_path, capsys):
    """In every byte of the archive's tables, and in some thousand others."""
    whole, file = (genuine / "plain" / FINAL).read_bytes(), tmp_path / "checkpoint_final.pth"
    random, tables = np.random.default_rng(3), whole.index(b"PK\x01\x02")
    expected = said(read_nnunet(genuine / "plain"))
    outcomes = Counter[str]()
    for place in (*range(tables, len(whole)), *random.integers(tables, size=FLIPS)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << random.integers(8)
        file.write_bytes(damaged)
        try:
            network = read_nnunet(file)
        except Refused as refusal:
            outcomes[refusal.code] += 1
        else:
            outcomes["the same" if said(network) == expected else "another"] += 1
    with capsys.disabled():
        print(f"\n{outcomes.total()} flipped bits:", dict(outcomes.most_common()))
    assert outcomes["another"] == 0
    assert outcomes.keys() <= {"the same", "damaged-checkpoint", "unreadable-checkpoint"}


def test_changed_values_with_right_checksums_crash_nothing(genuine, tmp_path, capsys):
    whole, file = (genuine / "plain" / FINAL).read_bytes(), tmp_path / "checkpoint_final.pth"
    random, outcomes = np.random.default_rng(4), Counter[str]()

    def change(name: str, content: bytes) -> bytes:
        if not name.endswith("data.pkl"):
            return content
        changed = bytearray(content)
        for place in random.integers(len(changed), size=random.integers(1, 4)):
            changed[place] = random.integers(256)
        return bytes(changed)

    for _ in range(PICKLES):
        file.write_bytes(repacked(whole, change))
        outcomes[outcome(partial(read_nnunet, file))] += 1
    with capsys.disabled():
        print(f"\n{PICKLES} changed pickles:", dict(outcomes.most_common()))
    assert outcomes["unreadable-checkpoint"] > PICKLES / 2


def ways(said: object, way: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the way to each value of a document."""
    items = said.items() if isinstance(said, dict) else enumerate(said) if isinstance(said, list) else ()
    for key, value in items:
        yield (*way, key)
        yield from ways(value, (*way, key))


@pytest.mark.parametrize("kind", ["old", "regions"])
def test_any_value_anywhere_in_a_document_crashes_nothing(kind, genuine, capsys):
    outcomes = Counter[str]()
    readers: tuple[tuple[str, Callable[[Any], object]], ...] = (
        ("plans.json", partial(read_plan, configuration=CONFIGURATION)),
        ("dataset.json", read_labels),
    )
    for name, read in readers:
        written = document(genuine / kind, name)
        written.get("configurations", {}).pop("2d", None)
        for way in ways(written):
            for value in VALUES:
                changed = copy.deepcopy(written)
                inner: Any = changed
                for step in way[:-1]:
                    inner = inner[step]
                inner[way[-1]] = value
                outcomes[outcome(partial(read, changed))] += 1
    with capsys.disabled():
        print(f"\n{outcomes.total()} changed documents of {kind}:", dict(outcomes.most_common()))
    assert outcomes["unreadable-plans"] > outcomes["read"]
