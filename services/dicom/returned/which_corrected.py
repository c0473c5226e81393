"""Which of several results of ours a returned SEG was made from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from models.errors import Refused
from models.geometry import Geometry
from models.masks import BoxedMask
from services.dicom.returned.claims import identities, sent_organs
from services.dicom.returned.sides import Region
from services.dicom.seg.frames import SegCode
from services.dicom.seg.reader import SegObject

_Masks = dict[str, BoxedMask]
"""By organ."""

CLEAR_AGREEMENT = 0.9
"""Of the slices that came back exactly as one of two results has them, at least this part must be one's.

Only what came back exactly counts. An edited voxel says nothing: a reader who corrects the worse of two
results makes it agree with the better one.
"""


def which_was_corrected(returned: SegObject, candidates: Sequence[SegObject], geometry: Geometry) -> int:
    """Tell which result of ours a returned SEG was made from, by its voxels.

    Two results are told apart by the slices of organs in which they differ, and which came back exactly
    as one of them has them: nearly all must be of one (`CLEAR_AGREEMENT`). Where the two do not differ
    in anything that came back, it does not matter. What the voxels leave open, a reference to just one
    of them decides; between results that are the same, the last one.

    Parameters
    ----------
    returned
        The SEG that came back.
    candidates
        Our organ SEGs of the series, at least one, of equal ones the likeliest last.
    geometry
        The CT grid that all were read onto.

    Returns
    -------
    int
        Index among the candidates.

    Raises
    ------
    Refused
        `ambiguous-result` if voxels and references leave open which of two different ones it was;
        `unknown-organ` if a candidate is not of the catalogue's organs.
    """
    if not candidates:
        raise ValueError("there is no result to choose from")
    theirs = [(segment, Region(segment.mask, geometry)) for segment in returned.segments]
    found: list[_Masks] = []
    sent: list[_Masks] = []
    for candidate in candidates:
        ours = sent_organs(candidate, geometry)
        claims = identities(theirs, ours)
        found.append(
            {
                claim: segment.mask
                for claim, (segment, _) in zip(claims, theirs, strict=True)
                if isinstance(claim, str)
            }
        )
        sent.append({key: organ.segment.mask for key, organ in ours.items()})
    cited = [n for n, one in enumerate(candidates) if one.sop_instance_uid in returned.refers_to]
    beaten: set[int] = set()
    open_pairs: list[tuple[int, int, float]] = []
    for one, other in combinations(range(len(candidates)), 2):
        agreement = _agreement(found[one], sent[one], found[other], sent[other])
        if agreement is None:
            beaten.add(other if cited == [one] else one)
        elif agreement >= CLEAR_AGREEMENT:
            beaten.add(other)
        elif agreement <= 1 - CLEAR_AGREEMENT:
            beaten.add(one)
        else:
            open_pairs.append((one, other, agreement))
    left = [n for n in range(len(candidates)) if n not in beaten]
    if len(left) == 1:
        return left[0]
    if len(cited) == 1 and cited[0] in left:
        return cited[0]
    raise Refused(
        SegCode.AMBIGUOUS_RESULT,
        "it cannot be told which result of ours the SEG was made from",
        {
            "results": len(candidates),
            "agreement": [round(agreement, 3) for _, _, agreement in open_pairs],
        },
    )


def _agreement(found_one: _Masks, one: _Masks, found_other: _Masks, other: _Masks) -> float | None:
    """Return the part that the first has of the slices which came back exactly as one of the two has them.

    Only slices in which the two differ count, and on which something is drawn. 0.5 if there is none;
    None where the two do not differ in any organ that came back.
    """
    differ = False
    as_one = as_other = 0
    for organ in found_one.keys() | found_other.keys():
        back = found_one.get(organ, found_other.get(organ))
        if back is None or found_other.get(organ, back) is not back:
            continue  # each sees another segment in this organ
        nothing = BoxedMask.empty(back.shape)
        first, second = one.get(organ, nothing), other.get(organ, nothing)
        apart = first.changed_by_slice(second) > 0
        differ = differ or bool(apart.any())
        telling = apart & (back.by_slice() > 0)
        as_one += int(np.count_nonzero(telling & (back.changed_by_slice(first) == 0)))
        as_other += int(np.count_nonzero(telling & (back.changed_by_slice(second) == 0)))
    if not differ:
        return None
    return as_one / (as_one + as_other) if as_one + as_other else 0.5
