"""Any grid that a CT series may have and that passes the verdict, for property tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from models.geometry import Geometry


@st.composite
def ct_grids(
    draw: st.DrawFn,
    slices: tuple[int, int] = (3, 5),
    rows: tuple[int, int] = (4, 9),
    columns: tuple[int, int] = (3, 11),
    tilts: bool = True,
) -> Geometry:
    """Oblique, reversed, anisotropic and tilted grids: any rotation, k either way.

    Parameters
    ----------
    slices, rows, columns
        Fewest and most of each.
    tilts
        Whether the step between slices may lean, by up to 30 degrees, out of their normal.
    """
    numbers = draw(st.lists(st.floats(-1, 1), min_size=9, max_size=9))
    turn = np.linalg.qr(np.array(numbers).reshape(3, 3) + 3 * np.eye(3))[0]
    turn = turn[:, draw(st.permutations(range(3)))]
    step, between_rows, between_columns = (draw(st.floats(0.3, 8.0)) for _ in range(3))
    affine = np.eye(4)
    affine[:3, 0] = turn[:, 0] * step * draw(st.sampled_from([1, -1]))
    affine[:3, 1] = turn[:, 1] * between_rows
    affine[:3, 2] = turn[:, 2] * between_columns
    if tilts:
        affine[:3, 0] += turn[:, 1] * step * np.tan(np.radians(draw(st.floats(-30, 30))))
    affine[:3, 3] = [draw(st.floats(-400, 400)) for _ in range(3)]
    shape = (draw(st.integers(*slices)), draw(st.integers(*rows)), draw(st.integers(*columns)))
    return Geometry(shape, affine)
