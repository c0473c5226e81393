"""Corrections of a phantom, as real viewers saved them: no patient, and small enough to be kept here.

What OHIF saved is of its version 3.12.10 where no other is named.

`make_corrections.py` made the folder ``phantom``, and says what was done to what:

* ``ct/``: thirteen slices of a phantom, 55 x 67 voxels of 5 mm each way;
* ``sent.dcm``: our SEG of five organs; the liver lacks its right-hand end on three slices;
* ``sent-overlapping.dcm``: the same, with three organs that reach into their neighbours;
* ``saved-by-ohif.dcm``: a reader painted with the liver's brush, at that end and over the left kidney;
* ``erased-in-ohif.dcm``: the stomach's brush went into the liver, the eraser through the spleen;
* ``segments-in-ohif.dcm``: the right kidney was deleted, a segment `Lesion` added;
* ``untouched-in-ohif.dcm``: saved as it was opened;
* ``painted-in-ohif-3-13.dcm``: the first of these again, in OHIF 3.13.2, which saves a label map;
* ``layers-in-ohif-3-13.dcm``: of what overlaps, the stomach was painted into the liver, the spleen erased
  in part: a label map of three frames a slice, and on one slice an organ is on two of them;
* ``saved-by-dcmqi.dcm``: five organs in another order, the stomach changed, as 3D Slicer saves them.
"""

from datetime import datetime
from pathlib import Path

PHANTOM = Path(__file__).parent / "phantom"
PATIENT = "PHANTOM-A-0006"
SAVED_BY_OHIF_AT = datetime(2026, 11, 30, 9, 54, 57)
"""As the viewer's clock had it; it names no zone."""

# What `make_corrections.py` printed: voxels, counted apart from every reader of ours.
LIVER_ADDED = 371
KIDNEY_OVERPAINTED = 13
