"""Slice headers made by formula, for tests of the geometry verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from models.geometry import Geometry
from models.series.slice_facts import CT_IMAGE_STORAGE, PixelFormat, SliceFacts
from models.series.slice_spacing import Judgement, judge

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

SLICE = SliceFacts(
    sop_instance_uid="1.2.3.1",
    study_uid="1.2.3.10",
    series_uid="1.2.3.20",
    frame_of_reference_uid="1.2.3.30",
    patient=("P1", "", ""),
    modality="CT",
    sop_class_uid=CT_IMAGE_STORAGE,
    image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
    frames=1,
    position=(-100.0, -120.0, 0.0),
    orientation=AXIAL,
    pixel_spacing=(0.8, 0.8),
    rows=16,
    columns=20,
    phase=("1", "20200101", "120000", ""),
    technique=("soft", "120"),
    setting=("", "", "", "HELICAL MODE", "BODY FILTER", "410"),
    kernel="soft",
    description="Abdomen",
    contrast=True,
    series_number=2,
    instance_number=1,
    slope=1.0,
    intercept=-1024.0,
    rescale_type="HU",
    lookup_table=False,
    pixels=PixelFormat(1, "MONOCHROME2", 16, 12, 11, 0),
    lossy=False,
    burned_in=False,
)


def stack(heights: Sequence[float], **changes: Any) -> list[SliceFacts]:
    """Return axial slices at heights in mm, the same otherwise, with UIDs of their own."""
    return [
        replace(
            SLICE,
            **{
                "sop_instance_uid": f"1.2.3.1.{n}",
                "instance_number": n + 1,
                "position": (-100.0, -120.0, float(z)),
            }
            | changes,
        )
        for n, z in enumerate(heights)
    ]


def regular(count: int = 6, step: float = 2.5, **changes: Any) -> list[SliceFacts]:
    """Return a regular stack from 0 mm upwards."""
    return stack([n * step for n in range(count)], **changes)


def changed(slices: list[SliceFacts], at: int, **changes: Any) -> list[SliceFacts]:
    """Return the slices with one of them changed."""
    return [replace(s, **changes) if n == at else s for n, s in enumerate(slices)]


def tilted(degrees: float, count: int = 6, step: float = 2.5) -> list[SliceFacts]:
    """Return slices whose planes lean about the left-right axis while the table moves along z."""
    angle = np.radians(degrees)
    orientation = (1.0, 0.0, 0.0, 0.0, float(np.cos(angle)), float(-np.sin(angle)))
    return regular(count, step, orientation=orientation)


def unlike(n: int) -> str:
    """Return the digest of pixels that are like no other slice's."""
    return str(n)


def judged(
    slices: list[SliceFacts],
    content: Callable[[int], str] = unlike,
    require: Callable[[Geometry, int], None] | None = None,
) -> Judgement:
    """Return the verdict on slices."""
    return judge(slices, content, require=require)
