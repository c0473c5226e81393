"""What ImageType and the derivation say, as scanners, workstations and archives write them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import Refused
from models.series.ct_look import FEWEST_AIR, FEWEST_SOFT_TISSUE, CtLook
from models.series.image_kinds import SHIPPED, ImageKinds, Kind
from models.series.slice_facts import SliceFacts
from models.series.verdict import Code, Verdict
from tests.support.slices import SLICE, changed, judged, regular

PLAIN, TOLD = "plain", "told"
SEEN = (
    # as scanners write them
    (r"ORIGINAL\PRIMARY\AXIAL", "every maker; PS3.3 C.8.2.1.1.1", PLAIN),
    (r"ORIGINAL\SECONDARY\AXIAL", "chest CT sent on by archives", PLAIN),
    (r"ORIGINAL\PRIMARY\AXIAL\HELIX", "Philips Brilliance and iCT", PLAIN),
    (r"ORIGINAL\PRIMARY\AXIAL\CT_SOM5 SPI", "Siemens SOMATOM, spiral", PLAIN),
    (r"ORIGINAL\PRIMARY\AXIAL\CT_SOM5 SEQ", "Siemens SOMATOM, step by step", PLAIN),
    (r"ORIGINAL\PRIMARY\AXIAL\CT_SOM5 SPI DUAL\STD\SNRG\DET_AB", "Siemens Definition, two tubes", PLAIN),
    (r"ORIGINAL\PRIMARY\AXIAL\CT_SOM7 SPI DUAL\STD\SNRG\DET_AB", "Siemens Force", PLAIN),
    (r"ORIGINAL\PRIMARY\AXIAL\CT_SOM10 DET3D\T1", "Siemens NAEOTOM", PLAIN),
    (r"ORIGINAL\PRIMARY\VOLUME", "Toshiba Aquilion ONE", PLAIN),
    (r"ORIGINAL\PRIMARY\OTHER", "chest CT in public collections", PLAIN),
    (r"ORIGINAL\PRIMARY\AXIAL\VMI", "PS3.3 C.8.2.1.1.1, one photon energy", "computed for one photon energy"),
    (r"ORIGINAL\PRIMARY\AXIAL\MONO_E 70KEV", "Philips IQon, one photon energy", "computed for one photon"),
    # derived, and HU of the patient's tissue if geometry and voxels prove it
    (r"DERIVED\SECONDARY\PROCESSED", "GE, in the public RIDER collection", "filtered"),
    (r"DERIVED\SECONDARY", "writers of research tools", "how is not said"),
    (r"DERIVED\PRIMARY", "GE and research tools", "how is not said"),
    (r"DERIVED\SECONDARY\AXIAL", "dcm4che and RT planning systems", "how is not said"),
    (r"DERIVED\PRIMARY\AXIAL", "research tools that resample", "how is not said"),
    (r"DERIVED\SECONDARY\AXIAL\HELICAL", "Neusoft", "how is not said"),
    (r"DERIVED\SECONDARY\AXIAL\HELIX", "Philips, edited headers", "how is not said"),
    (r"DERIVED\PRIMARY\AXIAL\CT_SOM5 SPI", "Siemens, sent on by an archive", "how is not said"),
    (r"DERIVED\CT_SOM5 SPI\PRIMARY\AXIAL", "Siemens, values in another order", "how is not said"),
    (r"DERIVED\PRIMARY\AXIAL\NONE", "Canon", "how is not said"),
    (r"DERIVED\SECONDARY\OTHER", "workstations", "how is not said"),
    (r"DERIVED\PRIMARY\AXIAL\CT_SOM5 SPO", "Siemens, oriented anew", "reformats"),
    (r"DERIVED\PRIMARY\AXIAL\CT_SOM5 MPR", "Siemens SOMATOM, made at the scanner", "reformats"),
    (r"DERIVED\SECONDARY\OTHER\CSA MPR\CSAPARALLEL\AXIAL\CT_SOM5 SEQ", "Siemens syngo", "reformats"),
    (r"DERIVED\SECONDARY\MPR\CSA MPR\\CSAPARALLEL", "Siemens syngo", "reformats"),
    (r"DERIVED\SECONDARY\MPR\CSA MPR THICK\\CSA RESAMPLED", "Siemens syngo", "reformats; averages"),
    (r"DERIVED\SECONDARY\MPR", "viewers that export what they cut", "reformats"),
    (r"DERIVED\SECONDARY\REFORMATTED", "GE AW and viewers", "reformats"),
    (r"DERIVED\SECONDARY\REFORMATTED\AVERAGE", "GE AW", "reformats; averages"),
    (r"DERIVED\PRIMARY\REFORMATTED\AVERAGE", "GE scanners, direct reformats", "reformats; averages"),
    (r"DERIVED\PRIMARY\AXIAL\JP2K LOSSY 6:1", "archives, in public chest CT", "re-encoded, with loss"),
    (r"DERIVED\SECONDARY\AXIAL\LOSSY_COMPRESSED", "archives", "re-encoded, with loss"),
    (r"DERIVED\SECONDARY\MEAN", "viewers that average", "averages"),
    (r"DERIVED\SECONDARY\AXIAL\DE_MIXED", "dual energy, both tubes", "mixed of several energies"),
    # no HU of one place
    (r"DERIVED\PRIMARY\AXIAL\CT_SOM5 MIP", "Siemens SOMATOM, made at the scanner", "maximum intensity"),
    (r"DERIVED\SECONDARY\PROJECTION IMAGE\CSA MIP\\CSAPARALLEL", "Siemens syngo", "maximum intensity"),
    (r"DERIVED\SECONDARY\MIP", "viewers", "maximum intensity"),
    (r"ORIGINAL\PRIMARY\AXIAL\MIP", "archives that rewrite value 1", "maximum intensity"),
    (r"DERIVED\SECONDARY\REFORMATTED\MIP", "GE AW", "maximum intensity"),
    (r"DERIVED\SECONDARY\MINIP", "viewers", "minimum intensity"),
    (r"DERIVED\SECONDARY\REFORMATTED\MIN_IP", "GE AW", "minimum intensity"),
    (r"DERIVED\SECONDARY\REFORMATTED\RAY_SUM", "workstations", "sums or averages along rays"),
    (r"DERIVED\SECONDARY\PROJECTION IMAGE\CSA MPR\\CSAPARALLEL", "Siemens syngo", "sums or averages"),
    (r"DERIVED\SECONDARY\VRT\CSA VRT", "Siemens syngo", "renderings"),
    (r"DERIVED\SECONDARY\OTHER\CSA 3D EDITOR", "Siemens syngo, bones taken out", "edited volumes"),
    (r"DERIVED\SECONDARY\CPR", "workstations", "curved"),
    # maps and amounts
    (r"DERIVED\SECONDARY\AXIAL\CT_SOM7 VPCT\BF", "Siemens Volume Perfusion CT", "maps of perfusion"),
    (r"DERIVED\SECONDARY\AXIAL\CT_SOM8 PERF\MIP", "Siemens perfusion", "maximum intensity"),
    (r"DERIVED\PRIMARY\PERFUSION\RCBF", "PS3.3 C.8.15.3.3", "maps of perfusion"),
    (r"DERIVED\PRIMARY\PERFUSION\T0", "Canon", "maps of perfusion"),
    (r"DERIVED\PRIMARY\AXIAL\MAT_SPECIFIC", "PS3.3 C.8.2.1.1.1", "amounts of a material"),
    (r"ORIGINAL\PRIMARY\AXIAL\IODINE_MAP", "dual energy", "maps"),
    (r"ORIGINAL\PRIMARY\GSI MD", "GE Discovery CT750", "amounts of a material"),
    (r"ORIGINAL\PRIMARY\GSI WATER(IODINE)", "GE Revolution", "amounts of a material"),
    (r"DERIVED\PRIMARY\AXIAL\EFF_ATOMIC_NUM", "PS3.3 C.8.2.1.1.1", "amounts of a material"),
    (r"DERIVED\PRIMARY\AXIAL\ELECTRON_DENSITY", "PS3.3 C.8.2.1.1.1", "amounts of a material"),
    (r"DERIVED\PRIMARY\AXIAL\MAT_REMOVED", "PS3.3 C.8.2.1.1.1", "material"),
    (r"ORIGINAL\PRIMARY\AXIAL\VNC", "dual energy, virtual non-contrast", "contrast agent taken out"),
    (r"DERIVED\SECONDARY\AXIAL\VIRTUAL_NON_CONTRAST", "dual energy", "contrast agent taken out"),
    (r"DERIVED\SECONDARY\AXIAL\SUBTRACTION", "subtraction tools", "contrast agent taken out"),
    (r"DERIVED\PRIMARY\AXIAL\VMI", "PS3.3 C.8.2.1.1.1", "one photon energy"),
    # no image of the patient
    (r"DERIVED\SECONDARY\OTHER\CT_SOM5 PROT", "Siemens SOMATOM, patient protocol", "reports of dose"),
    (r"DERIVED\SECONDARY\DOSE_INFO", "Philips, in the public dcm_qa_ct set", "reports of dose"),
    (r"DERIVED\SECONDARY\PATIENT_INFO", "Philips, in the public dcm_qa_ct set", "reports of dose"),
    (r"DERIVED\SECONDARY\RESULTS", "Philips, in the public dcm_qa_ct set", "reports of dose"),
    (r"DERIVED\SECONDARY\SCREEN SAVE", "GE scanners and AW", "pictures of a screen"),
    (r"DERIVED\SECONDARY\SCREEN SAVE\AVERAGE", "GE AW", "pictures of a screen"),
    (r"DERIVED\SECONDARY\FUSION", "PET and CT workstations", "fusion"),
    (r"DERIVED\SECONDARY\SYNTHETIC", "CT made from MR", "made up"),
    # localizers
    (r"ORIGINAL\PRIMARY\LOCALIZER\CT_SOM5 TOP", "Siemens SOMATOM", Code.LOCALIZER_EXCLUDED),
    (r"DERIVED\PRIMARY\LOCALIZER\CT_SOM5 MPR", "Siemens, a reformat to plan on", Code.LOCALIZER_EXCLUDED),
    (r"ORIGINAL\PRIMARY\SCOUT", "GE", Code.LOCALIZER_EXCLUDED),
    (r"DERIVED\SECONDARY\REF_SURVIEW", "Philips, in the public dcm_qa_ct set", Code.LOCALIZER_EXCLUDED),
)
"""ImageType, where it is seen or defined, and what becomes of it: a code, or words of note or refusal."""


def of(image_type: str, **changes: Any) -> list[SliceFacts]:
    return regular(image_type=tuple(image_type.split("\\")), **changes)


@pytest.mark.parametrize(("image_type", "seen", "becomes"), SEEN, ids=[one[0] for one in SEEN])
def test_an_image_is_taken_for_what_its_values_are_and_not_for_the_word_derived(
    image_type: str, seen: str, becomes: str
) -> None:
    verdict = judged(of(image_type)).verdict
    if becomes is PLAIN:
        assert (verdict.verdict, verdict.notes) == (Verdict.OK, ()), seen
    elif isinstance(becomes, Code):
        assert verdict.code is becomes, seen
    elif verdict.refused:
        assert verdict.code is Code.DERIVED_IMAGE, seen
        assert becomes in verdict.detail, seen
    else:
        assert verdict.verdict is Verdict.OK, seen
        assert any(all(part in note for part in becomes.split("; ")) for note in verdict.notes), seen


def test_of_the_strings_those_are_refused_whose_values_are_no_hu() -> None:
    """The line between them, so that no row can move over it unseen."""
    refused = [n for n, (text, _, _) in enumerate(SEEN) if judged(of(text)).verdict.refused]
    first = next(n for n, (text, _, _) in enumerate(SEEN) if text.endswith("CT_SOM5 MIP"))
    assert refused == list(range(first, len(SEEN)))
    assert len(SEEN) >= 70


DERIVED = r"DERIVED\SECONDARY\AXIAL"


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"derivation_codes": ("113078",)}, True),
        ({"derivation_codes": ("113072",)}, False),
        ({"derivation_codes": ("113049",)}, False),
        ({"derivation_codes": ("113040",)}, False),
        ({"derivation_codes": ("113042",)}, True),
        ({"derivation_codes": ("129104",)}, True),
        ({"derivation": "Maximum Intensity Projection 10 mm"}, True),
        ({"derivation": "lossy JPEG 2000, 6:1"}, False),
        ({"derivation": "iodine map"}, True),
        ({"description": "AX MIP 10x2"}, True),
        ({"description": "Abdomen VNC 3 mm"}, True),
        ({"description": "Abdomen 3 mm, spine fusion, post CPR, 1.5 water"}, False),
        ({"units": ("mg/cm3",)}, True),
        ({"units": ("[hnsf'U]",)}, False),
        ({"units": ("[hnsf'U]", "mg/cm3")}, False),
        ({"units": ("1",)}, False),
        ({"units": ("HU",)}, False),
        ({"units": ("{HU}",)}, False),
        ({"one_energy": True}, False),
    ],
)
def test_codes_descriptions_and_units_say_what_the_values_are(changes: dict[str, Any], refused: bool) -> None:
    assert judged(of(DERIVED, **changes)).verdict.refused == refused
    if "description" not in changes:  # of an original, the series' name decides nothing
        assert judged(regular(**changes)).verdict.refused == refused


def test_the_name_of_a_series_of_original_images_decides_nothing() -> None:
    assert judged(regular(description="AX MIP 10x2")).verdict.verdict is Verdict.OK


@pytest.mark.parametrize(
    "name",
    [
        "Coronary calcium no contrast", "ABD ORAL WATER NO IV", "Liver Perfusion phase",
        "Brain W PERFUSION baseline", "SEGMENTATION PLANNING CT", "post BONE REMOVAL surgery",
        "Synthetic graft follow up", "spine curved brace", "CT abd fat suppressed recon",
    ],
)  # fmt: skip
def test_the_name_of_a_derived_series_may_speak_of_the_patient(name: str) -> None:
    assert judged(of(DERIVED, description=name)).verdict.verdict is Verdict.OK


@pytest.mark.parametrize(
    "how",
    ["noise suppressed", "Metal artifacts suppressed", "scatter subtracted", "Segmented reconstruction"],
)
def test_how_original_images_were_reconstructed_refuses_none(how: str) -> None:
    assert judged(regular(derivation=how)).verdict.verdict is Verdict.OK


@pytest.mark.parametrize(
    "word",
    ["LOW_DOSE", "SNAPSHOT PULSE", "SNAPSHOT_FREEZE", "SEGMENT", "FAT", "CONTRAST FLOW", "CT_SOM7 PERF"],
)
def test_words_for_a_way_to_scan_refuse_originals_no_more_than_derived_ones_pass(word: str) -> None:
    assert judged(of(rf"ORIGINAL\PRIMARY\AXIAL\{word}")).verdict.verdict is Verdict.OK
    assert judged(of(rf"DERIVED\SECONDARY\AXIAL\{word}")).verdict.code is Code.DERIVED_IMAGE


def test_one_image_of_another_kind_refuses_the_series() -> None:
    slices = changed(regular(), 2, image_type=("DERIVED", "SECONDARY", "MIP"))
    assert judged(slices).verdict.code is Code.DERIVED_IMAGE


def test_an_original_for_one_energy_is_told_whichever_attribute_says_so() -> None:
    (note,) = judged(regular(one_energy=True)).verdict.notes
    assert "one photon energy" in note


def look_of(*slices: np.ndarray[Any, Any]) -> CtLook:
    look = CtLook()
    for one in slices:
        look.add(one)
    return look


def slices_of(air: float, soft_tissue: float, seed: int = 1) -> np.ndarray[Any, Any]:
    """Return a slice with such shares of noisy air and of soft tissue; the rest is bone."""
    random = np.random.default_rng(seed)
    hu = np.full(10_000, 700, np.int16)
    end = round(air * hu.size)
    hu[:end] = random.normal(-1000, 12, end)
    hu[end : end + round(soft_tissue * hu.size)] = random.normal(40, 20, round(soft_tissue * hu.size))
    return hu.reshape(100, 100)


@pytest.mark.parametrize("kind", [np.int16, np.float32])
def test_a_ct_has_air_with_noise_and_soft_tissue(kind: type) -> None:
    note = look_of(slices_of(0.3, 0.4).astype(kind), slices_of(0.3, 0.4, 2).astype(kind)).note()
    assert "soft tissue" in note


@pytest.mark.parametrize(
    "hu",
    [
        slices_of(0.0, 0.9),
        slices_of(0.9, 0.0),
        slices_of(FEWEST_AIR * 0.9, 0.5),
        slices_of(0.5, FEWEST_SOFT_TISSUE * 0.9),
        np.where(slices_of(0.4, 0.4) < -500, -1000, slices_of(0.4, 0.4)),
        np.where(slices_of(0.4, 0.4) < -500, -1024, slices_of(0.4, 0.4)),
        slices_of(0.3, 0.4) * 0 + 40,
        (slices_of(0.3, 0.4).clip(-160, 240) + 160) * 255 // 400,
        slices_of(0.3, 0.4) + 1024,
    ],
    ids=[
        "no air", "no tissue", "little air", "little tissue", "a map on -1000", "a map on -1024", "one value",
        "a window of 8 bits", "stored values",
    ],
)  # fmt: skip
def test_what_has_no_measured_air_or_no_soft_tissue_is_refused_with_numbers(
    hu: np.ndarray[Any, Any],
) -> None:
    with pytest.raises(Refused) as refused:
        look_of(hu).note()
    assert refused.value.code == Code.DERIVED_IMAGE
    assert set(refused.value.measured) == {"air", "soft_tissue"}


def test_every_row_shipped_has_its_source_and_another_is_an_error(tmp_path: Path) -> None:
    kinds = ImageKinds.read()
    assert all(kind.source for kind in (*kinds.refused, *kinds.told, kinds.one_energy))
    for wrong in ('[[refused]]\nwhat = "x"\n', "maybe = 1\n" + SHIPPED.read_text()):
        (tmp_path / "kinds.toml").write_text(wrong)
        with pytest.raises(ValueError, match="image kind"):
            ImageKinds.read(tmp_path / "kinds.toml")
    with pytest.raises(ValueError, match="no source"):
        Kind("x", "", image_type=("X",))


def test_a_value_that_is_blank_or_primary_says_nothing() -> None:
    assert (
        judged([replace(s, image_type=("ORIGINAL", "PRIMARY", "", "AXIAL")) for s in regular()]).verdict.notes
        == ()
    )
    assert SLICE.derivation_codes == ()
