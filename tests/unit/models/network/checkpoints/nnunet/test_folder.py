"""Which network is meant is never guessed: of several folds one is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from models.errors import Refused
from models.network.checkpoints.nnunet.folder import find
from models.network.checkpoints.nnunet.reading import read_nnunet
from tests.support.nnunet import FINAL

FOLDS = ("0", "3", "all")


@pytest.fixture
def folder(genuine: Path, tmp_path: Path) -> Path:
    """A results folder of three folds, the last with two checkpoints."""
    whole = tmp_path / "results"
    shutil.copytree(genuine / "plain", whole)
    for fold in FOLDS[1:]:
        shutil.copytree(whole / "fold_0", whole / f"fold_{fold}")
    shutil.copy(whole / FINAL, whole / "fold_all" / "checkpoint_best.pth")
    return whole


def code_of(path: Path, told: str, *which: str | None) -> str:
    with pytest.raises(Refused, match=told) as refusal:
        find(path, *which)
    return refusal.value.code


def test_of_several_folds_one_has_to_be_named(folder: Path) -> None:
    with pytest.raises(Refused, match="0, 3, all") as refusal:
        read_nnunet(folder)
    assert refusal.value.code == "several-folds"
    assert refusal.value.measured == {"folds": list(FOLDS)}
    for fold in FOLDS:
        assert find(folder, fold).checkpoint == folder / f"fold_{fold}" / "checkpoint_final.pth"
    assert read_nnunet(folder, "all").source.fold == "0", "as the checkpoint has it"


def test_a_fold_without_the_checkpoint_is_none(folder: Path) -> None:
    for fold in FOLDS[:2]:
        (folder / f"fold_{fold}" / "checkpoint_final.pth").unlink()
    assert find(folder).checkpoint.parent.name == "fold_all"
    found = find(folder, "all", "checkpoint_best.pth").checkpoint
    assert found == folder / "fold_all" / "checkpoint_best.pth"
    assert find(folder, None, "checkpoint_best.pth").checkpoint == found


def test_what_is_not_there_is_refused_with_what_is(folder: Path) -> None:
    assert code_of(folder, "fold_all/checkpoint_best", "7") == "no-checkpoint"
    assert code_of(folder, "fold_0/checkpoint_final", None, "checkpoint_latest.pth") == "no-checkpoint"
    assert code_of(folder, "no name of a file", "0", "../checkpoint_final.pth") == "no-checkpoint"
    assert code_of(folder / FINAL, "is a file", "0") == "no-checkpoint"
    assert code_of(folder.parent, "no plans.json and no dataset.json") == "no-checkpoint"
    assert code_of(folder / "nowhere", "no plans.json") == "no-checkpoint"
    shutil.rmtree(folder / "fold_all")
    shutil.rmtree(folder / "fold_3")
    (folder / FINAL).unlink()
    assert code_of(folder, "no checkpoint at all") == "no-checkpoint"


@pytest.mark.parametrize("name", ["plans.json", "dataset.json"])
@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"labels": 1, "labels": 1}', '{"labels": ' + "[" * 100_000, "\ud800", '{"a": 1}'],
    ids=["empty", "list", "cut off", "twice", "deep", "no text", "no field"],
)
def test_a_document_that_cannot_be_read_is_refused(name, content, folder):
    (folder / name).write_bytes(content.encode(errors="surrogatepass"))
    with pytest.raises(Refused, match=name) as refusal:
        read_nnunet(folder, "0")
    assert refusal.value.code == "unreadable-plans"


def test_a_document_larger_than_any_is_refused(folder, monkeypatch):
    monkeypatch.setattr("models.network.checkpoints.nnunet.documents.MOST_BYTES", 100)
    assert code_of(folder, "plans.json has", "0") == "unreadable-plans"
