"""The organ catalogue: what Organloop knows about each organ. A new organ is one entry and one head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Code(NamedTuple):
    """A coded term: value, coding scheme designator, meaning (PS3.3 table 8.8-1)."""

    value: str
    scheme: str
    meaning: str


ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
RIGHT = Code("24028007", "SCT", "Right")
LEFT = Code("7771000", "SCT", "Left")


@dataclass(frozen=True)
class Organ:
    """One organ of the catalogue.

    Parameters
    ----------
    key
        Name in code, records and the command line.
    label
        Plain name, as the reader sees it (SegmentLabel).
    category, type
        SNOMED CT terms of the segment (PS3.16 CID 7150 and the organ contexts of CID 7151).
    laterality
        SNOMED CT modifier of a paired organ (PS3.16 CID 244), else None.
    cielab
        Display colour, CIELab: L in 0..100, a and b in -128..127.
    volume_range_ml
        Plausible volume of an adult's whole organ, millilitres.
    components
        Connected components expected of a whole organ.
    tubular
        Whether surface and centreline say more than overlap.
    dsc_target
        DSC below which a reader should look.
    gate_margin
        Mean DSC a candidate may lose and still count as not worse.
    nsd_tolerance_mm
        Tolerance of the normalised surface distance, millimetres.
    """

    key: str
    label: str
    category: Code
    type: Code
    laterality: Code | None
    cielab: tuple[float, float, float]
    volume_range_ml: tuple[float, float]
    components: int
    tubular: bool
    dsc_target: float
    gate_margin: float
    nsd_tolerance_mm: float


def _organ(
    key: str,
    label: str,
    type_: tuple[str, str],
    laterality: Code | None,
    cielab: tuple[float, float, float],
    volume_range_ml: tuple[float, float],
    tubular: bool,
    dsc_target: float,
    gate_margin: float,
    nsd_tolerance_mm: float,
) -> Organ:
    return Organ(
        key, label, ANATOMICAL_STRUCTURE, Code(type_[0], "SCT", type_[1]), laterality, cielab,
        volume_range_ml, 1, tubular, dsc_target, gate_margin, nsd_tolerance_mm,
    )  # fmt: skip


# Volumes are wide adult ranges; targets follow what readers reach among themselves on each organ.
CATALOGUE: tuple[Organ, ...] = (
    _organ("spleen", "Spleen", ("78961009", "Spleen"), None, (50.0, 45.0, -45.0), (40, 900), False, 0.90, 0.01, 3.0),
    _organ("right_kidney", "Right kidney", ("64033007", "Kidney"), RIGHT, (72.0, 30.0, 65.0), (40, 450), False, 0.90, 0.01, 3.0),
    _organ("left_kidney", "Left kidney", ("64033007", "Kidney"), LEFT, (88.0, -5.0, 75.0), (40, 450), False, 0.90, 0.01, 3.0),
    _organ("pancreas", "Pancreas", ("15776009", "Pancreas"), None, (75.0, 40.0, -5.0), (15, 220), False, 0.75, 0.02, 3.0),
    _organ("liver", "Liver", ("10200004", "Liver"), None, (48.0, 30.0, 28.0), (500, 3500), False, 0.92, 0.01, 5.0),
    _organ("stomach", "Stomach", ("69695003", "Stomach"), None, (75.0, -38.0, -12.0), (30, 1800), False, 0.85, 0.02, 5.0),
    _organ("aorta", "Aorta", ("15825003", "Aorta"), None, (52.0, 75.0, 55.0), (15, 400), True, 0.85, 0.02, 3.0),
    _organ("postcava", "Inferior vena cava", ("64131007", "Inferior vena cava"), None, (45.0, 15.0, -65.0), (10, 250), True, 0.80, 0.02, 3.0),
    _organ("gallbladder", "Gallbladder", ("28231008", "Gallbladder"), None, (80.0, -60.0, 60.0), (3, 200), False, 0.75, 0.02, 3.0),
)  # fmt: skip

ORGANS: tuple[str, ...] = tuple(organ.key for organ in CATALOGUE)
"""Keys of the catalogue, in its order."""

# Of the 32 classes of the public checkpoints, those with one code of their own. Tumours and cysts would
# need the organ they lie in beside the type; vessels of two kinds in one class have no code.
FURTHER: tuple[Organ, ...] = (
    _organ("oesophagus", "Oesophagus", ("32849002", "Esophagus"), None, (70.0, 25.0, 20.0), (10, 120), True, 0.75, 0.02, 3.0),
    _organ("right_adrenal_gland", "Right adrenal gland", ("23451007", "Adrenal gland"), RIGHT, (82.0, 12.0, 40.0), (1, 20), False, 0.70, 0.02, 3.0),
    _organ("left_adrenal_gland", "Left adrenal gland", ("23451007", "Adrenal gland"), LEFT, (90.0, -12.0, 45.0), (1, 20), False, 0.70, 0.02, 3.0),
    _organ("duodenum", "Duodenum", ("38848004", "Duodenum"), None, (72.0, 8.0, 55.0), (15, 250), True, 0.70, 0.02, 3.0),
    _organ("right_lung", "Right lung", ("39607008", "Lung"), RIGHT, (75.0, -10.0, -30.0), (500, 5000), False, 0.95, 0.01, 3.0),
    _organ("left_lung", "Left lung", ("39607008", "Lung"), LEFT, (80.0, -20.0, -20.0), (400, 4500), False, 0.95, 0.01, 3.0),
    _organ("colon", "Colon", ("71854001", "Colon"), None, (60.0, 20.0, 40.0), (100, 3000), True, 0.75, 0.02, 5.0),
    _organ("rectum", "Rectum", ("34402009", "Rectum"), None, (55.0, 30.0, 10.0), (15, 500), False, 0.75, 0.02, 5.0),
    _organ("bladder", "Urinary bladder", ("89837001", "Bladder"), None, (85.0, -15.0, 20.0), (10, 1500), False, 0.85, 0.02, 3.0),
    _organ("prostate", "Prostate", ("41216001", "Prostate"), None, (60.0, 40.0, -20.0), (10, 250), False, 0.75, 0.02, 3.0),
    _organ("left_femoral_head", "Left femoral head", ("2812003", "Head of Femur"), LEFT, (92.0, 0.0, 20.0), (20, 150), False, 0.90, 0.01, 3.0),
    _organ("right_femoral_head", "Right femoral head", ("2812003", "Head of Femur"), RIGHT, (88.0, 4.0, 25.0), (20, 150), False, 0.90, 0.01, 3.0),
    _organ("coeliac_trunk", "Coeliac trunk", ("57850000", "Truncus coeliacus"), None, (55.0, 65.0, 35.0), (0.3, 15), True, 0.70, 0.02, 3.0),
)  # fmt: skip
"""Organs that only imported networks segment so far; results speak of `CATALOGUE`."""

_BY_KEY = {organ.key: organ for organ in (*CATALOGUE, *FURTHER)}


def organ(key: str) -> Organ:
    """Return the catalogue entry of a key.

    Raises
    ------
    KeyError
        If the catalogue has no such organ; the message lists those it has.
    """
    try:
        return _BY_KEY[key]
    except KeyError:
        raise KeyError(f"no organ {key!r} in the catalogue; it has {', '.join(ORGANS)}") from None
