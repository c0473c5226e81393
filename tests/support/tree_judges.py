"""What becomes of a tree by each way in: a verdict, a refusal or an object, at a bounded cost."""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np

from models.errors import PacsFailed, ReadFailed, Refused
from models.geometry import Geometry
from models.series.verdict import Code
from services.dicom.ct.check import check_folder
from services.dicom.ct.chosen import choose_series
from services.dicom.ct.loaded import load
from services.dicom.ct.phantom_series import write_phantom_series
from services.dicom.ct.provenance import acquisition_of, patient_of, site_of
from services.dicom.ct.series import read_series
from services.dicom.seg.bounded import open_seg
from services.dicom.seg.files import cited_images, find_seg, members_of
from services.dicom.seg.frames import SegCode
from services.dicom.seg.reader import read_seg
from services.dicom.seg.saving import saving_of
from services.pacs import multipart
from services.pacs.http import Unfinished
from services.pacs.incoming import write_object
from tests.support.ct_files import case
from tests.support.dicom_trees import Tree, tree_of
from tests.support.result_cases import AFFINES, ct_series
from tests.support.seg_cases import plain_seg

SECONDS = 10
"""Processor time that one tree may take here; what its child takes, the kernel bounds."""
SHAPE = (4, 16, 16)


@cache
def series_files(folder: Path) -> tuple[Path, ...]:
    """Write a small sound CT series once."""
    return tuple(write_phantom_series(case(Geometry((5, 8, 8), case().volume.geometry.affine)), folder))


@cache
def series() -> object:
    return ct_series(AFFINES["axial"], SHAPE)


def image_tree(folder: Path) -> Tree:
    """Return the tree of a sound CT image."""
    return tree_of(series_files(folder)[4].read_bytes())


def seg_tree() -> Tree:
    """Return the tree of a sound SEG."""
    liver = np.zeros(SHAPE, dtype=bool)
    liver[1:3, 3:9, 3:9] = True
    buffer = BytesIO()
    seg = plain_seg(series(), {"Liver": liver, "Spleen": ~liver}, series().volume.geometry, cite=True)
    seg.save_as(buffer, enforce_file_format=True)
    return tree_of(buffer.getvalue())


def as_image(tree: Tree, folder: Path) -> str:
    """Judge it as the last slice of a series."""
    study = folder / "study"
    shutil.rmtree(study, ignore_errors=True)
    study.mkdir()
    for path in series_files(folder / "sound")[:4]:
        (study / path.name).write_bytes(path.read_bytes())
    (study / "last.dcm").write_bytes(tree.content())
    try:
        for row in check_folder(study):
            if row["code"] is not None:
                Code(row["code"])
        chosen = load(choose_series(read_series(study)))
        patient_of(chosen), site_of(chosen), acquisition_of(chosen)
    except Refused as refused:
        return refused.code
    return "read"


def as_seg(tree: Tree, folder: Path) -> str:
    """Read it as a SEG that came in."""
    path = folder / "seg.dcm"
    path.write_bytes(tree.content())
    try:
        opened = open_seg(path)
        saving_of(opened)
        cited_images(opened)
        read_seg(opened, series())
    except Refused as refused:
        return SegCode(refused.code)
    return "read"


def as_answer(tree: Tree, folder: Path) -> str:
    """Take it as what an archive sent, and look for it in the folder it came to."""
    into = folder / "into"
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir()
    body = multipart.encode([tree.content()])
    pieces = [body[at : at + 997] for at in range(0, len(body), 997)]
    try:
        multipart.read_parts(pieces, multipart.BOUNDARY, lambda _, part: write_object(into, part))
        found = members_of(into)
        with suppress(Refused):  # most are none
            find_seg(into)
    except (Refused, PacsFailed, ReadFailed, Unfinished) as error:
        return type(error).__name__
    return "named" if found else "nameless"


JUDGES: dict[str, Callable[[Tree, Path], str]] = {"image": as_image, "seg": as_seg, "answer": as_answer}


def judged(way: str, tree: Tree, folder: Path) -> str:
    """Return what becomes of a tree; fail if it is neither verdict nor refusal, or took too long."""
    begun = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of the damage before it meets it
        outcome = JUDGES[way](tree, folder)
    took = time.process_time() - begun
    assert took < SECONDS, f"{took:.1f} s of processor time"
    return outcome
