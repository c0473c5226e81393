"""The organ catalogue: what Organloop knows about each organ. A new organ is one entry and one head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple


class Code(NamedTuple):
    """A coded term: value, coding scheme designator, meaning (PS3.3 table 8.8-1)."""

    value: str
    scheme: str
    meaning: str


ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
RIGHT = Code("24028007", "SCT", "Right")
LEFT = Code("7771000", "SCT", "Left")
ALTERED_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")


@dataclass(frozen=True)
class Organ:
    """One organ of the catalogue, or a structure in one: vessels, a tumour, a cyst.

    A value that nobody has established is None, and what would rest on it is not claimed.

    Parameters
    ----------
    key
        Name in code, records and the command line.
    label
        Plain name, as the reader sees it (SegmentLabel).
    category, type
        SNOMED CT terms of the segment (PS3.16 CID 7150; CID 7151 and the organ contexts it includes, or
        7159 for what is altered).
    laterality
        SNOMED CT modifier of a paired organ (PS3.16 CID 244), else None.
    cielab
        Display colour, CIELab: L in 0..100, a and b in -128..127.
    volume_range_ml
        Plausible volume of an adult's whole organ, millilitres. None: any volume is plausible.
    components
        Connected components expected of a whole organ. None: any number.
    dsc_target
        DSC below which a reader should look. None: how exact is exact enough is not established; a
        reader looks always, and no bound is claimed.
    gate_margin
        Mean DSC a candidate may lose and still count as not worse: a choice, not a fact. None: nobody made it.
    nsd_tolerance_mm
        Tolerance of the normalised surface distance, millimetres: a choice too.
    region
        Where it lies (PS3.16 CID 7151), if the type does not say so; None for an organ.
    within
        Keys of organs whose voxels it may share, because it is drawn as part of them.
    """

    key: str
    label: str
    category: Code
    type: Code
    laterality: Code | None
    cielab: tuple[float, float, float]
    volume_range_ml: tuple[float, float] | None
    components: int | None
    dsc_target: float | None
    gate_margin: float | None
    nsd_tolerance_mm: float
    region: Code | None = None
    within: tuple[str, ...] = ()

    @property
    def site(self) -> tuple[Code, Code | None]:
        """Where in the body it is, and on which side."""
        return self.region or self.type, self.laterality

    @property
    def agreement(self) -> float:
        """DSC from which two readers count as agreed; without a target only the same voxels do."""
        return 1.0 if self.dsc_target is None else self.dsc_target


def _organ(
    key: str,
    label: str,
    type_: tuple[str, str],
    laterality: Code | None,
    cielab: tuple[float, float, float],
    volume_range_ml: tuple[float, float] | None,
    dsc_target: float,
    gate_margin: float,
    nsd_tolerance_mm: float,
) -> Organ:
    return Organ(
        key, label, ANATOMICAL_STRUCTURE, Code(type_[0], "SCT", type_[1]), laterality, cielab,
        volume_range_ml, 1, dsc_target, gate_margin, nsd_tolerance_mm,
    )  # fmt: skip


def _part(
    category: Code,
    key: str,
    label: str,
    type_: tuple[str, str],
    cielab: tuple[float, float, float],
    region: tuple[str, str],
    within: tuple[str, ...],
) -> Organ:
    return Organ(
        key, label, category, Code(type_[0], "SCT", type_[1]), None, cielab,
        None, None, None, 0.02, 3.0, Code(region[0], "SCT", region[1]), within,
    )  # fmt: skip


_vessels = partial(_part, ANATOMICAL_STRUCTURE)
"""Vessels of several kinds in one class: how much of them is drawn differs from reader to reader."""

_altered = partial(_part, ALTERED_STRUCTURE)
"""A tumour or cyst: of any size and number, mostly absent, and drawn inside its organ."""


# Volumes are wide adult ranges; targets follow what readers reach among themselves on each organ.
_NINE: tuple[Organ, ...] = (
    _organ("spleen", "Spleen", ("78961009", "Spleen"), None, (50.0, 45.0, -45.0), (40, 900), 0.90, 0.01, 3.0),
    _organ("right_kidney", "Right kidney", ("64033007", "Kidney"), RIGHT, (72.0, 30.0, 65.0), (40, 450), 0.90, 0.01, 3.0),
    _organ("left_kidney", "Left kidney", ("64033007", "Kidney"), LEFT, (88.0, -5.0, 75.0), (40, 450), 0.90, 0.01, 3.0),
    _organ("pancreas", "Pancreas", ("15776009", "Pancreas"), None, (75.0, 40.0, -5.0), (15, 220), 0.75, 0.02, 3.0),
    _organ("liver", "Liver", ("10200004", "Liver"), None, (48.0, 30.0, 28.0), (500, 3500), 0.92, 0.01, 5.0),
    _organ("stomach", "Stomach", ("69695003", "Stomach"), None, (75.0, -38.0, -12.0), (30, 1800), 0.85, 0.02, 5.0),
    _organ("aorta", "Aorta", ("15825003", "Aorta"), None, (52.0, 75.0, 55.0), (15, 400), 0.85, 0.02, 3.0),
    _organ("postcava", "Inferior vena cava", ("64131007", "Inferior vena cava"), None, (45.0, 15.0, -65.0), (10, 250), 0.80, 0.02, 3.0),
    _organ("gallbladder", "Gallbladder", ("28231008", "Gallbladder"), None, (80.0, -60.0, 60.0), (3, 200), 0.75, 0.02, 3.0),
)  # fmt: skip

_FURTHER: tuple[Organ, ...] = (
    _organ("oesophagus", "Oesophagus", ("32849002", "Esophagus"), None, (70.0, 25.0, 20.0), (10, 120), 0.75, 0.02, 3.0),
    _organ("right_adrenal_gland", "Right adrenal gland", ("23451007", "Adrenal gland"), RIGHT, (82.0, 12.0, 40.0), (1, 20), 0.70, 0.02, 3.0),
    _organ("left_adrenal_gland", "Left adrenal gland", ("23451007", "Adrenal gland"), LEFT, (90.0, -12.0, 45.0), (1, 20), 0.70, 0.02, 3.0),
    _organ("duodenum", "Duodenum", ("38848004", "Duodenum"), None, (72.0, 8.0, 55.0), (15, 250), 0.70, 0.02, 3.0),
    _organ("right_lung", "Right lung", ("39607008", "Lung"), RIGHT, (75.0, -10.0, -30.0), (500, 5000), 0.95, 0.01, 3.0),
    _organ("left_lung", "Left lung", ("39607008", "Lung"), LEFT, (80.0, -20.0, -20.0), (400, 4500), 0.95, 0.01, 3.0),
    _organ("colon", "Colon", ("71854001", "Colon"), None, (60.0, 20.0, 40.0), (100, 3000), 0.75, 0.02, 5.0),
    _organ("rectum", "Rectum", ("34402009", "Rectum"), None, (55.0, 30.0, 10.0), (15, 500), 0.75, 0.02, 5.0),
    _organ("bladder", "Urinary bladder", ("89837001", "Bladder"), None, (85.0, -15.0, 20.0), (10, 1500), 0.85, 0.02, 3.0),
    _organ("prostate", "Prostate", ("41216001", "Prostate"), None, (60.0, 40.0, -20.0), (10, 250), 0.75, 0.02, 3.0),
    _organ("left_femoral_head", "Left femoral head", ("2812003", "Head of Femur"), LEFT, (92.0, 0.0, 20.0), (20, 150), 0.90, 0.01, 3.0),
    _organ("right_femoral_head", "Right femoral head", ("2812003", "Head of Femur"), RIGHT, (88.0, 4.0, 25.0), (20, 150), 0.90, 0.01, 3.0),
    _organ("coeliac_trunk", "Coeliac trunk", ("57850000", "Truncus coeliacus"), None, (55.0, 65.0, 35.0), (0.3, 15), 0.70, 0.02, 3.0),
)  # fmt: skip

_NEOPLASM, _CYST = ("108369006", "Neoplasm"), ("367643001", "Cyst")
_KIDNEY, _LIVER = ("64033007", "Kidney"), ("10200004", "Liver")

# No code of the standard is portal and splenic vein together, or portal and hepatic veins: type and region
# say what they do, the label the rest. Tumours "of a hepatic vessel" are those of one public set of scans,
# tumours of the liver drawn beside its vessels.
_STRUCTURES: tuple[Organ, ...] = (
    _vessels("portal_and_splenic_vein", "Portal and splenic vein", ("29092000", "Vein"), (40.0, 5.0, -50.0), ("818981001", "Abdomen"), ("liver", "pancreas", "hepatic_vessels")),
    _vessels("hepatic_vessels", "Hepatic vessels", ("59820001", "Blood Vessel"), (58.0, 20.0, -50.0), _LIVER, ("liver", "portal_and_splenic_vein")),
    _organ("intestine", "Small intestine", ("30315005", "Small intestine"), None, (78.0, 15.0, 30.0), None, 0.75, 0.02, 5.0),
    _altered("kidney_tumour", "Kidney tumour", _NEOPLASM, (62.0, 60.0, 62.0), _KIDNEY, ("right_kidney", "left_kidney")),
    _altered("liver_tumour", "Liver tumour", _NEOPLASM, (66.0, 55.0, 45.0), _LIVER, ("liver", "hepatic_vessel_tumour")),
    _altered("pancreas_tumour", "Pancreas tumour", _NEOPLASM, (58.0, 65.0, 5.0), ("15776009", "Pancreas"), ("pancreas",)),
    _altered("hepatic_vessel_tumour", "Hepatic vessel tumour", _NEOPLASM, (50.0, 60.0, -10.0), _LIVER, ("liver", "hepatic_vessels", "liver_tumour")),
    _altered("lung_tumour", "Lung tumour", _NEOPLASM, (70.0, 50.0, 30.0), ("39607008", "Lung"), ("right_lung", "left_lung")),
    _altered("colon_tumour", "Colon tumour", _NEOPLASM, (45.0, 50.0, 40.0), ("71854001", "Colon"), ("colon", "rectum")),
    _altered("kidney_cyst", "Kidney cyst", _CYST, (85.0, -30.0, 5.0), _KIDNEY, ("right_kidney", "left_kidney")),
)  # fmt: skip

CATALOGUE: tuple[Organ, ...] = (*_NINE, *_FURTHER, *_STRUCTURES)
"""All there are: the nine first, then what further imported networks segment."""

KEYS: tuple[str, ...] = tuple(organ.key for organ in CATALOGUE)
"""Keys of the catalogue, in its order."""

ORGANS: tuple[str, ...] = tuple(organ.key for organ in _NINE)
"""The nine: those of the demonstration weights and the phantoms, and the first of every result."""

_BY_KEY = {organ.key: organ for organ in CATALOGUE}


ALIASES: Mapping[str, str] = {
    "kidney_right": "right_kidney",
    "kidney_left": "left_kidney",
    "esophagus": "oesophagus",
    "inferior_vena_cava": "postcava",
    "portal_vein_and_splenic_vein": "portal_and_splenic_vein",
    "adrenal_gland_right": "right_adrenal_gland",
    "adrenal_gland_left": "left_adrenal_gland",
    "lung_right": "right_lung",
    "lung_left": "left_lung",
    "small_bowel": "intestine",
    "urinary_bladder": "bladder",
}
"""Keys by the names that other networks have for their classes; TotalSegmentator's among them."""


def catalogued(key: str) -> Organ | None:
    """Return the catalogue entry of a key; None for an organ outside of it, of which no rule knows."""
    return _BY_KEY.get(key)


def agreement_of(key: str) -> float:
    """Return the DSC from which two readers count as agreed; of an organ outside the catalogue as without target."""
    entry = _BY_KEY.get(key)
    return 1.0 if entry is None else entry.agreement


def name_of(key: str) -> str:
    """Return an organ's label, for a page; one outside the catalogue is called by its key."""
    entry = _BY_KEY.get(key)
    return key.replace("_", " ").capitalize() if entry is None else entry.label


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
        raise KeyError(f"no organ {key!r} in the catalogue; it has {', '.join(KEYS)}") from None
