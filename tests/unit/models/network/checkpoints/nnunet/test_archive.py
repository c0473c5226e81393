"""Nothing of a checkpoint is run, and of a damaged one no network is made that is not the one it was."""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch

from models.errors import Refused
from models.network.checkpoints import proved
from models.network.checkpoints.nnunet import archive
from models.network.checkpoints.nnunet.archive import Inert, read_archive
from models.network.checkpoints.nnunet.reading import read_nnunet
from tests.support.nnunet import FINAL, repacked, said, saved_values

FLIPS, CUTS = 150, 40
DAMAGE = {"damaged-checkpoint", "unreadable-checkpoint", "unsafe-checkpoint"}


@pytest.fixture
def whole(genuine: Path) -> bytes:
    return (genuine / "plain" / FINAL).read_bytes()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint_final.pth"


def code_of(file: Path, content: bytes) -> str:
    file.write_bytes(content)
    with pytest.raises(Refused) as refusal:
        read_nnunet(file)
    return refusal.value.code


def test_a_flipped_bit_is_found_or_changes_nothing(genuine: Path, whole: bytes, file: Path) -> None:
    """Anywhere: weights, plans, names, the archive's own tables. PyTorch itself reads most of them."""
    random, expected = np.random.default_rng(1), said(read_nnunet(genuine / "plain"))
    tables = whole.index(b"PK\x01\x02")
    places = [*random.integers(len(whole), size=FLIPS // 2), *random.integers(tables, len(whole), FLIPS // 2)]
    unharmed, codes = 0, set()
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << random.integers(8)
        file.write_bytes(damaged)
        try:
            network = read_nnunet(file)
        except Refused as refusal:
            codes.add(refusal.code)
        else:
            assert said(network) == expected, place
            unharmed += 1
    assert codes <= DAMAGE
    assert 0 < unharmed < 0.7 * FLIPS, "times, attributes and padding are nobody's"


def test_a_flipped_bit_in_a_weight_is_named_where_pytorch_says_nothing(whole: bytes, file: Path) -> None:
    place = whole.index(b"data/0FB") + 200
    damaged = bytearray(whole)
    damaged[place] ^= 1
    file.write_bytes(damaged)
    torch.load(file, weights_only=False)
    with pytest.raises(Refused, match=r"data/\d+ is not what its checksum says") as refusal:
        read_archive(file)
    assert refusal.value.code == "damaged-checkpoint"


@pytest.mark.parametrize("attributes", [*(1 << bit for bit in range(8)), 0xFFFFFF00, 0xFFFFFFFF])
def test_an_archives_tables_cannot_make_pytorch_read_other_numbers(attributes, genuine, whole, file):
    """PyTorch takes a member marked as a folder for empty; its weights are what the memory held before."""
    changed, place, members = bytearray(whole), whole.index(b"PK\x01\x02"), 0
    while changed[place : place + 4] == b"PK\x01\x02":
        changed[place + 38 : place + 42] = attributes.to_bytes(4, "little")
        members += 1
        place += 46 + sum(
            int.from_bytes(changed[place + at : place + at + 2], "little") for at in (28, 30, 32)
        )
    assert members > 60
    file.write_bytes(changed)
    assert said(read_nnunet(file)) == said(read_nnunet(genuine / "plain"))


def test_a_file_that_was_cut_off_is_damaged(whole: bytes, file: Path) -> None:
    random = np.random.default_rng(2)
    cuts = [4, len(whole) - 1, *random.integers(4, len(whole), CUTS)]
    assert {code_of(file, whole[:cut]) for cut in cuts} == {"damaged-checkpoint"}


@pytest.mark.parametrize("content", [b"", b"PK", b"text", pickle.dumps({"network_weights": {}})])
def test_what_is_no_archive_is_unreadable(content: bytes, file: Path) -> None:
    assert code_of(file, content) == "unreadable-checkpoint"


def test_something_before_the_archive_is_refused_and_a_little_behind_changes_nothing(genuine, whole, file):
    assert code_of(file, b"PK\x03\x04" + whole) == "damaged-checkpoint"
    assert code_of(file, whole + bytes(1 << 17)) == "damaged-checkpoint"
    file.write_bytes(whole + b"more")
    assert said(read_nnunet(file)) == said(read_nnunet(genuine / "plain"))


class Hostile:
    """Unpickled carelessly, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"mkdir {self.path}",)


@pytest.mark.parametrize("where", ["network_weights", "logging", "init_args", "_best_ema", "beside"])
def test_a_hostile_checkpoint_is_refused_and_nothing_of_it_runs(where, genuine, file, tmp_path):
    written, values = tmp_path / "written", saved_values(genuine / "plain")
    if isinstance(values.get(where), dict):
        values[where]["more"] = Hostile(written)
    else:
        values[where] = Hostile(written)
    torch.save(values, file)
    with pytest.raises(Refused) as refusal:
        read_nnunet(file)
    assert refusal.value.code == "unsafe-checkpoint"
    assert refusal.value.measured == {"asks_for": f"{os.system.__module__}.system"}
    assert not written.exists()
    torch.load(file, weights_only=False)  # the file does what it says where nobody minds
    assert written.exists()


def test_a_number_of_numpy_is_read_as_nothing_whichever_numpy_wrote_it(genuine, whole, file):
    def as_numpy_1(name: str, content: bytes) -> bytes:
        return content.replace(b"numpy._core", b"numpy.core") if name.endswith("data.pkl") else content

    older = repacked(whole, as_numpy_1)
    assert b"numpy._core" in whole
    assert b"numpy._core" not in older
    file.write_bytes(older)
    assert said(read_nnunet(file)) == said(read_nnunet(genuine / "plain"))
    assert isinstance(read_archive(file).values["_best_ema"], Inert)


def test_what_the_placeholder_is_made_of_is_kept_nowhere() -> None:
    inert = Inert("dtype", b"bytes")
    inert.__setstate__({"a": 1})
    assert vars(inert) == {}


def _member(pattern: str, made: bytes | None):
    return lambda name, content: made if re.search(pattern, name) else content


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_member(r"data\.pkl$", None), "unreadable-checkpoint"),
        (_member(r"data\.pkl$", b"\x80\x02}."), "incomplete-checkpoint"),
        (_member(r"data\.pkl$", b"\x80\x02]."), "unreadable-checkpoint"),
        (_member(r"data\.pkl$", b"no pickle"), "unreadable-checkpoint"),
        (_member(r"data/0$", None), "unreadable-checkpoint"),
        (_member(r"data/0$", b""), "unreadable-checkpoint"),
        (_member(r"byteorder$", b"big"), "unreadable-checkpoint"),
    ],
)
def test_an_archive_of_other_members_is_refused(change, code, whole, file):
    assert code_of(file, repacked(whole, change)) == code


@pytest.mark.parametrize(
    "name", ["{root}/code/model.py", "other/data/0", "../data/0", "data/0", "{root}/data/x"]
)
def test_a_member_that_pytorch_does_not_write_is_refused(name, whole, file):
    out = BytesIO(whole)
    with zipfile.ZipFile(out, "a") as added:
        root = added.namelist()[0].split("/")[0]
        added.writestr(name.format(root=root), b"more")
    assert code_of(file, out.getvalue()) == "unreadable-checkpoint"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_twice_is_refused(whole, file):
    out = BytesIO(whole)
    with zipfile.ZipFile(out, "a") as added:
        added.writestr(added.namelist()[0], b"more")
    assert code_of(file, out.getvalue()) == "unreadable-checkpoint"


def test_a_packed_member_is_refused_however_much_it_would_unpack_to(whole, file):
    out = BytesIO()
    with zipfile.ZipFile(BytesIO(whole)) as old, zipfile.ZipFile(out, "w") as new:
        for member in old.infolist():
            packed = zipfile.ZIP_DEFLATED if member.filename.endswith("data/0") else zipfile.ZIP_STORED
            new.writestr(member.filename, old.read(member), packed)
    assert code_of(file, out.getvalue()) == "unreadable-checkpoint"


@pytest.mark.parametrize("bound", ["MOST_BYTES", "MOST_VALUES"])
def test_a_file_larger_than_any_checkpoint_is_refused(bound, whole, file, monkeypatch):
    monkeypatch.setattr(archive if bound == "MOST_BYTES" else proved, bound, 1000)
    assert code_of(file, whole) == "unreadable-checkpoint"
